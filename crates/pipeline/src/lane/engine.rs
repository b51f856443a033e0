//! What a lane does with entries and answers, without I/O or clock.
//!
//! Entries become items of the *open* batch. A closed batch is a *group*: its items travel together
//! at first, later perhaps apart (as *parcels*: what is left after some items were taken, or the
//! halves of what was too large). The group at the front moves the commit position when nothing of
//! it is outstanding any more, so the position is always a prefix of what was answered.
//!
//! ```text
//! entries ─▶ open ─▶ ready ─▶ in flight ─▶ answered ─▶ group finished ─▶ front? commit
//!                      ▲  ▲        │ retry
//!                halves│  └waiting◀┘ (until due)
//! ```
//! A batch that fails while others are taken does not stop them: it waits aside, is split until the
//! failing item is alone, and that item becomes a dead letter when it stands in the way of others
//! (window or memory used up) or its time is over.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::ids::DocumentId;

use crate::dead_letter::DeadLetter;
use crate::entry::{Position, Totals};
use crate::lane::parcel::{self, Parcel, Trouble};
use crate::lane::settings::LaneSettings;
use crate::output::{Answer, Batch, BatchId, ItemOutcome};

/// How far the lane is through, and what became of the entries since the commit before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Everything up to here is finished.
    pub position: Position,
    /// What became of it; the sum is the distance from the commit before.
    pub done: Totals,
}

/// Something to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An answer asked for a repetition, for this reason.
    Retried(&'static str),
    /// So many entries were dropped for this reason.
    Dropped(&'static str, u64),
}

/// The state of one lane.
#[derive(Debug)]
pub struct Engine {
    settings: LaneSettings,
    rng: fastrand::Rng,
    read: Position,
    open: Open,
    // Buffers of finished batches, to be filled again.
    spare: Vec<Vec<u8>>,
    groups: VecDeque<Group>,
    first_group: u64,
    ready: VecDeque<Parcel>,
    waiting: Vec<Parcel>,
    in_flight: HashMap<BatchId, Parcel>,
    next_batch: u64,
    held_bytes: usize,
    successes: u64,
    disk_pressed: bool,
    commit: Option<Commit>,
    letters: Vec<DeadLetter>,
    events: Vec<Event>,
}

#[derive(Debug, Default)]
struct Open {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    ids: Vec<DocumentId>,
    since: Option<Instant>,
    group: Group,
}

#[derive(Debug, Default)]
struct Group {
    end: Position,
    outstanding: usize,
    done: Totals,
}

impl Engine {
    /// Makes the state of a lane that has finished everything up to `position`; `seed` is for the
    /// jitter of its pauses.
    pub fn new(settings: LaneSettings, position: Position, seed: u64) -> Self {
        Self {
            settings,
            rng: fastrand::Rng::with_seed(seed),
            read: position,
            open: Open::default(),
            spare: Vec::new(),
            groups: VecDeque::new(),
            first_group: 0,
            ready: VecDeque::new(),
            waiting: Vec::new(),
            in_flight: HashMap::new(),
            next_batch: 0,
            held_bytes: 0,
            successes: 0,
            disk_pressed: false,
            commit: None,
            letters: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Tells whether the verdict log comes close to its bound, so that nothing that is merely
    /// suspect may hold its segments any longer.
    pub fn set_disk_pressed(&mut self, pressed: bool) {
        self.disk_pressed = pressed;
    }

    /// Whether more entries may be put in now.
    pub fn wants_entries(&self) -> bool {
        self.ready.is_empty()
            && self.groups.len() < self.settings.window_batches
            && self.held_bytes < self.settings.held_bytes_max()
            && !self.is_full()
    }

    /// Puts in the entry that ends at `position` as item `id`, which `encode` appends to the batch.
    pub fn item(
        &mut self,
        now: Instant,
        position: Position,
        id: DocumentId,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.entry(now, position);
        if self.open.bytes.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            self.open.bytes = spare;
        }
        encode(&mut self.open.bytes);
        let end = u32::try_from(self.open.bytes.len()).unwrap_or(u32::MAX);
        self.open.ends.push(end);
        self.open.ids.push(id);
        self.open.group.outstanding += 1;
        if self.is_full() {
            self.close();
        }
    }

    /// Puts in the entry that ends at `position`, whose text cannot be had any more.
    pub fn lost(&mut self, now: Instant, position: Position, reason: &'static str) {
        self.entry(now, position);
        self.drop_entries(reason, 1);
    }

    /// The next batch to be sent, if it is time for one and not too many are in flight.
    pub fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        if self.in_flight.len() >= self.settings.in_flight_max {
            return None;
        }
        let due = |parcel: &Parcel| parcel.trouble.due.is_none_or(|due| due <= now);
        let parcel = if let Some(place) = self.waiting.iter().position(due) {
            self.waiting.remove(place)
        } else {
            if self.ready.is_empty() && self.open_due().is_some_and(|due| due <= now) {
                self.close();
            }
            self.ready.pop_front()?
        };
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let batch = parcel.batch(id);
        self.in_flight.insert(id, parcel);
        Some(batch)
    }

    /// Sends what is in the open batch without waiting for more.
    pub fn close(&mut self) {
        if self.open.since.is_none() {
            return;
        }
        let open = std::mem::take(&mut self.open);
        let number = self.first_group + self.groups.len() as u64;
        if open.ends.is_empty() {
            self.spare
                .extend((open.bytes.capacity() > 0).then_some(open.bytes));
        } else {
            self.held_bytes += open.bytes.len();
            self.ready.push_back(Parcel {
                group: number,
                bytes: Bytes::from(open.bytes),
                ends: open.ends,
                ids: open.ids,
                trouble: Trouble::default(),
            });
        }
        self.groups.push_back(open.group);
        self.advance();
    }

    /// Takes the answer to a batch. Answers to unknown batches are ignored.
    pub fn answer(&mut self, now: Instant, id: BatchId, answer: Answer) {
        let Some(parcel) = self.in_flight.remove(&id) else {
            tracing::warn!(batch = id.0, "answer to a batch that is not in flight");
            return;
        };
        self.held_bytes = self.held_bytes.saturating_sub(parcel.bytes.len());
        match answer {
            Answer::Delivered => {
                self.successes += 1;
                let delivered = parcel.items() as u64;
                self.finish(parcel.group, parcel.items(), |done| {
                    done.delivered += delivered;
                });
                self.recycle(parcel);
            }
            Answer::Items(outcomes) => self.items_answered(now, parcel, outcomes),
            Answer::Retry { after, label } => {
                self.events.push(Event::Retried(label));
                self.repeat(now, parcel, after, label);
            }
            Answer::TooLarge if parcel.items() > 1 => {
                let [first, second] = parcel.halves();
                for half in [second, first] {
                    self.held_bytes += half.bytes.len();
                    self.ready.push_front(half);
                }
            }
            Answer::TooLarge => self.give_up(&parcel, "too_large"),
        }
        self.advance();
    }

    /// When [`Engine::next_batch`] will have something that it has not now; `None`: not by waiting.
    pub fn deadline(&self) -> Option<Instant> {
        if self.in_flight.len() >= self.settings.in_flight_max {
            return None;
        }
        let waiting = self.waiting.iter().filter_map(|parcel| parcel.trouble.due);
        waiting.chain(self.open_due()).min()
    }

    /// Whether every entry that was put in is finished.
    pub fn is_idle(&self) -> bool {
        self.groups.is_empty() && self.open.since.is_none()
    }

    /// Gives back memory that only a busy lane needs.
    pub fn shrink(&mut self) {
        self.spare.clear();
    }

    /// The commit to be written, if there is a new one. Dead letters go to their file first.
    pub fn take_commit(&mut self) -> Option<Commit> {
        self.commit.take()
    }

    /// Items that were given up since the last call.
    pub fn take_letters(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.letters)
    }

    /// What is to be counted since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn is_full(&self) -> bool {
        self.open.bytes.len() >= self.settings.batch_bytes
            || self.open.ends.len() >= self.settings.batch_items
    }

    fn open_due(&self) -> Option<Instant> {
        self.open.since.map(|since| since + self.settings.batch_age)
    }

    /// Notes an entry; entries that are missing before it were damaged in the log.
    fn entry(&mut self, now: Instant, position: Position) {
        self.open.since.get_or_insert(now);
        self.open.group.end = position;
        let missing = position
            .sequence
            .saturating_sub(self.read.sequence.saturating_add(1));
        self.read = position;
        if missing > 0 {
            self.drop_entries("log_damaged", missing);
        }
    }

    fn drop_entries(&mut self, reason: &'static str, count: u64) {
        self.open.group.done.dropped += count;
        self.events.push(Event::Dropped(reason, count));
    }

    fn items_answered(&mut self, now: Instant, parcel: Parcel, outcomes: Vec<ItemOutcome>) {
        let mut done = Totals::default();
        let mut again: Option<&'static str> = None;
        let mut repeated = vec![false; parcel.items()];
        let mut outcomes = outcomes.into_iter();
        for (place, repeat) in repeated.iter_mut().enumerate() {
            let short = ItemOutcome::Retry {
                label: "short_answer",
            };
            match outcomes.next().unwrap_or(short) {
                ItemOutcome::Delivered => done.delivered += 1,
                ItemOutcome::Duplicate => done.duplicates += 1,
                ItemOutcome::Retry { label } => {
                    *repeat = true;
                    again = Some(again.unwrap_or(label));
                }
                ItemOutcome::Rejected { label, reason } => {
                    done.dead_lettered += 1;
                    self.letters.extend(parcel.letter(place, label, reason));
                }
            }
        }
        self.successes += u64::from(done.delivered + done.duplicates > 0);
        let finished = usize::try_from(done.sum()).unwrap_or(usize::MAX);
        self.finish(parcel.group, finished, |total| total.add(&done));
        if let Some(label) = again {
            self.events.push(Event::Retried(label));
            let rest = parcel.remaining(|place| repeated.get(place) == Some(&true));
            self.repeat(now, rest, None, label);
        }
        self.recycle(parcel);
    }

    /// Sends a parcel again later, or gives it up.
    fn repeat(
        &mut self,
        now: Instant,
        mut parcel: Parcel,
        after: Option<Duration>,
        label: &'static str,
    ) {
        if parcel.trouble.attempts == 0 {
            parcel.trouble.successes = self.successes;
        }
        let since = *parcel.trouble.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.settings.retry_age_max {
            return self.give_up(&parcel, "expired");
        }
        let suspect = parcel.trouble.attempts + 1 >= self.settings.suspect_attempts
            && self.successes > parcel.trouble.successes;
        if suspect && parcel.items() == 1 && self.is_pressed() {
            return self.give_up(&parcel, label);
        }
        let pause = parcel::pause(
            parcel.trouble.attempts,
            (self.settings.backoff_min, self.settings.backoff_max),
            &mut self.rng,
        );
        let after = after.unwrap_or_default().min(self.settings.retry_after_max);
        let due = Some(now + pause.max(after));
        parcel.trouble.attempts += 1;
        parcel.trouble.due = due;
        if suspect && parcel.items() > 1 {
            for mut half in parcel.halves() {
                half.trouble.attempts = self.settings.suspect_attempts / 2;
                self.wait(half);
            }
        } else {
            self.wait(parcel);
        }
    }

    fn wait(&mut self, parcel: Parcel) {
        self.held_bytes += parcel.bytes.len();
        self.waiting.push(parcel);
    }

    /// Whether what is unfinished keeps the lane from reading on.
    fn is_pressed(&self) -> bool {
        self.disk_pressed
            || self.groups.len() >= self.settings.window_batches
            || self.held_bytes + self.settings.batch_bytes > self.settings.held_bytes_max()
    }

    fn give_up(&mut self, parcel: &Parcel, label: &'static str) {
        for place in 0..parcel.items() {
            let reason = format!("given up after {} attempts", parcel.trouble.attempts + 1);
            self.letters.extend(parcel.letter(place, label, reason));
        }
        let count = parcel.items() as u64;
        self.finish(parcel.group, parcel.items(), |done| {
            done.dead_lettered += count;
        });
    }

    fn finish(&mut self, group: u64, items: usize, count: impl FnOnce(&mut Totals)) {
        let place = group.checked_sub(self.first_group);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(group) = place.and_then(|place| self.groups.get_mut(place)) {
            group.outstanding = group.outstanding.saturating_sub(items);
            count(&mut group.done);
        }
    }

    /// Moves the commit over the finished groups at the front.
    fn advance(&mut self) {
        while let Some(group) = self.groups.pop_front_if(|group| group.outstanding == 0) {
            self.first_group += 1;
            let commit = self.commit.get_or_insert_default();
            commit.position = group.end;
            commit.done.add(&group.done);
        }
    }

    fn recycle(&mut self, parcel: Parcel) {
        if self.spare.len() < 2
            && let Ok(mut bytes) = parcel.bytes.try_into_mut()
        {
            // what is left in it would be moved onto itself, byte by byte
            bytes.clear();
            self.spare.push(Vec::from(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_finished_batch_is_filled_again() {
        let now = Instant::now();
        let mut engine = Engine::new(LaneSettings::default(), Position::default(), 1);
        let mut places = Vec::new();
        for sequence in 1..=3 {
            let position = Position {
                sequence,
                ..Position::default()
            };
            let id = DocumentId::Line(model::ids::FileKey::default(), sequence);
            engine.item(now, position, id, |out| {
                out.reserve(if sequence == 1 { 5000 } else { 0 });
                out.extend_from_slice(b"an item");
                places.push((out.as_ptr(), out.capacity()));
            });
            engine.close();
            let id = engine.next_batch(now).unwrap().id;
            let answer = match sequence {
                1 => Answer::Delivered,
                _ => Answer::Items(vec![ItemOutcome::Duplicate]),
            };
            engine.answer(now, id, answer);
        }
        assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    }
}
