//! Lanes against a destination that answers by script, and the bugs a lane must not have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use model::ids::{DocumentId, FileKey};
use proptest::prelude::*;

use super::*;
use crate::dead_letter::DeadLetter;
use crate::entry::{Position, Totals};
use crate::output::{Answer, Batch, BatchId, ItemOutcome};

mod task;

fn settings() -> LaneSettings {
    LaneSettings {
        batch_bytes: 64,
        batch_items: 8,
        in_flight_max: 3,
        window_batches: 16,
        suspect_attempts: 4,
        ..LaneSettings::default()
    }
}

fn position(sequence: u64) -> Position {
    Position {
        sequence,
        ..Position::default()
    }
}

fn id(sequence: u64) -> DocumentId {
    DocumentId::Line(FileKey::default(), sequence)
}

/// The sequences of the items in a batch; items are `<sequence>;`.
fn items(batch: &Batch) -> Vec<u64> {
    let mut start = 0;
    batch
        .ends
        .iter()
        .map(|end| {
            let item = &batch.bytes[start..*end as usize];
            start = *end as usize;
            let text = std::str::from_utf8(item).unwrap();
            text.strip_suffix(';').unwrap().parse().unwrap()
        })
        .collect()
}

/// An engine, its clock, its destination, and what is known of both.
struct World {
    engine: Engine,
    now: Instant,
    offered: u64,
    in_flight: BTreeMap<BatchId, Batch>,
    /// What the destination has.
    stored: BTreeSet<u64>,
    letters: BTreeMap<u64, DeadLetter>,
    lost: BTreeSet<u64>,
    committed: u64,
    totals: Totals,
    sent_in_order: Vec<u64>,
}

impl World {
    fn new(settings: LaneSettings) -> Self {
        Self {
            engine: Engine::new(settings, Position::default(), 7),
            now: Instant::now(),
            offered: 0,
            in_flight: BTreeMap::new(),
            stored: BTreeSet::new(),
            letters: BTreeMap::new(),
            lost: BTreeSet::new(),
            committed: 0,
            totals: Totals::default(),
            sent_in_order: Vec::new(),
        }
    }

    fn offer(&mut self, count: u64) {
        for _ in 0..count {
            if !self.engine.wants_entries() {
                return;
            }
            self.offered += 1;
            let sequence = self.offered;
            self.engine
                .item(self.now, position(sequence), id(sequence), |out| {
                    out.extend_from_slice(format!("{sequence};").as_bytes());
                });
        }
    }

    fn send(&mut self) {
        while let Some(batch) = self.engine.next_batch(self.now) {
            self.sent_in_order.extend(items(&batch));
            self.in_flight.insert(batch.id, batch);
        }
    }

    /// Lets the destination answer a batch in flight; `verdict` says what becomes of an item.
    fn answer(&mut self, place: usize, answer: impl FnOnce(&[u64]) -> Answer) {
        let Some(id) = self.in_flight.keys().nth(place).copied() else {
            return;
        };
        let items = items(&self.in_flight.remove(&id).unwrap());
        let answer = answer(&items);
        match &answer {
            Answer::Delivered => self.stored.extend(items),
            Answer::Items(outcomes) => {
                for (item, outcome) in items.iter().zip(outcomes) {
                    if matches!(outcome, ItemOutcome::Delivered | ItemOutcome::Duplicate) {
                        self.stored.insert(*item);
                    }
                }
            }
            _ => {}
        }
        self.engine.answer(self.now, id, answer);
        self.settle();
    }

    /// Does what the task does, and checks the prefix.
    fn settle(&mut self) {
        for letter in self.engine.take_letters() {
            let DocumentId::Line(_, sequence) = letter.id else {
                panic!("{letter:?}")
            };
            assert_eq!(letter.item, format!("{sequence};"));
            self.letters.insert(sequence, letter);
        }
        if let Some(commit) = self.engine.take_commit() {
            assert!(commit.position.sequence > self.committed);
            assert_eq!(commit.done.sum(), commit.position.sequence - self.committed);
            self.committed = commit.position.sequence;
            self.totals.add(&commit.done);
        }
        for sequence in 1..=self.committed {
            assert!(
                self.stored.contains(&sequence)
                    || self.letters.contains_key(&sequence)
                    || self.lost.contains(&sequence),
                "checkpoint {} is ahead of the answer for {sequence}",
                self.committed
            );
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Lets a healthy destination answer everything until the lane is idle.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.engine.close();
            self.send();
            self.settle();
            if self.engine.is_idle() {
                return;
            }
            if self.in_flight.is_empty() {
                self.now = self.engine.deadline().expect("something to wait for");
            } else {
                self.answer(0, |_| Answer::Delivered);
            }
        }
        panic!("the lane never became idle");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Offer(u64),
    Lose,
    Wait(u64),
    Send,
    Answer(usize, Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1u64..20).prop_map(Step::Offer),
        1 => Just(Step::Lose),
        1 => (0u64..2000).prop_map(Step::Wait),
        3 => Just(Step::Send),
        4 => (0usize..3, prop::collection::vec(0u8..4, 1..9))
            .prop_map(|(place, script)| Step::Answer(place, script)),
    ];
    prop::collection::vec(step, 1..60)
}

/// One number: about the whole batch; more: about each item, repeated as needed.
fn scripted(script: &[u8], items: &[u64]) -> Answer {
    match script {
        [0] => Answer::Delivered,
        [1] => Answer::TooLarge,
        [2] => Answer::Retry {
            after: Some(Duration::from_millis(700)),
            label: "http_503",
        },
        [_] => Answer::Items(Vec::new()),
        script => Answer::Items(
            (items.iter().zip(script.iter().cycle()))
                .map(|(_, verdict)| match verdict {
                    0 => ItemOutcome::Delivered,
                    1 => ItemOutcome::Duplicate,
                    2 => ItemOutcome::Retry {
                        label: "too_many_requests",
                    },
                    _ => ItemOutcome::Rejected {
                        label: "mapping",
                        reason: "no".to_owned(),
                    },
                })
                .collect(),
        ),
    }
}

proptest! {
    /// Whatever the destination answers, in whatever order: the checkpoint never passes what was
    /// answered, every entry ends in exactly one way, and nothing is forgotten.
    #[test]
    fn every_entry_is_answered_before_it_is_committed(steps in steps()) {
        let mut world = World::new(settings());
        for step in steps {
            match step {
                Step::Offer(count) => world.offer(count),
                Step::Lose if world.engine.wants_entries() => {
                    world.offered += 1;
                    world.lost.insert(world.offered);
                    world.engine.lost(world.now, position(world.offered), "source_gone");
                }
                Step::Lose => {}
                Step::Wait(millis) => world.wait(Duration::from_millis(millis)),
                Step::Send => world.send(),
                Step::Answer(place, script) => {
                    world.answer(place, |items| scripted(&script, items));
                }
            }
            world.settle();
            prop_assert!(world.in_flight.len() <= 3);
        }
        world.finish();
        prop_assert_eq!(world.committed, world.offered);
        prop_assert_eq!(world.totals.sum(), world.offered);
        prop_assert_eq!(world.totals.dropped, world.lost.len() as u64);
        prop_assert_eq!(world.totals.dead_lettered, world.letters.len() as u64);
        let ends = world.stored.len() + world.letters.len() + world.lost.len();
        prop_assert_eq!(ends as u64, world.offered, "one end for each");
    }

    /// A healthy destination gets every item once and in order.
    #[test]
    fn without_failures_items_are_sent_once_and_in_order(
        counts in prop::collection::vec((1u64..20, 0usize..3), 1..20),
    ) {
        let mut world = World::new(settings());
        for (count, place) in counts {
            world.offer(count);
            world.send();
            world.answer(place, |_| Answer::Delivered);
        }
        world.finish();
        prop_assert_eq!(world.sent_in_order, (1..=world.offered).collect::<Vec<_>>());
    }
}

#[test]
fn ack_before_commit_a_batch_answered_out_of_order_is_not_committed_before_the_one_in_front() {
    let mut world = World::new(settings());
    for _ in 0..3 {
        world.offer(8);
        world.send();
    }
    world.answer(1, |_| Answer::Delivered);
    assert_eq!(world.committed, 0, "the first batch is still in flight");
    world.answer(0, |_| Answer::Delivered);
    assert_eq!(world.committed, 16);
}

#[test]
fn checkpoint_ahead_of_ack_one_item_to_repeat_holds_the_checkpoint_of_its_batch() {
    let mut world = World::new(settings());
    world.offer(8);
    world.send();
    world.answer(0, |items| scripted(&[0, 0, 0, 2, 0, 0, 0, 0], items));
    assert_eq!(world.committed, 0);
    assert!(
        world.engine.next_batch(world.now).is_none(),
        "not before its pause is over"
    );
    world.now = world.engine.deadline().unwrap();
    let again = world.engine.next_batch(world.now).unwrap();
    assert_eq!(items(&again), [4], "only what is left is sent again");
    world.in_flight.insert(again.id, again);
    world.answer(0, |_| Answer::Delivered);
    assert_eq!((world.committed, world.totals.delivered), (8, 8));
}

#[test]
fn a_poisoned_item_does_not_stop_the_others_and_is_found() {
    let mut world = World::new(settings());
    world.offer(2000);
    for _ in 0..20_000 {
        world.send();
        world.answer(0, |items| {
            if items.contains(&5) {
                Answer::Retry {
                    after: None,
                    label: "http_500",
                }
            } else {
                Answer::Delivered
            }
        });
        if world.offered < 2000 {
            let more = 2000 - world.offered;
            world.offer(more);
        }
        world.send();
        if world.in_flight.is_empty()
            && let Some(deadline) = world.engine.deadline()
        {
            world.now = world.now.max(deadline);
        }
        if world.engine.is_idle() {
            break;
        }
    }
    assert_eq!(
        world.letters.keys().collect::<Vec<_>>(),
        [&5],
        "only the poisoned item"
    );
    assert_eq!(world.letters[&5].label, "http_500");
    assert_eq!((world.offered, world.committed), (2000, 2000));
    assert_eq!(world.totals.delivered, 1999);
}

#[test]
fn an_outage_gives_nothing_up_until_the_age_is_over() {
    let mut world = World::new(settings());
    for _ in 0..3 {
        world.offer(8);
        world.send();
    }
    let start = world.now;
    let refused = |_: &[u64]| Answer::Retry {
        after: None,
        label: "connect",
    };
    loop {
        world.send();
        (0..3).for_each(|_| world.answer(0, refused));
        match world.engine.deadline() {
            Some(deadline) if world.letters.is_empty() => world.now = deadline.max(world.now),
            _ => break,
        }
    }
    assert!(world.now - start >= Duration::from_hours(72));
    assert!(
        world
            .letters
            .values()
            .all(|letter| letter.label == "expired")
    );
}

#[test]
fn a_pause_grows_obeys_the_destination_and_never_ends_before_half() {
    let mut world = World::new(settings());
    world.offer(8);
    let mut last = Duration::ZERO;
    for attempt in 0..12 {
        world.send();
        world.answer(0, |_| Answer::Retry {
            after: (attempt == 11).then_some(Duration::from_hours(1)),
            label: "http_429",
        });
        let due = world.engine.deadline().unwrap();
        let pause = due - world.now;
        let full = Duration::from_millis(250 << attempt).min(Duration::from_secs(30));
        match attempt {
            11 => assert_eq!(pause, Duration::from_mins(10), "no longer than the setting"),
            _ => assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}"),
        }
        assert!(attempt == 0 || pause * 4 > last);
        last = pause;
        world.now = due;
    }
}

#[test]
fn what_is_too_large_is_halved_down_to_the_item() {
    let mut world = World::new(settings());
    world.offer(8);
    for _ in 0..100 {
        world.send();
        world.answer(0, |items| {
            if items.contains(&3) {
                Answer::TooLarge
            } else {
                Answer::Delivered
            }
        });
    }
    assert_eq!(world.letters.len(), 1);
    assert_eq!(world.letters[&3].label, "too_large");
    assert_eq!((world.committed, world.totals.delivered), (8, 7));
}

#[test]
fn entries_missing_in_the_log_are_counted_as_damaged() {
    let mut world = World::new(settings());
    world.offer(3);
    world.lost.extend(4..=9);
    world.offered = 9;
    world.offer(2);
    world.finish();
    assert_eq!(
        (
            world.committed,
            world.totals.dropped,
            world.totals.delivered
        ),
        (11, 6, 5)
    );
    let events = world.engine.take_events();
    assert_eq!(events, [Event::Dropped("log_damaged", 6)]);
}

#[test]
fn nothing_pending_means_no_timer_and_something_pending_leaves_at_its_age() {
    let mut world = World::new(settings());
    assert_eq!(world.engine.deadline(), None);
    world.offer(1);
    let due = world.engine.deadline().unwrap();
    assert_eq!(due - world.now, Duration::from_millis(200));
    assert!(world.engine.next_batch(world.now).is_none());
    world.now = due;
    world.send();
    assert_eq!(
        world.engine.deadline(),
        None,
        "what is in flight needs no timer"
    );
    world.answer(0, |_| Answer::Delivered);
    assert!(world.engine.is_idle() && world.engine.deadline().is_none());
}

#[test]
fn memory_is_bounded_when_the_destination_takes_nothing() {
    let mut world = World::new(settings());
    for _ in 0..1000 {
        world.offer(10);
        world.send();
        world.answer(0, |_| Answer::Retry {
            after: Some(Duration::from_mins(5)),
            label: "timeout",
        });
    }
    assert!(world.offered < 200, "{} entries were taken", world.offered);
}
