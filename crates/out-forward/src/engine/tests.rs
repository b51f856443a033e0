use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    handshake: Duration::from_secs(5),
    ack: Duration::from_mins(1),
    in_flight_max: 4,
};

fn credentials() -> Credentials {
    Credentials {
        hostname: "pod-1".to_owned(),
        shared_key: b"hunter2".to_vec(),
        login: Some(("alice".to_owned(), b"swordfish".to_vec())),
        salt: "abcd".to_owned(),
    }
}

fn chunk(number: u64) -> ChunkId {
    ChunkId::new(u128::from(number))
}

fn ack(chunk: ChunkId) -> Vec<u8> {
    let mut bytes = b"\x81\xa3ack".to_vec();
    bytes.push(0xb8);
    bytes.extend_from_slice(chunk.as_bytes());
    bytes
}

fn helo(keepalive: bool) -> Vec<u8> {
    let mut bytes =
        b"\x92\xa4HELO\x83\xa5nonce\xc4\x02\xff\x01\xa4auth\xc4\x01\x09\xa9keepalive".to_vec();
    bytes.push(if keepalive { 0xc3 } else { 0xc2 });
    bytes
}

fn pong(accepted: bool, reason: &str, digest: &str) -> Vec<u8> {
    let mut bytes = b"\x95\xa4PONG".to_vec();
    bytes.push(if accepted { 0xc3 } else { 0xc2 });
    for text in [reason, "receiver", digest] {
        crate::msgpack::push_str(&mut bytes, text.as_bytes());
    }
    bytes
}

/// An engine with chunks `0..sent` in flight.
fn ready(sent: u64, now: Instant) -> Engine {
    let mut engine = Engine::new(None, LIMITS, now);
    for number in 0..sent {
        assert!(engine.has_room());
        engine.sent(BatchId(number), chunk(number), now);
    }
    engine
}

fn acknowledged(actions: &[Action]) -> Vec<u64> {
    let batch = |action: &Action| match action {
        Action::Acknowledged(batch, _) => batch.0,
        other => panic!("{other:?}"),
    };
    actions.iter().map(batch).collect()
}

proptest! {
    /// In whatever order and pieces acknowledgements come, each batch is acknowledged once.
    #[test]
    fn acknowledgements_in_any_order_and_any_pieces(
        order in Just((0..4_u64).collect::<Vec<_>>()).prop_shuffle(),
        cuts in prop::collection::vec(1_usize..40, 1..130),
    ) {
        let now = Instant::now();
        let mut engine = ready(4, now);
        prop_assert!(!engine.has_room());
        let bytes: Vec<u8> = order.iter().flat_map(|number| ack(chunk(*number))).collect();
        let (mut rest, mut actions) = (bytes.as_slice(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            engine.on_bytes(piece, now, &mut actions).unwrap();
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(acknowledged(&actions), order);
        prop_assert_eq!(engine.in_flight(), 0);
        prop_assert!(engine.deadline().is_none(), "nothing is awaited");
    }
}

#[test]
fn an_acknowledgement_cut_at_every_byte_leaves_the_batch_unanswered() {
    let now = Instant::now();
    let whole = ack(chunk(0));
    for cut in 0..whole.len() {
        let (mut engine, mut actions) = (ready(1, now), Vec::new());
        engine.on_bytes(&whole[..cut], now, &mut actions).unwrap();
        assert!(actions.is_empty(), "{cut}");
        let label = if cut == 0 {
            "closed"
        } else {
            "closed_inside_answer"
        };
        assert_eq!(engine.on_close().label(), label, "{cut}");
        assert_eq!(engine.into_unanswered().collect::<Vec<_>>(), [BatchId(0)]);
    }
}

#[test]
fn an_acknowledgement_before_a_lie_counts() {
    let now = Instant::now();
    for lie in [ack(chunk(99)), ack(chunk(0)), b"\xc1".to_vec()] {
        let (mut engine, mut actions) = (ready(2, now), Vec::new());
        let mut bytes = ack(chunk(0));
        bytes.extend_from_slice(&lie);
        let error = engine.on_bytes(&bytes, now, &mut actions).unwrap_err();
        assert!(
            ["unknown_ack", "garbage"].contains(&error.label()),
            "{error}"
        );
        assert_eq!(acknowledged(&actions), [0]);
        assert_eq!(engine.into_unanswered().collect::<Vec<_>>(), [BatchId(1)]);
    }
}

#[test]
fn an_id_that_differs_in_one_byte_is_unknown() {
    let now = Instant::now();
    let mut bytes = ack(chunk(0));
    *bytes.last_mut().unwrap() = b'\n';
    let error = ready(1, now)
        .on_bytes(&bytes, now, &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.label(), "unknown_ack");
}

#[test]
fn silence_is_noticed_at_the_oldest_chunks_limit_and_not_before() {
    let now = Instant::now();
    let mut engine = ready(1, now);
    engine.sent(BatchId(1), chunk(1), now + Duration::from_secs(30));
    assert_eq!(engine.deadline(), Some(now + LIMITS.ack));
    engine
        .on_time(now + LIMITS.ack.saturating_sub(Duration::from_nanos(1)))
        .unwrap();
    let error = engine.on_time(now + LIMITS.ack).unwrap_err();
    assert_eq!(error.label(), "ack_timeout");
    engine
        .on_bytes(&ack(chunk(0)), now, &mut Vec::new())
        .unwrap();
    engine.on_time(now + LIMITS.ack).unwrap();
    assert!(
        engine
            .on_time(now + LIMITS.ack + Duration::from_secs(30))
            .is_err()
    );
}

#[test]
fn the_handshake_opens_the_connection() {
    let now = Instant::now();
    let credentials = credentials();
    let mut engine = Engine::new(Some(credentials.clone()), LIMITS, now);
    assert!(!engine.has_room());
    let mut actions = Vec::new();
    engine.on_bytes(&helo(true), now, &mut actions).unwrap();
    let Some(Action::Send(ping)) = actions.pop() else {
        panic!("a PING is sent")
    };
    assert!(ping.starts_with(b"\x96\xa4PING\xa5pod-1\xa4abcd\xd9\x80"));
    assert!(
        !ping.windows(7).any(|part| part == b"hunter2"),
        "the key stays here"
    );
    let digest = wire::key_digest("abcd", b"receiver", &[0xff, 1], b"hunter2");
    engine
        .on_bytes(&pong(true, "", &digest), now, &mut actions)
        .unwrap();
    assert_eq!(actions, [Action::Ready]);
    assert!(engine.has_room());
    assert!(engine.deadline().is_none());
}

#[test]
fn a_receiver_that_refuses_or_cannot_prove_itself_is_no_receiver() {
    let now = Instant::now();
    let wrong = wire::key_digest("abcd", b"receiver", &[0xff, 1], b"hunter3");
    for (pong, label) in [
        (pong(false, "shared_key mismatch", ""), "handshake_refused"),
        (pong(true, "", &wrong), "wrong_digest"),
        (pong(true, "", ""), "wrong_digest"),
        (b"\x94\xa4PONG".to_vec(), "garbage"),
        (ack(chunk(0)), "garbage"),
    ] {
        let mut engine = Engine::new(Some(credentials()), LIMITS, now);
        let mut bytes = helo(true);
        bytes.extend_from_slice(&pong);
        let error = engine.on_bytes(&bytes, now, &mut Vec::new()).unwrap_err();
        assert_eq!(error.label(), label);
        let said = format!("{error} {error:?} {engine:?}");
        assert!(
            !said.contains("hunter") && !said.contains("swordfish"),
            "{said}"
        );
    }
}

#[test]
fn a_missing_handshake_is_told_apart_from_an_unfinished_one() {
    let now = Instant::now();
    let late = now + LIMITS.handshake;
    let mut engine = Engine::new(Some(credentials()), LIMITS, now);
    assert_eq!(engine.on_time(late).unwrap_err().label(), "no_helo");
    engine.on_bytes(&helo(true), now, &mut Vec::new()).unwrap();
    assert_eq!(
        engine.on_time(late).unwrap_err().label(),
        "handshake_timeout"
    );
}

#[test]
fn a_receiver_that_wants_security_we_do_not_have_is_named_as_such() {
    let now = Instant::now();
    let helo = helo(true);
    for cut in 1..helo.len() {
        let mut engine = ready(1, now);
        let result = engine
            .on_bytes(&helo[..cut], now, &mut Vec::new())
            .and_then(|()| engine.on_bytes(&helo[cut..], now, &mut Vec::new()));
        assert_eq!(result.unwrap_err().label(), "security_expected", "{cut}");
    }
}

#[test]
fn without_keepalive_a_connection_takes_one_chunk() {
    let now = Instant::now();
    let mut engine = Engine::new(Some(credentials()), LIMITS, now);
    let digest = wire::key_digest("abcd", b"receiver", &[0xff, 1], b"hunter2");
    let mut bytes = helo(false);
    bytes.extend_from_slice(&pong(true, "", &digest));
    engine.on_bytes(&bytes, now, &mut Vec::new()).unwrap();
    assert!(engine.has_room() && !engine.is_used_up());
    engine.sent(BatchId(0), chunk(0), now);
    assert!(!engine.has_room() && !engine.is_used_up());
    engine
        .on_bytes(&ack(chunk(0)), now, &mut Vec::new())
        .unwrap();
    assert!(!engine.has_room() && engine.is_used_up());
}
