//! What was concluded about spans when they arrived, so that those that are dropped need not be read
//! again.
//!
//! A record's fates are remembered until the exporter is through with it, as long as there are not too
//! many and they are not too old; without them (after a restart, or far behind) the record is read and judged as a whole.

use std::collections::VecDeque;
use std::sync::Arc;

use model::evidence::SpanFacts;
use out_otlp::{NoiseSettings, Rule, Rules};
use spool::Position;

/// Spans whose fates are remembered: half a MiB.
const SPANS_MAX: usize = 65_536;
/// Records whose fates are remembered: as much again, if each has few spans.
const RECORDS_MAX: usize = 4_096;
/// How much older than the newest a record may be in nanoseconds: a receiver that is away for longer has
/// a backlog that is read anyway.
const AGE_MAX: u64 = 600_000_000_000;

/// One span of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Where in the record it begins.
    pub(crate) at: u32,
    /// What becomes of it.
    pub(crate) of: Becomes,
}

/// What becomes of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// It is exported, unless it turns out to be noise.
    Wanted,
    /// It is noise, and exported all the same.
    Kept(Rule),
    /// It is noise, and dropped.
    Dropped(Rule),
    /// It has no ids.
    Nameless,
}

/// The fates of one record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Where it stands, and where the next one does.
    pub(crate) position: Position,
    pub(crate) next: Position,
    /// When it arrived.
    pub(crate) at: u64,
    /// Its spans, in their order.
    pub(crate) fates: Arc<[Fate]>,
    /// Whether none of them has to be read.
    pub(crate) all_dropped: bool,
}

/// Judges the spans of one record after another as they arrive.
#[derive(Debug)]
pub(crate) struct Judge {
    noise: NoiseSettings,
    rules: Rules,
    fates: Vec<Fate>,
}

impl Judge {
    pub(crate) fn new(noise: NoiseSettings) -> Self {
        Self {
            noise,
            rules: Rules::new(noise),
            fates: Vec::new(),
        }
    }

    /// Judges like this from now on.
    pub(crate) fn set(&mut self, noise: NoiseSettings) {
        if self.noise != noise {
            self.noise = noise;
            self.rules = Rules::new(noise);
        }
    }

    pub(crate) fn span(&mut self, span: &SpanFacts<'_>, at: u32) {
        let of = match self.rules.early(span) {
            None => Becomes::Wanted,
            Some((rule, true)) => Becomes::Kept(rule),
            Some((rule, false)) => Becomes::Dropped(rule),
        };
        self.fates.push(Fate { at, of });
    }

    pub(crate) fn nameless(&mut self, at: u32) {
        let of = Becomes::Nameless;
        self.fates.push(Fate { at, of });
    }

    /// The record is complete.
    pub(crate) fn take(&mut self) -> Arc<[Fate]> {
        let fates = Arc::from(self.fates.as_slice());
        self.fates.clear();
        fates
    }
}

/// Fates of records that the exporter is not through with, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    records: VecDeque<Record>,
    spans: usize,
}

impl Fates {
    /// Remembers a record behind all others.
    pub(crate) fn add(&mut self, record: Record) {
        let oldest = record.at.saturating_sub(AGE_MAX);
        self.spans += record.fates.len();
        self.records.push_back(record);
        while self.spans > SPANS_MAX
            || self.records.len() > RECORDS_MAX
            || self.records.front().is_some_and(|first| first.at < oldest)
        {
            self.drop_first();
        }
    }

    /// The fates of the record at `position`.
    pub(crate) fn of(&self, position: Position) -> Option<&Record> {
        let place = match self.records.front() {
            Some(first) if first.position == position => 0,
            _ => {
                let by = |record: &Record| record.position;
                self.records.binary_search_by_key(&position, by).ok()?
            }
        };
        self.records.get(place)
    }

    /// Forgets records before `position`.
    pub(crate) fn forget_before(&mut self, position: Position) {
        let before = |record: &mut Record| record.position < position;
        while self.records.front_mut().is_some_and(before) {
            self.drop_first();
        }
        if self.records.is_empty() {
            self.records.shrink_to(16);
        }
    }

    fn drop_first(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.spans -= record.fates.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, spans: usize) -> Record {
        let position = |offset| Position { segment: 1, offset };
        let fate = Fate {
            at: 0,
            of: Becomes::Wanted,
        };
        Record {
            position: position(offset),
            next: position(offset + 1),
            at: 0,
            fates: vec![fate; spans].into(),
            all_dropped: false,
        }
    }

    #[test]
    fn the_oldest_fates_are_forgotten_first() {
        let mut fates = Fates::default();
        for offset in 0..100 {
            fates.add(record(offset, 1_000));
        }
        let place = |offset| Position { segment: 1, offset };
        assert!(fates.spans <= SPANS_MAX);
        assert!(fates.of(place(10)).is_none() && fates.of(place(99)).is_some());
        fates.forget_before(place(98));
        assert!(fates.of(place(97)).is_none() && fates.of(place(98)).is_some());
        assert_eq!(fates.spans, 2_000);
    }

    #[test]
    fn records_of_few_spans_are_bounded_by_their_number() {
        let mut fates = Fates::default();
        for offset in 0..RECORDS_MAX as u64 + 10 {
            fates.add(record(offset, 1));
        }
        assert_eq!(
            (fates.records.len(), fates.spans),
            (RECORDS_MAX, RECORDS_MAX)
        );
    }

    #[test]
    fn old_fates_are_forgotten() {
        let mut fates = Fates::default();
        for (offset, at) in [(0, 1), (1, 2), (2, AGE_MAX + 2)] {
            fates.add(Record {
                at,
                ..record(offset, 1)
            });
        }
        let place = |offset| Position { segment: 1, offset };
        assert!(fates.of(place(0)).is_none() && fates.of(place(1)).is_some());
        assert_eq!(fates.spans, 2);
    }
}
