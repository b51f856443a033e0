use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::fact::{Fact, Person, TraceUser};
use model::time::UnixNanos;
use model::verdict::{User, UserSource};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{made, operation, trace, trace_user, user};
use crate::engine::{Ask, Asked, Engine};
use crate::settings::EngineSettings;
use crate::store::{Claim, Statement, Told};
use crate::wire::WireFact;

const NOW: UnixNanos = UnixNanos(1_000_000_000_000_000);

fn ask_trace(number: u8, after: u64) -> Ask {
    Ask {
        traces: HashSet::from([trace(number)]),
        after,
        ..Ask::default()
    }
}

fn ask_app_context(id: &str, after: u64) -> Ask {
    Ask {
        app_contexts: HashSet::from([Arc::from(id)]),
        after,
        ..Ask::default()
    }
}

fn claim() -> impl Strategy<Value = (u8, Claim)> {
    let who = prop_oneof![
        Just(Claim::Nobody),
        Just(Claim::Somebody),
        (0..3_u8, any::<bool>()).prop_map(|(who, strong)| Claim::User(User {
            id: Arc::from(format!("user{who}")),
            source: if strong {
                UserSource::ProxyClaim
            } else {
                UserSource::Gateway
            },
        })),
    ];
    (0..6_u8, who)
}

/// What a set of claims about one trace means.
fn meaning<'a>(claims: impl Iterator<Item = &'a Claim>) -> Person {
    let mut person: Option<Option<User>> = None;
    for claim in claims {
        let user = match claim {
            Claim::Somebody => continue,
            Claim::Nobody => None,
            Claim::User(user) => Some(user.clone()),
        };
        match (&mut person, user) {
            (None, user) => person = Some(user),
            (Some(None), None) => {}
            (Some(Some(known)), Some(user)) if known.id == user.id => {
                known.source = known.source.min(user.source);
            }
            _ => return Person::Conflict,
        }
    }
    person.flatten().map_or(Person::Unknown, Person::Known)
}

proptest! {
    /// Who a trace belongs to depends on what was said, not on the order; two users are a conflict
    /// for good.
    #[test]
    fn a_conflict_is_for_good_in_any_order(claims in vec(claim(), 0..24)) {
        let mut engine = Engine::new(EngineSettings::default());
        let mut conflicts = HashSet::new();
        for (at, (number, claim)) in claims.iter().enumerate() {
            let statement = Statement {
                claim: claim.clone(),
                at: UnixNanos(1),
                until: UnixNanos(2),
                exclusive: false,
            };
            engine.claim(trace(*number), statement, NOW.plus(at as u64));
            let said = claims[..=at].iter().filter(|(other, _)| other == number).map(|(_, claim)| claim);
            let person = engine.person(trace(*number));
            prop_assert_eq!(&person, &meaning(said));
            if person == Person::Conflict {
                conflicts.insert(*number);
            }
        }
        for number in conflicts {
            prop_assert_eq!(engine.person(trace(number)), Person::Conflict);
        }
    }

    /// An asker that follows its cursor ends up with everything that is known about what it asked,
    /// whether it asked before or after it was told, and a question that waits is woken by it.
    #[test]
    fn asking_before_and_after_telling_is_the_same(
        facts in vec((0..4_u8, 0..3_u8, any::<bool>()), 1..40),
        asked_before in vec(any::<bool>(), 40),
    ) {
        let mut engine = Engine::new(EngineSettings::default());
        let everything = |after| Ask {
            traces: (0..4).map(trace).collect(),
            app_contexts: (0..3).map(|id| Arc::from(id.to_string())).collect(),
            after,
        };
        let (mut cursor, mut learned) = (0, Vec::new());
        let mut take = |answer: crate::engine::Answer, cursor: &mut u64| {
            *cursor = answer.upto;
            learned.extend(answer.facts);
        };
        for ((number, other, is_user), before) in facts.into_iter().zip(asked_before) {
            let waits = match engine.ask(everything(cursor), NOW) {
                Asked::Now(answer) => {
                    take(answer, &mut cursor);
                    None
                }
                Asked::Waits(id) if before => Some(id),
                Asked::Waits(id) => {
                    engine.give_up(id);
                    None
                }
            };
            let fact = if is_user {
                trace_user(number, &format!("user{other}"))
            } else {
                Fact::Operation(operation(number, &other.to_string()))
            };
            let told = engine.tell(fact, NOW);
            match (waits, engine.ready()) {
                (Some(id), Some((woken, answer))) => {
                    prop_assert_eq!(id, woken);
                    prop_assert!(!answer.is_empty());
                    take(answer, &mut cursor);
                }
                (Some(id), None) => {
                    prop_assert_eq!(told, Told::Known, "news wakes who waits for it");
                    engine.give_up(id);
                }
                (None, woken) => prop_assert_eq!(woken, None),
            }
        }
        take(engine.answer(&everything(cursor)), &mut cursor);
        prop_assert_eq!(engine.answer(&everything(cursor)).facts, vec![]);
        // The last word on each thing is what a new asker hears.
        let last_words = |facts: Vec<WireFact>| {
            let mut words = HashMap::new();
            for fact in facts {
                let about = match &fact {
                    WireFact::TraceUser { trace, .. } | WireFact::Conflict { trace } => trace.clone(),
                    other => format!("{other:?}"),
                };
                words.insert(about, fact);
            }
            words
        };
        prop_assert_eq!(last_words(learned), last_words(engine.answer(&everything(0)).facts));
    }

    /// Whatever is told, no more is remembered than allowed.
    #[test]
    fn memory_is_bounded(facts in vec((any::<u8>(), 0..3_u8, any::<u8>()), 0..300)) {
        let settings = EngineSettings {
            traces_max: 7,
            conflicts_max: 5,
            app_contexts_max: 4,
            operations_max: 3,
            ..EngineSettings::default()
        };
        let mut engine = Engine::new(settings);
        for (number, who, id) in facts {
            engine.tell(trace_user(number, &who.to_string()), NOW);
            engine.tell(Fact::Operation(operation(number, &(id % 16).to_string())), NOW);
            let (traces, conflicts, contexts) = engine.store().lengths();
            prop_assert!(traces <= 7 && conflicts <= 5 && contexts <= 4);
            for id in 0..16 {
                prop_assert!(engine.answer(&ask_app_context(&id.to_string(), 0)).len() <= 3);
            }
        }
    }
}

#[test]
fn facts_expire_and_conflicts_do_not() {
    let mut engine = Engine::new(EngineSettings {
        horizon: Duration::from_secs(10),
        ..EngineSettings::default()
    });
    let later = |seconds: u64| NOW.plus(seconds * 1_000_000_000);
    for (number, id) in [(1, "alice"), (2, "alice"), (2, "bob")] {
        engine.tell(trace_user(number, id), NOW);
    }
    engine.tell(Fact::Operation(operation(1, "old")), NOW);
    engine.tell(Fact::Operation(operation(1, "used")), NOW);
    engine.tell(Fact::Operation(operation(2, "used")), later(8));
    engine.tell(trace_user(3, "carol"), later(11));
    assert_eq!(engine.person(trace(1)), Person::Unknown);
    assert_eq!(engine.person(trace(2)), Person::Conflict);
    assert_eq!(engine.person(trace(3)), Person::Known(user("carol")));
    assert!(engine.answer(&ask_app_context("old", 0)).is_empty());
    assert_eq!(engine.answer(&ask_app_context("used", 0)).len(), 2);
    engine.tell(trace_user(4, "dan"), later(30));
    assert!(engine.answer(&ask_app_context("used", 0)).is_empty());
}

#[test]
fn a_later_operation_on_the_same_object_is_news() {
    let mut engine = Engine::new(EngineSettings::default());
    engine.tell(Fact::Operation(operation(1, "ctx")), NOW);
    let Asked::Now(answer) = engine.ask(ask_app_context("ctx", 0), NOW) else {
        panic!("it is known")
    };
    let Asked::Waits(id) = engine.ask(ask_app_context("ctx", answer.upto), NOW) else {
        panic!("nothing is new")
    };
    assert_eq!(
        engine.tell(Fact::Operation(operation(1, "ctx")), NOW),
        Told::Known
    );
    assert_eq!(engine.ready(), None, "what is known wakes nobody");
    engine.tell(Fact::Operation(operation(2, "ctx")), NOW);
    let (woken, answer) = engine.ready().unwrap();
    assert_eq!((woken, answer.len()), (id, 1));
}

#[test]
fn a_conflict_after_the_answer_wakes_the_asker_again() {
    let mut engine = Engine::new(EngineSettings::default());
    engine.tell(trace_user(1, "alice"), NOW);
    let upto = engine.answer(&ask_trace(1, 0)).upto;
    let asked = engine.ask(ask_trace(1, upto), NOW);
    assert!(matches!(asked, Asked::Waits(_)));
    engine.tell(trace_user(1, "mallory"), NOW);
    let (_, answer) = engine.ready().unwrap();
    let conflict = WireFact::Conflict {
        trace: trace(1).to_string(),
    };
    assert_eq!(answer.facts, [conflict]);
}

#[test]
fn that_a_request_is_over_wakes_nobody_and_is_told_to_who_asks() {
    let mut engine = Engine::new(EngineSettings::default());
    let runs = made(1, "alice", 5, TraceUser::RUNS);
    let over = made(1, "alice", 5, UnixNanos(9));
    assert_eq!(engine.tell(Fact::TraceUser(runs), NOW), Told::New);
    let upto = engine.answer(&ask_trace(1, 0)).upto;
    assert!(matches!(
        engine.ask(ask_trace(1, upto), NOW),
        Asked::Waits(_)
    ));
    let told = engine.tell(Fact::TraceUser(over.clone()), NOW);
    assert_eq!((told, engine.ready()), (Told::Known, None));
    let answer = engine.answer(&ask_trace(1, upto));
    assert_eq!(answer.facts, [WireFact::from(&Fact::TraceUser(over))]);
    let next = made(1, "alice", 20, UnixNanos(30));
    assert_eq!(engine.tell(Fact::TraceUser(next), NOW), Told::New);
    assert_eq!(engine.answer(&ask_trace(1, 0)).len(), 2);
}

#[test]
fn somebody_who_begins_beside_a_person_makes_the_trace_nobodys() {
    let mut engine = Engine::new(EngineSettings::default());
    let begins = |at| Statement {
        claim: Claim::Somebody,
        at: UnixNanos(at),
        until: TraceUser::RUNS,
        exclusive: false,
    };
    assert_eq!(engine.claim(trace(1), begins(5), NOW), Told::Known);
    engine.tell(Fact::TraceUser(made(1, "alice", 5, TraceUser::RUNS)), NOW);
    assert_eq!(
        engine.claim(trace(1), begins(5), NOW),
        Told::Known,
        "that is hers"
    );
    engine.tell(Fact::TraceUser(made(1, "alice", 5, UnixNanos(9))), NOW);
    assert_eq!(
        engine.claim(trace(1), begins(20), NOW),
        Told::Known,
        "hers is over"
    );
    engine.tell(Fact::TraceUser(made(1, "alice", 30, TraceUser::RUNS)), NOW);
    assert_eq!(engine.claim(trace(1), begins(40), NOW), Told::Conflict);
    assert_eq!(engine.person(trace(1)), Person::Conflict);
}

#[test]
fn the_newest_requests_of_a_trace_are_remembered() {
    let mut engine = Engine::new(EngineSettings::default());
    for at in 0..100 {
        engine.tell(Fact::TraceUser(made(1, "alice", at, UnixNanos(at))), NOW);
    }
    let last = WireFact::from(&Fact::TraceUser(made(1, "alice", 99, UnixNanos(99))));
    let answer = engine.answer(&ask_trace(1, 0));
    assert_eq!((answer.len(), answer.facts.last()), (16, Some(&last)));
}

#[test]
fn too_many_waiting_questions_are_answered_at_once() {
    let mut engine = Engine::new(EngineSettings {
        waiting_max: 2,
        ..EngineSettings::default()
    });
    let waits = |asked| matches!(asked, Asked::Waits(_));
    assert!(waits(engine.ask(ask_trace(1, 0), NOW)));
    assert!(waits(engine.ask(ask_trace(2, 0), NOW)));
    assert!(!waits(engine.ask(ask_trace(3, 0), NOW)));
    assert_eq!((engine.waiting(), engine.turned_away), (2, 1));
}

#[test]
fn a_long_answer_comes_in_parts() {
    let mut engine = Engine::new(EngineSettings {
        operations_max: 10_000,
        ..EngineSettings::default()
    });
    for number in 0..5000_u32 {
        let mut told = operation(1, "ctx");
        told.action = Arc::from(number.to_string());
        engine.tell(Fact::Operation(told), NOW);
    }
    let first = engine.answer(&ask_app_context("ctx", 0));
    let second = engine.answer(&ask_app_context("ctx", first.upto));
    assert_eq!((first.len(), second.len()), (4096, 904));
}
