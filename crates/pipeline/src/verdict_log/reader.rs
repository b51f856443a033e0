//! A lane's cursor over the verdict log.

use std::fmt;

use model::time::UnixNanos;
use spool::Spool;
use tokio::sync::watch;

use crate::entry::{Entry, Position};
use crate::error::Error;
use crate::varint::Cursor;
use crate::verdict_log::decoder::{Decoder, Item};
use crate::verdict_log::format;

// What a reader keeps allocated while it has nothing to read.
const IDLE_BYTES_KEPT: usize = 16 << 10;

/// Reads flushed entries in order.
pub struct LogReader {
    spool: spool::Reader,
    // Entries up to this sequence were read, or are not wanted.
    position: Position,
    end: watch::Receiver<Position>,
    decoder: Decoder,
    // Items of the current batch, how much of them is read, and the sequence reached in them.
    items: Vec<u8>,
    read: usize,
    batch: spool::Position,
    sequence: u64,
}

impl LogReader {
    pub(super) fn new(spool: &Spool, from: Position, end: watch::Receiver<Position>) -> Self {
        Self {
            spool: spool.reader(from.batch),
            position: from,
            end,
            decoder: Decoder::default(),
            items: Vec::new(),
            read: 0,
            batch: from.batch,
            sequence: 0,
        }
    }

    /// The next entry, and the position after it; `None` when there is none now. Where damage was
    /// skipped the sequence jumps.
    ///
    /// # Errors
    /// When a segment cannot be read; calling again tries again.
    #[expect(clippy::should_implement_trait, reason = "can fail and go on")]
    pub fn next(&mut self) -> Result<Option<(Position, Entry<'_>)>, Error> {
        self.next_since(UnixNanos::default())
    }

    /// Like [`LogReader::next`], but passes over batches whose entries are all older than `since`.
    pub(super) fn next_since(
        &mut self,
        since: UnixNanos,
    ) -> Result<Option<(Position, Entry<'_>)>, Error> {
        loop {
            let rest = self.items.get(self.read..).unwrap_or_default();
            let mut cursor = Cursor(rest);
            let item = self.decoder.next(&mut cursor);
            self.read = self.items.len() - cursor.0.len();
            match item {
                Ok(Some(Item::Entry)) => {
                    self.sequence += 1;
                    if self.sequence > self.position.sequence {
                        break;
                    }
                }
                Ok(Some(Item::File(..) | Item::Retired(_))) => {}
                Ok(None) => {
                    if !self.load(since)? {
                        return Ok(None);
                    }
                }
                Err(_) => {
                    tracing::warn!(batch = ?self.batch, "malformed entry, rest of its batch skipped");
                    self.items.clear();
                    self.read = 0;
                }
            }
        }
        self.position = Position {
            batch: self.batch,
            sequence: self.sequence,
        };
        Ok(Some((self.position, self.decoder.entry())))
    }

    /// The position after the last entry that was returned.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether there are flushed entries that were not read.
    pub fn is_behind(&self) -> bool {
        self.end.borrow().sequence > self.position.sequence
    }

    /// Entries that are flushed and not read.
    pub fn behind(&self) -> u64 {
        let end = self.end.borrow().sequence;
        end.saturating_sub(self.position.sequence)
    }

    /// Waits until there are entries to read. Can be cancelled. Never returns when the log is
    /// closed.
    pub async fn readable(&mut self) {
        let position = self.position.sequence;
        let waited = self.end.wait_for(|end| end.sequence > position);
        if waited.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Loads the next batch; `false` if there is none now.
    fn load(&mut self, since: UnixNanos) -> Result<bool, Error> {
        self.items.clear();
        self.read = 0;
        self.decoder.clear();
        // Taken before the look: what was flushed up to here is found, or is damaged.
        let end = self.end.borrow().sequence;
        loop {
            let next = self.spool.next();
            let Some(batch) = next.map_err(Error::spool("reading verdict log"))? else {
                self.items.shrink_to(IDLE_BYTES_KEPT);
                // Damage at the end can hide entries: what is not there is not waited for.
                self.position.sequence = self.position.sequence.max(end);
                return Ok(false);
            };
            match format::read_payload(batch.payload) {
                Ok(header) if batch.at >= since.0 => {
                    self.batch = batch.position;
                    self.sequence = header.base;
                    self.items.extend_from_slice(header.items);
                    return Ok(true);
                }
                Ok(_) => {}
                Err(reason) => tracing::warn!(?reason, "unreadable batch of verdicts skipped"),
            }
        }
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogReader({:?})", self.position)
    }
}
