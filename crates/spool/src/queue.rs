//! The queue: which segments there are, appending, trimming, recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::format::{self, BATCH_HEADER_BYTES, PAYLOAD_BYTES_MAX, Position, SEGMENT_HEADER_BYTES};
use crate::metrics::QueueMetrics;
use crate::reader::Reader;
use crate::recovery::Recovery;
use crate::storage::{Directory, Storage};

// The memory of a larger batch is given back at once: it costs little beside writing it, and nobody
// knows whether another one will come.
const SCRATCH_BYTES_KEPT: usize = 16 << 10;
/// Segments are numbered from here on.
const FIRST_SEGMENT: u64 = 1;

/// How large a queue may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk that are never exceeded; 64 MiB by default.
    pub bytes_max: u64,
    /// Where a new segment begins; 4 MiB by default, at most a quarter of
    /// [`Limits::bytes_max`] is used.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            segment_bytes: 4 << 20,
        }
    }
}

/// What [`Spool::drop_oldest`] gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Number of the removed segment.
    pub segment: u64,
    /// Readable batches of the removed segment.
    pub batches: u64,
    /// Bytes it took on disk.
    pub bytes: u64,
}

/// A queue of byte batches; clones share it.
pub struct Spool<S: Storage = Directory> {
    state: Arc<Mutex<State<S>>>,
}

pub(crate) struct State<S> {
    pub(crate) storage: S,
    limits: Limits,
    // Segments on disk; the tail is absent until its first write.
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) tail: u64,
    bytes: u64,
    unsynced: BTreeSet<u64>,
    scratch: Vec<u8>,
    pub(crate) metrics: QueueMetrics,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) length: u64,
    // Newest time and number of batches; unknown for segments of an earlier process.
    pub(crate) known: Option<(u64, u64)>,
}

impl Spool {
    /// Opens the queue in directory `dir`, repairing a torn tail.
    ///
    /// # Errors
    /// When the directory or a segment cannot be read. Damage is no error: see [`Recovery`].
    pub fn open(
        dir: &Path,
        limits: Limits,
        metrics: QueueMetrics,
    ) -> Result<(Self, Recovery), Error> {
        let failed = |source| Error::Open {
            path: dir.to_owned(),
            source,
        };
        let storage = Directory::open(dir).map_err(failed)?;
        Self::open_storage(storage, limits, metrics).map_err(|error| match error {
            Error::Open { source, .. } => failed(source),
            other => other,
        })
    }
}

impl<S: Storage> Spool<S> {
    /// Opens the queue in any storage, repairing a torn tail.
    ///
    /// # Errors
    /// When the storage cannot be listed or read.
    pub fn open_storage(
        mut storage: S,
        limits: Limits,
        metrics: QueueMetrics,
    ) -> Result<(Self, Recovery), Error> {
        let listed = storage.segments().map_err(|source| Error::Open {
            path: "storage".into(),
            source,
        })?;
        let segment = |length| Segment {
            length,
            known: None,
        };
        let mut state = State {
            storage,
            limits: Limits {
                segment_bytes: limits.segment_bytes.min(limits.bytes_max / 4),
                ..limits
            },
            segments: listed
                .into_iter()
                .map(|(number, length)| (number, segment(length)))
                .collect(),
            tail: FIRST_SEGMENT,
            bytes: 0,
            unsynced: BTreeSet::new(),
            scratch: Vec::new(),
            metrics,
        };
        let mut recovery = Recovery::default();
        state.repair_tail(&mut recovery)?;
        state.bytes = state.segments.values().map(|segment| segment.length).sum();
        state.gauge();
        recovery.bytes = state.bytes;
        recovery.segments = state.segments.len() as u64;
        let state = Arc::new(Mutex::new(state));
        Ok((Self { state }, recovery))
    }

    /// Appends a batch with one write to the page cache and returns where it stands. `at` is its
    /// time in the caller's unit, `kind` the caller's word for what it is.
    ///
    /// # Errors
    /// [`Error::Full`] if it would exceed the bound, [`Error::TooLong`], or the failed write; the
    /// queue is as it was.
    pub fn append(&self, kind: u8, at: u64, payload: &[u8]) -> Result<Position, Error> {
        self.lock().append(kind, at, payload)
    }

    /// Whether [`Spool::append`] of a payload of this size would begin a new segment.
    pub fn begins_segment(&self, payload_bytes: usize) -> bool {
        self.lock().placed(payload_bytes).1
    }

    /// Whether [`Spool::append`] would take a payload of this size now.
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        let state = self.lock();
        state.bytes + state.placed(payload_bytes).2 <= state.limits.bytes_max
    }

    /// Makes everything appended so far survive a power loss; blocks, but not the queue.
    ///
    /// # Errors
    /// The failed `fdatasync`; the segments stay marked and are tried again next time.
    pub fn sync(&self) -> Result<(), Error> {
        let syncs = {
            let mut state = self.lock();
            let segments: Vec<u64> = std::mem::take(&mut state.unsynced).into_iter().collect();
            let mut syncs = Vec::with_capacity(segments.len());
            for segment in segments {
                syncs.push((segment, state.storage.sync(segment)));
            }
            syncs
        };
        let mut failed = None;
        for (segment, sync) in syncs {
            if let Err(source) = sync.and_then(|sync| sync()) {
                self.lock().unsynced.insert(segment);
                failed = Some(Error::segment("syncing", segment)(source));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reads from `from` on; where that was trimmed, from the oldest batch after it.
    pub fn reader(&self, from: Position) -> Reader<S> {
        Reader::new(self.clone(), from)
    }

    /// Position of the oldest segment's first batch.
    pub fn first(&self) -> Position {
        let state = self.lock();
        let segment = state.segments.keys().next().copied();
        Position {
            segment: segment.unwrap_or(state.tail),
            offset: SEGMENT_HEADER_BYTES,
        }
    }

    /// Whether batches were thrown away since the queue was made.
    pub fn is_trimmed(&self) -> bool {
        self.first().segment > FIRST_SEGMENT
    }

    /// Position the next batch will have at the least; everything there is stands before it.
    pub fn end(&self) -> Position {
        let state = self.lock();
        Position {
            segment: state.tail,
            offset: state.tail_length().max(SEGMENT_HEADER_BYTES),
        }
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Removes segments that hold only batches before `before`. The last segment stays unless it is
    /// full; then an empty one takes its place.
    ///
    /// # Errors
    /// When a segment cannot be removed; it stays in the queue.
    pub fn trim(&self, before: Position) -> Result<(), Error> {
        let mut state = self.lock();
        while let Some((&oldest, _)) = state.segments.iter().next()
            && state.segments.len() > 1
            && oldest < state.tail
            && oldest < before.segment
        {
            state.remove(oldest)?;
        }
        let end = state.tail_length();
        let passed = before.segment == state.tail && before.offset >= end;
        if passed && end >= state.limits.segment_bytes && state.segments.len() == 1 {
            state.replace_tail()?;
        }
        Ok(())
    }

    /// Removes segments, but never the last one, whose batches are all older than `at` and stand
    /// before `before`; stops at the first that is not.
    ///
    /// # Errors
    /// When a segment cannot be read or removed.
    pub fn trim_older_than(&self, at: u64, before: Position) -> Result<(), Error> {
        loop {
            let oldest = {
                let state = self.lock();
                let tail = state.tail;
                let oldest = state.segments.iter().next().map(|(n, s)| (*n, s.known));
                match oldest {
                    Some((number, known))
                        if number < tail.min(before.segment) && state.segments.len() > 1 =>
                    {
                        (number, known)
                    }
                    _ => return Ok(()),
                }
            };
            let (newest, _) = match oldest.1 {
                Some(known) => known,
                None => self.survey(oldest.0)?,
            };
            if newest >= at {
                return Ok(());
            }
            self.lock().remove(oldest.0)?;
        }
    }

    /// Gives up the oldest segment to make room; the last segment too, if it is the only one.
    /// `None` if there is nothing to give up.
    ///
    /// # Errors
    /// When the segment cannot be read or removed.
    pub fn drop_oldest(&self) -> Result<Option<Dropped>, Error> {
        let oldest = {
            let state = self.lock();
            state.segments.iter().next().map(|(n, s)| (*n, *s))
        };
        let Some((number, segment)) = oldest else {
            return Ok(None);
        };
        let (_, batches) = match segment.known {
            Some(known) => known,
            None => self.survey(number)?,
        };
        let mut state = self.lock();
        if number == state.tail {
            if segment.length <= SEGMENT_HEADER_BYTES {
                return Ok(None);
            }
            state.replace_tail()?;
        } else {
            state.remove(number)?;
        }
        Ok(Some(Dropped {
            segment: number,
            batches,
            bytes: segment.length,
        }))
    }

    /// Reads a whole segment for its newest time and number of batches.
    fn survey(&self, number: u64) -> Result<(u64, u64), Error> {
        let mut known = (0, 0);
        let mut reader = self.reader(Position {
            segment: number,
            offset: SEGMENT_HEADER_BYTES,
        });
        while let Some(batch) = reader.next()? {
            if batch.position.segment > number {
                break;
            }
            known = (known.0.max(batch.at), known.1 + 1);
        }
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            segment.known = Some(known);
        }
        Ok(known)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Storage> State<S> {
    fn tail_length(&self) -> u64 {
        self.segments.get(&self.tail).map_or(0, |tail| tail.length)
    }

    fn gauge(&self) {
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        self.metrics.bytes.set(bytes);
    }

    /// Where a payload of this size goes, whether that begins a segment, and what it adds.
    fn placed(&self, payload_bytes: usize) -> (Position, bool, u64) {
        let batch = (BATCH_HEADER_BYTES + payload_bytes) as u64;
        let tail = self.tail_length();
        let full = tail > SEGMENT_HEADER_BYTES && tail + batch > self.limits.segment_bytes;
        let (segment, offset) = match (full, tail) {
            (true, _) => (self.tail + 1, 0),
            (false, tail) => (self.tail, tail),
        };
        let header = if offset == 0 { SEGMENT_HEADER_BYTES } else { 0 };
        let position = Position {
            segment,
            offset: offset + header,
        };
        let begins = offset <= SEGMENT_HEADER_BYTES;
        (position, begins, header + batch)
    }

    fn append(&mut self, kind: u8, at: u64, payload: &[u8]) -> Result<Position, Error> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLong {
                bytes: payload.len(),
                max: PAYLOAD_BYTES_MAX,
            });
        }
        let (position, _, needed) = self.placed(payload.len());
        if self.bytes + needed > self.limits.bytes_max {
            self.metrics.refused.inc();
            return Err(Error::Full {
                needed,
                used: self.bytes,
                bytes_max: self.limits.bytes_max,
            });
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let start = position.offset + (BATCH_HEADER_BYTES + payload.len()) as u64 - needed;
        if start == 0 {
            format::write_segment_header(&mut scratch);
        }
        format::write_batch(&mut scratch, position, kind, at, payload);
        let written = self.storage.write_at(position.segment, start, &scratch);
        if scratch.capacity() <= SCRATCH_BYTES_KEPT {
            self.scratch = scratch;
        }
        if let Err(source) = written {
            self.abandon(position.segment, start);
            return Err(Error::segment("writing", position.segment)(source));
        }
        self.appended(position.segment, start + needed, at);
        self.bytes += needed;
        self.metrics.appended.inc();
        self.gauge();
        Ok(position)
    }

    fn appended(&mut self, number: u64, length: u64, at: u64) {
        self.tail = number;
        let empty = Segment {
            length: 0,
            known: Some((0, 0)),
        };
        let segment = self.segments.entry(number).or_insert(empty);
        segment.length = length;
        if let Some((newest, batches)) = &mut segment.known {
            *newest = (*newest).max(at);
            *batches += 1;
        }
        self.unsynced.insert(number);
    }

    /// After a failed write: what it left is cut off, or else new batches go to a new segment.
    fn abandon(&mut self, number: u64, length: u64) {
        let undone = match length {
            0 => self.storage.remove(number),
            _ => self.storage.truncate(number, length),
        };
        if undone.is_err() {
            self.tail = self.tail.max(number) + 1;
        }
    }

    fn remove(&mut self, number: u64) -> Result<(), Error> {
        match self.storage.remove(number) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::segment("removing", number)(error))
            }
            _ => {
                self.unsynced.remove(&number);
                let length = self.segments.remove(&number).map_or(0, |s| s.length);
                self.bytes = self.bytes.saturating_sub(length);
                self.gauge();
                Ok(())
            }
        }
    }

    /// Begins an empty segment, so that the number is kept on disk, and removes the one before.
    fn replace_tail(&mut self) -> Result<(), Error> {
        let (old, new) = (self.tail, self.tail + 1);
        let mut header = Vec::with_capacity(8);
        format::write_segment_header(&mut header);
        if let Err(source) = self.storage.write_at(new, 0, &header) {
            self.abandon(new, 0);
            return Err(Error::segment("writing", new)(source));
        }
        self.tail = new;
        self.segments.insert(
            new,
            Segment {
                length: SEGMENT_HEADER_BYTES,
                known: Some((0, 0)),
            },
        );
        self.bytes += SEGMENT_HEADER_BYTES;
        self.unsynced.insert(new);
        self.remove(old)
    }

    pub(crate) fn read_at(
        &mut self,
        segment: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        self.storage
            .read_at(segment, offset, buffer)
            .map_err(Error::segment("reading", segment))
    }

    /// The readable length of a segment, or `None` if it is not there.
    pub(crate) fn length(&self, segment: u64) -> Option<u64> {
        self.segments.get(&segment).map(|segment| segment.length)
    }

    /// The first segment after this one.
    pub(crate) fn after(&self, segment: u64) -> Option<u64> {
        let after = self.segments.range(segment.saturating_add(1)..).next();
        after.map(|(number, _)| *number)
    }
}

impl<S: Storage> Clone for Spool<S> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

impl<S: Storage> fmt::Debug for Spool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({} bytes)", self.bytes())
    }
}
