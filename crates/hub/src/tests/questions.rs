use std::time::{Duration, Instant};

use model::fact::{Fact, TraceUser};
use model::time::UnixNanos;

use super::{made, operation, trace, trace_user};
use crate::outbox::Outbox;
use crate::questions::{Counts, Cursor, FRESH, Learned, Questions, Subject};
use crate::wire::WireFact;

const HORIZON: Duration = Duration::from_mins(5);

fn conflict(number: u8) -> WireFact {
    WireFact::Conflict {
        trace: trace(number).to_string(),
    }
}

fn known(number: u8, id: &str) -> WireFact {
    WireFact::from(&trace_user(number, id))
}

#[test]
fn a_question_is_asked_once_and_its_answer_is_news_once() {
    let now = Instant::now();
    let mut questions = Questions::new(10, HORIZON);
    assert!(questions.ask(Subject::Trace(trace(1)), now));
    assert!(!questions.ask(Subject::Trace(trace(1)), now));
    assert_eq!(questions.fresh().len(), 1);
    let alice = Learned::Made(made(1, "alice", 5, UnixNanos(9)));
    let facts = vec![known(1, "alice"), known(1, "alice"), known(2, "not asked")];
    assert_eq!(questions.learn(facts), [alice]);
    assert_eq!(
        questions.settle(&questions.fresh(), Cursor::new(1, 1), now),
        1
    );
    assert_eq!(
        (questions.fresh().len(), questions.standing().len()),
        (0, 1)
    );
}

#[test]
fn two_users_are_a_conflict_for_good_whoever_said_it() {
    for contradiction in [known(1, "bob"), conflict(1)] {
        let mut questions = Questions::new(10, HORIZON);
        questions.ask(Subject::Trace(trace(1)), Instant::now());
        questions.learn(vec![known(1, "alice")]);
        let news = Learned::Conflict(trace(1));
        assert_eq!(questions.learn(vec![contradiction]), [news]);
        let after = vec![known(1, "alice"), conflict(1), known(1, "bob")];
        assert_eq!(questions.learn(after), []);
        assert_eq!(questions.fresh(), [], "there is nothing more to learn");
    }
}

#[test]
fn a_trace_on_which_more_begins_is_asked_about_again_while_its_request_may_run() {
    let (mut questions, now) = (Questions::new(10, HORIZON), Instant::now());
    let subject = || Subject::Trace(trace(1));
    let told = |at, until| {
        vec![WireFact::from(&Fact::TraceUser(made(
            1, "alice", at, until,
        )))]
    };
    questions.ask(subject(), now);
    questions.learn(told(5, TraceUser::RUNS));
    questions.settle(&[subject()], Cursor::new(1, 1), now);
    assert!(questions.ask(subject(), now), "it may be over by now");
    assert_eq!(
        (questions.fresh(), questions.standing()),
        (vec![subject()], vec![])
    );
    let over = made(1, "alice", 5, UnixNanos(9));
    assert_eq!(
        questions.learn(told(5, UnixNanos(9))),
        [Learned::Made(over)]
    );
    assert_eq!(questions.learn(told(5, TraceUser::RUNS)), [], "older news");
    questions.settle(&[subject()], Cursor::new(1, 2), now);
    assert!(!questions.ask(subject(), now), "nothing runs");
    let next = made(1, "alice", 20, UnixNanos(30));
    assert_eq!(
        questions.learn(told(20, UnixNanos(30))),
        [Learned::Made(next)]
    );
}

#[test]
fn every_operation_on_an_object_is_news_once() {
    let mut questions = Questions::new(10, HORIZON);
    questions.ask(Subject::AppContext("ctx".into()), Instant::now());
    let fact = |number| WireFact::from(&Fact::Operation(operation(number, "ctx")));
    let news = |number| Learned::Operation(operation(number, "ctx"));
    assert_eq!(questions.learn(vec![fact(1)]), [news(1)]);
    assert_eq!(questions.learn(vec![fact(1), fact(2)]), [news(2)]);
}

#[test]
fn the_unanswered_become_standing_and_then_forgotten() {
    let now = Instant::now();
    let mut questions = Questions::new(10, HORIZON);
    questions.ask(Subject::Trace(trace(1)), now);
    let polled = questions.fresh();
    assert_eq!(questions.settle(&polled, Cursor::default(), now), 0);
    assert_eq!(questions.settle(&polled, Cursor::default(), now + FRESH), 1);
    questions.ask(Subject::Trace(trace(1)), now + HORIZON / 2);
    questions.expire(now + HORIZON);
    assert_eq!(questions.len(), 1, "it was asked again");
    questions.expire(now + 2 * HORIZON);
    assert_eq!(questions.len(), 0);
    assert_eq!(
        questions.take_counts(),
        Counts {
            expired: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn without_room_the_oldest_question_goes() {
    let now = Instant::now();
    let mut questions = Questions::new(2, HORIZON);
    for number in 1..=3 {
        questions.ask(Subject::Trace(trace(number)), now);
    }
    assert_eq!(questions.take_counts().no_room, 1);
    assert!(!questions.fresh().contains(&Subject::Trace(trace(1))));
    assert_eq!(questions.len(), 2);
}

#[test]
fn the_long_poll_goes_back_to_what_the_joining_have_seen() {
    let now = Instant::now();
    let mut questions = Questions::new(10, HORIZON);
    for (number, cursor) in [(1, Cursor::new(7, 30)), (2, Cursor::new(7, 20))] {
        questions.ask(Subject::Trace(trace(number)), now);
        questions.learn(vec![known(number, "alice")]);
        questions.settle(&questions.fresh(), cursor, now);
    }
    let floor = questions.take_floor();
    assert_eq!(floor, Some(Cursor::new(7, 20)));
    assert_eq!(questions.take_floor(), None);
    assert_eq!(Cursor::new(7, 25).meet(floor), Cursor::new(7, 20));
    assert_eq!(
        Cursor::new(8, 25).meet(floor),
        Cursor::default(),
        "another life"
    );
    assert_eq!(Cursor::new(8, 25).meet(None), Cursor::new(8, 25));
}

#[test]
fn each_replica_has_its_own_place_in_the_outbox() {
    let mut outbox = Outbox::new(3);
    for number in 1..=5 {
        assert!(outbox.push(Fact::Operation(operation(number, "ctx"))));
    }
    assert!(
        !outbox.push(Fact::Operation(operation(5, "ctx"))),
        "it is there already"
    );
    let all = outbox.batch(0, 10).unwrap();
    assert_eq!((all.facts.len(), all.next, all.lost), (3, 5, 2));
    let one = outbox.batch(3, 1).unwrap();
    assert_eq!((one.facts.len(), one.next, one.lost), (1, 4, 0));
    assert_eq!(outbox.batch(5, 10), None);
    assert_eq!(outbox.batch(outbox.first(), 10).unwrap().lost, 0);
}
