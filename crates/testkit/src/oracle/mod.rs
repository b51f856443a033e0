//! Was every line delivered exactly once?
//!
//! Compared by id **and** by content. A lane's documents fall into these classes:
//!
//! | a document whose id … | is |
//! |---|---|
//! | was written, first time, content as written | delivered |
//! | was written, first time, other content | `altered`, and what was written is `lost` |
//! | was seen before in this lane | `stored_twice` |
//! | was never written, content as some line that was | `stored_twice` (the id is wrong) |
//! | was never written, content neither | `unexpected` |
//!
//! What was written and neither delivered nor dead-lettered is `lost`. One document may hold several
//! records (a goroutine dump is one document of many lines): its further lines are matched with the
//! records that follow in the same stream of the same container, where lines of their own may stand
//! between them.
//!
//! Content is the whole of it: a document's message is the one that its line's dialect allows (the table
//! in `message.rs`), from its first character to its last but for blanks at the end, and
//! `error.stack_trace` the whole text. Where secrets were masked, what stands around them is compared.
//! Texts too long for the manifest are compared by digest, else by their beginning and length.

mod message;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::manifest::{Expected, Kind, Record, TEXT_MAX, digest};
use crate::stored::StoredLine;

/// Most examples of trouble a report quotes.
pub const SAMPLES_MAX: usize = 20;

/// Lines of their own that may stand between two lines of one record.
const BETWEEN_MAX: usize = 256;
/// How much of the message of a text too long to be quoted is looked for in what is quoted.
const PART_BYTES: usize = 64;
/// More is not left out before the message of such a text.
const HEAD_BYTES_MAX: usize = 256;

/// What became of the lines in one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Records in the files.
    pub written: u64,
    /// Records the destination has.
    pub delivered: u64,
    /// Documents too many for records the destination has.
    pub stored_twice: u64,
    /// Records that are nowhere, or only with other content.
    pub lost: u64,
    /// Records that the destination refused for good and that were put aside.
    pub dead_lettered: u64,
}

/// What one lane did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The account.
    pub lines: Lines,
    /// Documents whose id and content nobody wrote.
    pub unexpected: u64,
    /// Documents whose content differs from what was written under their id.
    pub altered: u64,
    /// Examples, at most [`SAMPLES_MAX`], one sentence each.
    pub samples: Vec<String>,
}

/// The account of one lane; fed with everything the destination has, in any order.
#[derive(Debug)]
pub struct Lane<'a> {
    expected: &'a [Record],
    by_id: HashMap<&'a str, usize>,
    /// The record after each in the same stream of the same container.
    next: Vec<Option<usize>>,
    /// Digests of everything that was written, by service.
    contents: HashSet<(&'a str, String)>,
    fates: Vec<Fate>,
    report: Report,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Missing,
    Delivered,
    /// Delivered inside the document of an earlier record.
    Joined,
    DeadLettered,
    /// Its id is there with other content.
    Altered,
}

impl Report {
    /// Whether nothing was lost, doubled, invented or changed.
    pub const fn is_clean(&self) -> bool {
        self.lines.lost == 0
            && self.lines.stored_twice == 0
            && self.unexpected == 0
            && self.altered == 0
    }
}

impl<'a> Lane<'a> {
    /// An account in which nothing has arrived yet.
    pub fn new(expected: &'a Expected) -> Self {
        let records = expected.records();
        let mut lane = Self {
            expected: records,
            by_id: HashMap::with_capacity(records.len()),
            next: vec![None; records.len()],
            contents: HashSet::with_capacity(records.len()),
            fates: vec![Fate::Missing; records.len()],
            report: Report::default(),
        };
        let mut newest: HashMap<(&str, &str, &str), usize> = HashMap::new();
        for (index, record) in records.iter().enumerate() {
            lane.by_id.insert(&record.id, index);
            let stream = (&*record.service, &*record.container, &*record.stream);
            if let Some(before) = newest.insert(stream, index)
                && let Some(next) = lane.next.get_mut(before)
            {
                *next = Some(index);
            }
            for content in contents(record) {
                lane.contents.insert((&*record.service, content));
            }
        }
        lane
    }

    /// Takes one document of the destination.
    pub fn receive(&mut self, line: &StoredLine) {
        match self.by_id.get(line.id.as_str()).copied() {
            Some(index) if self.fate(index) == Fate::Missing => self.deliver(index, line),
            Some(_) => {
                self.report.lines.stored_twice += 1;
                self.sample(format!("{} is stored twice", line.id));
            }
            None if self.is_known_content(line) => {
                self.report.lines.stored_twice += 1;
                self.sample(format!("{} is a second id of a written line", line.id));
            }
            None => {
                self.report.unexpected += 1;
                self.sample(format!("{} was never written", line.id));
            }
        }
    }

    /// Notes that the record `id` is in the dead-letter file.
    pub fn dead_letter(&mut self, id: &str) {
        if let Some(index) = self.by_id.get(id).copied()
            && self.fate(index) == Fate::Missing
        {
            self.set(index, Fate::DeadLettered);
        }
    }

    /// The account so far: what has not arrived is lost.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        let count = |fate: Fate| self.fates.iter().filter(|have| **have == fate).count() as u64;
        report.lines.written = self.expected.len() as u64;
        report.lines.delivered = count(Fate::Delivered) + count(Fate::Joined);
        report.lines.dead_lettered = count(Fate::DeadLettered);
        report.lines.lost = count(Fate::Missing) + count(Fate::Altered);
        for (record, _) in self.missing() {
            if report.samples.len() == SAMPLES_MAX {
                break;
            }
            report.samples.push(format!(
                "{} of {} is lost: {:.80}",
                record.id, record.service, record.text
            ));
        }
        report
    }

    /// How many records have arrived; cheap, for waiting until everything is there.
    pub fn arrived(&self) -> usize {
        let missing = self.fates.iter().filter(|fate| **fate == Fate::Missing);
        self.fates.len() - missing.count()
    }

    /// Whether the record `id` came inside the document of an earlier record.
    pub fn is_joined(&self, id: &str) -> bool {
        self.by_id
            .get(id)
            .is_some_and(|index| self.fate(*index) == Fate::Joined)
    }

    fn missing(&self) -> impl Iterator<Item = (&Record, Fate)> {
        let fates = self.fates.iter().copied();
        self.expected
            .iter()
            .zip(fates)
            .filter(|(_, fate)| *fate == Fate::Missing)
    }

    fn deliver(&mut self, index: usize, line: &StoredLine) {
        self.set(index, Fate::Delivered);
        let Some(record) = self.expected.get(index) else {
            return;
        };
        // A proxy's line is a set of fields; what its message says is nobody's promise.
        if record.kind != Kind::Line {
            return;
        }
        let (message, mask) = (&line.message, line.masked);
        let same = says(record, message, mask);
        let same = match &line.stack_trace {
            Some(whole) => {
                same && (is_text(record, whole, mask) || self.join(index, record, whole, mask))
            }
            None => same || self.join(index, record, message, mask),
        };
        if !same {
            self.report.altered += 1;
            self.set(index, Fate::Altered);
            self.sample(format!("{} differs: {:.80}", line.id, line.message));
        }
    }

    /// Matches the lines of a joined document with the records they came from; answers whether all
    /// of them were found.
    fn join(&mut self, first: usize, record: &Record, text: &str, mask: bool) -> bool {
        let mut lines = text.split('\n');
        if !lines.next().is_some_and(|line| is_text(record, line, mask)) {
            return false;
        }
        let mut at = first;
        for line in lines {
            let Some(next) = self.find_next(at, line, mask) else {
                return false;
            };
            self.set(next, Fate::Joined);
            at = next;
        }
        at != first
    }

    /// The nearest record after `at` in its stream that says `line` and has not arrived.
    fn find_next(&self, at: usize, line: &str, mask: bool) -> Option<usize> {
        let follow = |at: &usize| self.next.get(*at).copied().flatten();
        std::iter::successors(follow(&at), follow)
            .take(BETWEEN_MAX)
            .find(|next| {
                let record = self.expected.get(*next);
                let says = record.is_some_and(|record| is_text(record, line, mask));
                says && self.fate(*next) == Fate::Missing
            })
    }

    fn is_known_content(&self, line: &StoredLine) -> bool {
        let known = |text: &str| {
            let digest = digest(text.as_bytes());
            self.contents.contains(&(line.service.as_str(), digest))
        };
        known(&line.message) || line.message.split('\n').next().is_some_and(known)
    }

    fn fate(&self, index: usize) -> Fate {
        self.fates.get(index).copied().unwrap_or_default()
    }

    fn set(&mut self, index: usize, fate: Fate) {
        if let Some(have) = self.fates.get_mut(index) {
            *have = fate;
        }
    }

    fn sample(&mut self, text: String) {
        if self.report.samples.len() < SAMPLES_MAX {
            self.report.samples.push(text);
        }
    }
}

/// Digests by which a record's content is known again, whatever its id.
fn contents(record: &Record) -> Vec<String> {
    let mut contents = vec![record.text_digest.clone()];
    contents.extend(record.message_digest.clone());
    if !is_cut(record) {
        contents.push(digest(message::message(&record.text).as_bytes()));
    }
    contents
}

/// Whether the manifest may not have the whole text: it is cut at a character.
const fn is_cut(record: &Record) -> bool {
    record.text.len() + 3 >= TEXT_MAX
}

/// Whether `shown` is the message of `record`.
fn says(record: &Record, shown: &str, mask: bool) -> bool {
    if is_cut(record) {
        return is_long(record, shown, mask);
    }
    message::is_shown(&message::message(&record.text), shown, mask)
}

/// Whether `shown` is the whole text of `record`.
fn is_text(record: &Record, shown: &str, mask: bool) -> bool {
    if is_cut(record) {
        return is_long(record, shown, mask);
    }
    message::is_shown(&record.text, shown, mask)
}

/// Whether `shown` may be the message of a text of which only the beginning is known.
fn is_long(record: &Record, shown: &str, mask: bool) -> bool {
    let digest = digest(shown.as_bytes());
    if record.text_digest == digest || record.message_digest.is_some() && !mask {
        return record.text_digest == digest || record.message_digest.as_ref() == Some(&digest);
    }
    let is_whole = mask || shown.len() + HEAD_BYTES_MAX >= record.text.len();
    let part = shown.get(..PART_BYTES).unwrap_or(shown);
    is_whole && (mask || record.text.contains(part))
}

#[cfg(test)]
mod tests;
