use super::super::secret::{decode, encode};
use super::*;

const POLICY: Policy = Policy {
    authority_renewal: Duration::from_secs(100),
    certificate_renewal: Duration::from_secs(30),
    settle: Duration::from_secs(10),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn names() -> Vec<String> {
    vec!["b.emco.svc".to_owned(), "a.emco.svc".to_owned()]
}

/// A replica that looks after `chain` each second from `from` to `to`, with what clients trust at each
/// time being what was published so long before; panics if somebody does not trust what is shown.
fn look_after(chain: &mut Chain, from: i64, to: i64, propagation: usize) -> usize {
    let mut published = vec![chain.trusted(); propagation + 1];
    let mut most = 0;
    for second in from..to {
        let known = published.last().cloned().unwrap_or_default();
        if let Some(next) = chain.next(&known, &names(), &POLICY, at(second)).unwrap() {
            *chain = next;
        }
        published.push(chain.trusted());
        let trusted = &published[published.len() - 1 - propagation];
        // before anything was published nobody can trust
        let early = trusted.is_empty() && second < from + 10;
        let shown = chain.shown.as_ref().unwrap();
        let signer = chain.authorities.iter().find(|pair| pair.signed(shown));
        let signer = signer.expect("the signer is kept").certificate.trim();
        assert!(early || trusted.contains(signer), "second {second}");
        assert!(shown.facts.until > at(second));
        most = most.max(chain.authorities.len());
    }
    most
}

#[test]
fn the_first_certificate_is_there_at_once() {
    let chain = Chain::default().next("", &names(), &POLICY, at(0)).unwrap();
    let chain = chain.unwrap();
    let shown = chain.shown.as_ref().unwrap();
    assert!(chain.authorities[0].signed(shown));
    assert_eq!(shown.facts.names, ["a.emco.svc", "b.emco.svc"]);
    assert_eq!(shown.facts.made, at(0));
    let trusted = chain.trusted();
    assert_eq!(
        chain.next(&trusted, &names(), &POLICY, at(1)).unwrap(),
        None
    );
    assert_eq!(chain.due(&POLICY), Some(at(30)));
}

#[test]
fn what_is_shown_is_always_trusted_by_those_who_hear_late() {
    let mut chain = Chain::default();
    // clients hear of what is new nine seconds late, and everything settles in ten
    let most = look_after(&mut chain, 0, 1_000, 9);
    assert_eq!(most, 2, "an old authority goes");
    assert!(
        chain.authorities[0].facts.made >= at(800),
        "the first one is gone"
    );
}

#[test]
fn an_authority_that_nobody_was_told_of_signs_nothing() {
    let mut chain = Chain::default();
    look_after(&mut chain, 0, 100, 0);
    let before = chain.trusted();
    for second in 100..300 {
        let next = chain.next(&before, &names(), &POLICY, at(second)).unwrap();
        chain = next.unwrap_or(chain);
        let shown = chain.shown.as_ref().unwrap();
        assert!(chain.authorities[0].signed(shown), "second {second}");
    }
    assert!(chain.authorities.len() > 1);
}

#[test]
fn other_names_need_another_certificate() {
    let mut chain = Chain::default();
    look_after(&mut chain, 0, 20, 0);
    let other = ["c.emco.svc".to_owned()];
    let next = chain
        .next(&chain.trusted(), &other, &POLICY, at(21))
        .unwrap();
    assert_eq!(next.unwrap().shown.unwrap().facts.names, other);
}

#[test]
fn a_secret_gives_back_what_was_put_in() {
    let mut chain = Chain::default();
    look_after(&mut chain, 0, 115, 3);
    assert_eq!(chain.authorities.len(), 2);
    let data = encode(&chain);
    assert_eq!(decode(&data).unwrap(), chain);
    for name in data.keys() {
        let mut less = data.clone();
        less.remove(name);
        decode(&less).unwrap_err();
        less.insert(name.clone(), "no pem".to_owned());
        decode(&less).unwrap_err();
    }
}

#[test]
fn keys_are_never_printed() {
    let mut chain = Chain::default();
    look_after(&mut chain, 0, 1, 0);
    let key = chain.authorities[0].key.lines().nth(1).unwrap().to_owned();
    assert!(!format!("{chain:?}").contains(&key));
}
