//! Spans on disk: for the ledger of a later process, and on their way to the exporter.
//!
//! ```text
//! spool   ├──────────────┬──────────────────┬─────────┤
//!         oldest         cursor             horizon   newest
//!         └ exported ────┘└ waiting ──────────────────┘
//! ```
//! A segment goes when all of it is exported *and* too old for the ledger, or when the disk's share
//! is full; then what was not exported yet is counted as dropped.
//!
//! The cursor is a value of two checksummed slots, written after every batch that is done with:
//! `version u8 = 1 | segment u64 | offset u64 | inside u32`, little-endian. `inside` counts the bytes
//! of the record at `offset` whose spans are done with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use in_spans::{KIND_SPANS, SpanRun};
use model::time::UnixNanos;
use out_otlp::{Dropped, Metrics, NoiseSettings};
use pipeline::{SlotFile, SlotValue};
use spool::{Position, Spool};
use tokio::sync::Notify;

use crate::span_fates::{Becomes, Fate, Fates, Record};

const VERSION: u8 = 1;

/// How far spans are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The record whose spans are next.
    pub(crate) position: Position,
    /// Where in its run the next span stands.
    pub(crate) inside: u32,
}

impl Cursor {
    /// Before the first span of the record there.
    pub(crate) const fn at(position: Position) -> Self {
        Self {
            position,
            inside: 0,
        }
    }
}

/// Spans that a batch took out of a segment.
pub(crate) type Taken = Vec<(u64, u64)>;

/// The spool and, where spans are exported, how far. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SpanStore {
    spool: Spool,
    exports: Option<Arc<Exports>>,
}

#[derive(Debug)]
struct Exports {
    state: Mutex<State>,
    news: Notify,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    cursor: Cursor,
    file: SlotFile,
    /// Spans by segment that no batch has taken.
    waiting: BTreeMap<u64, u64>,
    /// Spans in batches.
    under_way: u64,
    fates: Fates,
    /// How spans are judged that arrive from now on.
    noise: NoiseSettings,
    /// The record that was appended last, until its fates are known.
    appended: Option<Appended>,
}

/// A record whose spans are not judged yet.
#[derive(Clone, Copy, Debug)]
struct Appended {
    position: Position,
    next: Position,
    at: u64,
}

impl SpanStore {
    /// For the ledger alone.
    pub(crate) const fn of(spool: Spool) -> Self {
        Self {
            spool,
            exports: None,
        }
    }

    /// For an exporter as well, whose cursor is in the file `path`.
    ///
    /// # Errors
    /// If the cursor cannot be opened, or the spool not read.
    pub(crate) fn exported(spool: Spool, path: &Path, metrics: Metrics) -> Result<Self> {
        let (file, value) = SlotFile::open(path).context("cannot open the traces' cursor")?;
        let cursor = match value {
            SlotValue::Value(value) => read(&value),
            SlotValue::Nothing => Some(Cursor::default()),
            SlotValue::Damaged => None,
        };
        let cursor = cursor.unwrap_or_else(|| {
            tracing::warn!(path = %path.display(), "the traces' cursor is damaged: spans on disk are exported again");
            Cursor::default()
        });
        let state = State {
            cursor: possible(cursor, &spool),
            file,
            waiting: BTreeMap::new(),
            under_way: 0,
            fates: Fates::default(),
            noise: NoiseSettings::default(),
            appended: None,
        };
        let exports = Exports {
            state: Mutex::new(state),
            news: Notify::new(),
            metrics,
        };
        exports.find(&spool)?;
        Ok(Self {
            spool,
            exports: Some(Arc::new(exports)),
        })
    }

    /// The exporter's figures.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        self.exports.as_ref().map(|exports| exports.metrics.clone())
    }

    /// The spool.
    pub(crate) const fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Appends a record that holds so many spans; the oldest records make room.
    ///
    /// # Errors
    /// If it cannot be written at all.
    pub(crate) fn append(
        &self,
        kind: u8,
        at: UnixNanos,
        payload: &[u8],
        spans: u64,
    ) -> Result<(), spool::Error> {
        let appended = loop {
            match self.spool.append(kind, at.0, payload) {
                Err(error @ spool::Error::Full { .. }) => match self.spool.drop_oldest() {
                    Ok(Some(dropped)) => self.lost(dropped.segment),
                    Ok(None) => break Err(error),
                    Err(error) => break Err(error),
                },
                appended => break appended,
            }
        };
        if let Some(exports) = self.exports.as_ref().filter(|_| spans > 0) {
            let appended = appended.as_ref().ok().map(|position| Appended {
                position: *position,
                next: self.spool.end(),
                at: at.0,
            });
            exports.arrived(appended, spans);
        }
        appended.map(drop)
    }

    /// Throws away what is exported and older than `before`.
    pub(crate) fn trim(&self, before: UnixNanos) {
        let exported = self.exports.as_ref().map(|e| e.lock().cursor.position);
        let exported = exported.unwrap_or(Position::END);
        if let Err(error) = self.spool.trim_older_than(before.0, exported) {
            tracing::warn!(%error, "old spans cannot be thrown away");
        }
    }

    /// How far spans are exported.
    pub(crate) fn cursor(&self) -> Cursor {
        let exports = self.exports.as_ref();
        exports.map_or_else(Cursor::default, |exports| exports.lock().cursor)
    }

    /// Whether spans of the segment wait: it was not thrown away.
    pub(crate) fn waits(&self, segment: u64) -> bool {
        let exports = self.exports.as_ref();
        exports.is_some_and(|exports| exports.lock().waiting.contains_key(&segment))
    }

    /// A batch takes spans.
    pub(crate) fn take(&self, segment: u64, spans: u64) {
        if let Some(exports) = &self.exports {
            let mut state = exports.lock();
            if let Some(waiting) = state.waiting.get_mut(&segment) {
                *waiting = waiting.saturating_sub(spans);
            }
            state.under_way += spans;
        }
    }

    /// The batch was not sent.
    pub(crate) fn give_back(&self, taken: &Taken) {
        if let Some(exports) = &self.exports {
            let mut state = exports.lock();
            for (segment, spans) in taken {
                *state.waiting.entry(*segment).or_default() += spans;
                state.under_way = state.under_way.saturating_sub(*spans);
            }
        }
    }

    /// The batch is done with, and counted: everything before `cursor` is.
    pub(crate) fn commit(&self, cursor: Cursor, taken: &Taken) {
        if let Some(exports) = &self.exports {
            exports.commit(cursor, taken);
        }
    }

    /// How many spans no batch has taken.
    pub(crate) fn waiting(&self) -> u64 {
        let exports = self.exports.as_ref();
        exports.map_or(0, |exports| exports.lock().waiting())
    }

    /// How many spans wait or are under way.
    pub(crate) fn left(&self) -> u64 {
        let exports = self.exports.as_ref();
        exports.map_or(0, |exports| exports.lock().left())
    }

    /// Spans that arrive from now on are judged like this.
    pub(crate) fn set_noise(&self, noise: NoiseSettings) {
        if let Some(exports) = &self.exports {
            exports.lock().noise = noise;
        }
    }

    /// How spans that arrive are judged; `None` if none are exported.
    pub(crate) fn noise(&self) -> Option<NoiseSettings> {
        Some(self.exports.as_ref()?.lock().noise)
    }

    /// The spans of the record that was appended last are judged; answers how the next ones are.
    pub(crate) fn judged(&self, fates: Arc<[Fate]>) -> Option<NoiseSettings> {
        let mut state = self.exports.as_ref()?.lock();
        let noise = state.noise;
        let appended = state.appended.take()?;
        let dropped = |fate: &Fate| matches!(fate.of, Becomes::Dropped(_) | Becomes::Nameless);
        state.fates.add(Record {
            position: appended.position,
            next: appended.next,
            at: appended.at,
            all_dropped: fates.iter().all(dropped),
            fates,
        });
        Some(noise)
    }

    /// The fates of the spans of the record at `position`, if they are known.
    pub(crate) fn fates(&self, position: Position) -> Option<Record> {
        let state = self.exports.as_ref()?.lock();
        state.fates.of(position).cloned()
    }

    /// Waits until something was appended.
    pub(crate) async fn news(&self) {
        match &self.exports {
            Some(exports) => exports.news.notified().await,
            None => std::future::pending().await,
        }
    }

    fn lost(&self, segment: u64) {
        let Some(exports) = &self.exports else { return };
        let mut state = exports.lock();
        let spans = state.waiting.remove(&segment).unwrap_or(0);
        state.fates.forget_before(Position {
            segment: segment.saturating_add(1),
            offset: 0,
        });
        exports.show(&state);
        drop(state);
        if spans > 0 {
            exports.metrics.drop(Dropped::DiskFull, spans);
            tracing::error!(
                spans,
                "the disk's share of spans is full: the oldest are not exported"
            );
        }
    }
}

impl Exports {
    /// Counts what a process before this one left.
    fn find(&self, spool: &Spool) -> Result<()> {
        let mut state = self.lock();
        let cursor = state.cursor;
        let mut reader = spool.reader(cursor.position);
        while let Some(record) = reader.next().context("cannot read the spans on disk")? {
            if record.kind == KIND_SPANS {
                let inside = if record.position == cursor.position {
                    cursor.inside
                } else {
                    0
                };
                *state.waiting.entry(record.position.segment).or_default() +=
                    count(record.payload, inside);
            }
        }
        self.metrics.received.inc_by(state.left());
        self.show(&state);
        Ok(())
    }

    /// Spans came and stand in that segment, or nowhere.
    fn arrived(&self, appended: Option<Appended>, spans: u64) {
        self.metrics.received.inc_by(spans);
        let mut state = self.lock();
        state.appended = appended;
        let Some(appended) = appended else {
            return self.metrics.drop(Dropped::NotKept, spans);
        };
        *state.waiting.entry(appended.position.segment).or_default() += spans;
        self.show(&state);
        self.news.notify_one();
    }

    fn commit(&self, cursor: Cursor, taken: &Taken) {
        let mut state = self.lock();
        let spans: u64 = taken.iter().map(|(_, spans)| spans).sum();
        state.under_way = state.under_way.saturating_sub(spans);
        state.cursor = cursor;
        state.fates.forget_before(cursor.position);
        let behind = state.waiting.split_off(&cursor.position.segment);
        let passed = std::mem::replace(&mut state.waiting, behind);
        let unread: u64 = passed.values().sum();
        if unread > 0 {
            self.metrics.drop(Dropped::Damaged, unread);
            tracing::error!(spans = unread, "spans on disk are damaged: not exported");
        }
        let written = state.file.write(&write(cursor));
        self.show(&state);
        drop(state);
        if let Err(error) = written {
            let error = net::chain(&error);
            tracing::error!(
                error,
                "the traces' cursor cannot be written: a restart exports spans again"
            );
        }
    }

    fn show(&self, state: &State) {
        let left = i64::try_from(state.left()).unwrap_or(i64::MAX);
        self.metrics.waiting.set(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn left(&self) -> u64 {
        self.under_way + self.waiting()
    }

    fn waiting(&self) -> u64 {
        self.waiting.values().sum()
    }
}

/// The spans of a record from a place on; those behind a damaged one cannot be told.
fn count(payload: &[u8], inside: u32) -> u64 {
    let Ok(mut run) = SpanRun::new(payload, inside) else {
        return 0;
    };
    let mut spans = 0;
    while let Ok(Some(_)) = run.next_span() {
        spans += 1;
    }
    spans
}

/// A spool that was lost begins at the front again, one that lost its end begins there.
fn possible(cursor: Cursor, spool: &Spool) -> Cursor {
    let end = spool.end();
    if cursor.position <= end {
        return cursor;
    }
    let position = if cursor.position.segment > end.segment {
        spool.first()
    } else {
        end
    };
    Cursor {
        position,
        inside: 0,
    }
}

fn write(cursor: Cursor) -> [u8; 21] {
    let mut value = [VERSION; 21];
    let fields = [cursor.position.segment, cursor.position.offset];
    let bytes = fields.into_iter().flat_map(u64::to_le_bytes);
    let bytes = bytes.chain(cursor.inside.to_le_bytes());
    for (place, byte) in value.iter_mut().skip(1).zip(bytes) {
        *place = byte;
    }
    value
}

fn read(value: &[u8]) -> Option<Cursor> {
    let (&VERSION, rest) = value.split_first()? else {
        return None;
    };
    let (segment, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (inside, _) = rest.split_first_chunk()?;
    Some(Cursor {
        position: Position {
            segment: u64::from_le_bytes(*segment),
            offset: u64::from_le_bytes(*offset),
        },
        inside: u32::from_le_bytes(*inside),
    })
}
