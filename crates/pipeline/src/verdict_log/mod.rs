//! The queue between head and lanes: every record with its verdict, appended once, read by each lane.
//!
//! # Constraints
//! What a lane has seen must be there with the same verdict after a `kill -9` at any moment; text is
//! never copied (lanes read it again from the log file); a restart must know which bytes of which
//! file are in the log; segments must go as soon as all lanes are through.
//!
//! # Layout
//! A [`spool`] of batches (kind 1, time = newest entry, Unix nanoseconds); one flush of the head is
//! one batch, so it is there as a whole or not at all. `v` is an unsigned LEB128 integer, `z` a
//! zigzag difference, text is `v` length and bytes.
//! ```text
//! payload   version u8 = 2 | base v | count v | snapshot length v | snapshot
//!           | tally length v | tally | items
//!           base: entries appended before this batch; count: lines and requests in it;
//!           tally: see `tally.rs`; version 1 has none and is still read
//! snapshot  next file index v | files v | of each: index v | file | retired in segment v (0: no)
//!           | ranges v | of each: gap v | length v
//!           first batch of every segment only: all files, and all bytes that are in the log with
//!           this batch, so that older segments can go
//! file      key 16 | container text | restart v | path text | first seen day v
//! items     tag u8, low two bits:
//!   0 line     bit 2 stdout · 3 partial · 4 split · 5 more parts · 6 follows the line before ·
//!              7 verdict of the entry before
//!              [file v | offset v unless bit 6] | bytes v | [parts v | of each: file v | offset z
//!              from the part before | bytes v] | time z | home day z from the time's own |
//!              [verdict unless bit 7]
//!   1 request  bit 2: proxy's span follows the id · 3: its parent's span does
//!              id (0: key 16, offset v; 1: trace 16, span 8) | [span 8] | [span 8] | time z |
//!              home z | container text | summary | verdict
//!   2 file     index v | file                    (also: the file was renamed)
//!   3 retired  index v                           (no more lines will come from it)
//! verdict   bits 0-1 outcome · 2 trace · 3 span · 4 user · 5 candidates · 6 inferred · 7 its user
//!           | rule u8 | trace | span | user | candidates v, traces | inferred trace, user
//!           traces, spans and users: number v of one seen in this batch, or 0 and the value
//! ```
//! `checkpoint` beside the segments holds each lane's position (two slots, see `slots.rs`).
//!
//! # Recovery
//! Opening reads all segments once. A torn last batch is dropped by the spool: no lane has seen it,
//! and its lines are read again from their files. Damage in the middle loses the rest of a segment;
//! if some lane was not through it, the bytes of its lines count as not covered, so they are read,
//! decided and sent again under the same ids. A lost checkpoint sends all that is in the log again.
//! A batch of an unknown version is treated as damage. Everything of that kind is a sentence in
//! [`Recovery::notes`].
//!
//! # Durability
//! Appends and checkpoints go to the page cache, which survives the process.
//! [`LogHandle::keep_synced`] makes them survive a power loss, at most once a second and only after
//! a change. After a power loss a lane may have gone further than the log that is left: it goes on
//! at the log's end.

mod checkpoint;
mod decoder;
mod encoder;
mod format;
mod handle;
mod names;
mod reader;
mod recovery;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use model::ids::FileKey;
use model::line::Extent;
use spool::{Limits, QueueMetrics, Spool};

use crate::coverage::Coverage;
use crate::entry::{Entry, FileEntry, FileIndex, LineEntry, Part, Position, RequestEntry};
use crate::error::Error;
use crate::tally::Tally;
use encoder::Encoder;
use format::{Snapshot, SnapshotFile};

pub use handle::LogHandle;
pub use reader::LogReader;
pub use recovery::Recovery;

const KIND_ENTRIES: u8 = 1;
// A flush happens by itself when this much is buffered.
const BUFFER_BYTES_MAX: usize = 1 << 20;
// Batches smaller than this mean that a burst is over: its memory is given back.
const CALM_BYTES: usize = 16 << 10;
// Smaller bounds could not hold a few segments with their snapshots.
const BYTES_MAX_MIN: u64 = 256 << 10;

/// The writing side of the verdict log; there is one, at the head.
#[derive(Debug)]
pub struct VerdictLog {
    handle: LogHandle,
    spool: Spool,
    encoder: Encoder,
    // Reused for every batch.
    payload: Vec<u8>,
    snapshot: Vec<u8>,
    tallied: Vec<u8>,
    tally: Tally,
    // Entries in the log, without what is buffered.
    sequence: u64,
    next_index: u32,
    keys: HashMap<FileKey, FileIndex>,
    coverage: BTreeMap<FileIndex, Coverage>,
    // Retired in the batch that is buffered.
    retiring: Vec<FileIndex>,
    buffer_bytes_max: usize,
}

impl VerdictLog {
    /// Opens the log in directory `dir` for the lanes of these names. A lane the log does not know
    /// begins at the oldest entry that is left.
    ///
    /// # Errors
    /// When a file cannot be opened, read or written. Damage is no error: see [`Recovery`].
    pub fn open(
        dir: &Path,
        limits: Limits,
        lanes: &[&str],
        metrics: QueueMetrics,
    ) -> Result<(Self, Recovery), Error> {
        let bytes_max = limits.bytes_max.max(BYTES_MAX_MIN);
        let limits = Limits {
            bytes_max,
            ..limits
        };
        let (spool, opened) =
            Spool::open(dir, limits, metrics).map_err(Error::spool("opening verdict log"))?;
        let (checkpoint, saved) = checkpoint::Checkpoint::open(&dir.join("checkpoint"))?;
        let mut replay = recovery::replay(&spool, opened, lanes, saved)?;
        let handle = LogHandle::new(spool.clone(), bytes_max, checkpoint, &replay)?;
        let log = Self {
            handle,
            spool,
            encoder: Encoder::default(),
            payload: Vec::new(),
            snapshot: Vec::new(),
            tallied: Vec::new(),
            tally: std::mem::take(&mut replay.tally),
            sequence: replay.sequence,
            next_index: replay.next_index,
            keys: replay.live_keys(),
            coverage: replay.coverage.clone(),
            retiring: Vec::new(),
            buffer_bytes_max: usize::try_from(bytes_max / 16)
                .unwrap_or(BUFFER_BYTES_MAX)
                .min(BUFFER_BYTES_MAX),
        };
        Ok((log, replay.into_recovery()))
    }

    /// What lanes and other readers hold.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    /// A cursor at the place up to which `lane` has delivered.
    ///
    /// # Errors
    /// [`Error::UnknownLane`].
    pub fn reader(&self, lane: &str) -> Result<LogReader, Error> {
        self.handle.reader(lane)
    }

    /// Makes a file known and returns its index; the same index for the same key. A changed path is
    /// noted.
    pub fn register_file(&mut self, entry: FileEntry) -> FileIndex {
        let known = self.keys.get(&entry.key).copied();
        let index = known.unwrap_or(FileIndex(self.next_index));
        if known.is_some() && self.handle.file(index).is_some_and(|held| *held == entry) {
            return index;
        }
        if known.is_none() {
            self.next_index = self.next_index.saturating_add(1);
            self.keys.insert(entry.key, index);
            self.coverage.insert(index, Coverage::default());
        }
        self.encoder.file(index, &entry);
        self.handle.put_file(index, Arc::new(entry));
        index
    }

    /// Says that no more lines will come from a file: it is forgotten when all lanes are past this
    /// point.
    pub fn retire_file(&mut self, index: FileIndex) {
        let Some(file) = self.handle.file(index) else {
            return;
        };
        if self.keys.get(&file.key) == Some(&index) {
            self.keys.remove(&file.key);
            self.coverage.remove(&index);
            self.encoder.retired(index);
            self.retiring.push(index);
        }
    }

    /// Appends a line with its verdict to the buffer; lanes see it after [`VerdictLog::flush`].
    ///
    /// # Errors
    /// [`Error::Full`] or a failed write when the buffer had to be flushed first; the line is not in
    /// the buffer then.
    pub fn append_line(&mut self, line: &LineEntry) -> Result<(), Error> {
        self.make_room(self.buffer_bytes_max)?;
        self.encoder.line(line);
        self.cover(line.first);
        line.rest.iter().for_each(|part| self.cover(*part));
        Ok(())
    }

    /// Appends a request document to the buffer; lanes see it after [`VerdictLog::flush`].
    ///
    /// Nothing else remembers it, so while the log is full the buffer takes requests for longer than
    /// it takes lines.
    ///
    /// # Errors
    /// As [`VerdictLog::append_line`].
    pub fn append_request(&mut self, request: &RequestEntry) -> Result<(), Error> {
        self.make_room(self.buffer_bytes_max * 2)?;
        self.encoder.request(request);
        Ok(())
    }

    /// Writes what is buffered with one write and wakes the lanes. Does nothing if nothing is
    /// buffered.
    ///
    /// # Errors
    /// [`Error::Full`]: wait for [`LogHandle::room`] and flush again; what is buffered stays so.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.encoder.items.is_empty() {
            return Ok(());
        }
        self.write()
    }

    /// As [`VerdictLog::flush`], and also writes when only numbers have changed.
    ///
    /// # Errors
    /// As [`VerdictLog::flush`].
    pub fn flush_tally(&mut self) -> Result<(), Error> {
        if self.encoder.items.is_empty() && !self.tally.is_pending() {
            return Ok(());
        }
        self.write()
    }

    /// The numbers that are kept with the entries.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The numbers that are kept with the entries: what is added now is written with the batch that
    /// holds what was appended last.
    pub fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn write(&mut self) -> Result<(), Error> {
        let count = self.encoder.count;
        self.snapshot.clear();
        self.tallied.clear();
        self.tally.write(&mut self.tallied, false);
        // The header is at most 41 bytes; where exactly the segment ends is not important.
        let segment = self.spool.end().segment;
        let expected = self.encoder.items.len() + self.tallied.len() + 41;
        if self.spool.begins_segment(expected) {
            self.take_snapshot(segment).write(&mut self.snapshot);
            self.tallied.clear();
            self.tally.write(&mut self.tallied, true);
        }
        self.payload.clear();
        let parts = [&self.snapshot, &self.tallied, &self.encoder.items].map(Vec::as_slice);
        format::write_payload(&mut self.payload, self.sequence, count, parts);
        let appended = self
            .spool
            .append(KIND_ENTRIES, self.encoder.newest.0, &self.payload);
        if matches!(appended, Err(spool::Error::Full { .. })) {
            self.handle.wants_room(self.payload.len());
        }
        let batch = appended.map_err(Error::spool("writing verdict log"))?;
        self.sequence += count;
        self.tally.written();
        self.encoder.clear();
        if self.payload.len() < CALM_BYTES {
            self.payload.shrink_to(CALM_BYTES);
            self.encoder.items.shrink_to(CALM_BYTES);
        }
        let retired = self.retiring.drain(..);
        self.handle.flushed(
            Position {
                batch,
                sequence: self.sequence,
            },
            retired,
        );
        Ok(())
    }

    /// Entries appended since the log was first made, buffered ones included.
    pub fn sequence(&self) -> u64 {
        self.sequence + self.encoder.count
    }

    /// The bytes of a file that are in the log or buffered.
    pub fn coverage(&self, index: FileIndex) -> Option<&Coverage> {
        self.coverage.get(&index)
    }

    /// Shows every entry that is still in the log and not older than `since` to `f`, oldest first.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn recent(
        &self,
        since: model::time::UnixNanos,
        mut f: impl FnMut(Entry<'_>),
    ) -> Result<(), Error> {
        let mut reader = self.handle.reader_at(Position {
            batch: self.spool.first(),
            sequence: 0,
        });
        while let Some((_, entry)) = reader.next_since(since)? {
            if entry.time() >= since {
                f(entry);
            }
        }
        Ok(())
    }

    fn make_room(&mut self, bytes_max: usize) -> Result<(), Error> {
        if self.encoder.items.len() < bytes_max {
            return Ok(());
        }
        self.flush()
    }

    fn cover(&mut self, part: Part) {
        let Extent { offset, .. } = part.extent;
        if let Some(coverage) = self.coverage.get_mut(&part.file) {
            coverage.insert_range(offset, part.extent.end());
        } else if !self.retiring.contains(&part.file) {
            // A line that was decided after its file was retired: it must stay known for longer.
            self.retiring.push(part.file);
        }
    }

    fn take_snapshot(&mut self, segment: u64) -> Snapshot {
        self.handle.forget_files(self.spool.first().segment);
        let files = self.handle.files(|index, entry, retired_in| SnapshotFile {
            index,
            entry: entry.clone(),
            retired_in: if self.retiring.contains(&index) {
                Some(segment + 1)
            } else {
                retired_in
            },
            coverage: self.coverage.get(&index).cloned().unwrap_or_default(),
        });
        Snapshot {
            next_index: self.next_index,
            files,
        }
    }
}

#[cfg(test)]
mod tests;
