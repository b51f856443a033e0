//! What head and lanes share: files, lane positions, the checkpoint, room.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spool::Spool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::entry::{FileEntry, FileIndex, Position, Totals};
use crate::error::Error;
use crate::verdict_log::checkpoint::{Checkpoint, LaneState};
use crate::verdict_log::reader::LogReader;
use crate::verdict_log::recovery::Replay;

const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Shared access to a verdict log; clones are cheap.
#[derive(Clone)]
pub struct LogHandle {
    spool: Spool,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    end: watch::Sender<Position>,
    room: Notify,
    dirty: Notify,
}

struct State {
    files: BTreeMap<FileIndex, FileState>,
    lanes: Vec<LaneState>,
    checkpoint: Checkpoint,
    bytes_max: u64,
    // Size of the batch that was refused last.
    wanted: usize,
}

struct FileState {
    entry: Arc<FileEntry>,
    retired_in: Option<u64>,
}

impl LogHandle {
    pub(super) fn new(
        spool: Spool,
        bytes_max: u64,
        mut checkpoint: Checkpoint,
        replay: &Replay,
    ) -> Result<Self, Error> {
        checkpoint.write(&replay.lanes)?;
        let files = replay.files.iter().map(|(index, file)| {
            let state = FileState {
                entry: Arc::clone(&file.entry),
                retired_in: file.retired_in,
            };
            (*index, state)
        });
        let end = Position {
            batch: spool.end(),
            sequence: replay.sequence,
        };
        let shared = Shared {
            state: Mutex::new(State {
                files: files.collect(),
                lanes: replay.lanes.clone(),
                checkpoint,
                bytes_max,
                wanted: 0,
            }),
            end: watch::Sender::new(end),
            room: Notify::new(),
            dirty: Notify::new(),
        };
        Ok(Self {
            spool,
            shared: Arc::new(shared),
        })
    }

    /// The file of that index; `None` once it is retired and all lanes are past it.
    pub fn file(&self, index: FileIndex) -> Option<Arc<FileEntry>> {
        let state = self.lock();
        state.files.get(&index).map(|file| Arc::clone(&file.entry))
    }

    /// A cursor at the place up to which `lane` has delivered.
    ///
    /// # Errors
    /// [`Error::UnknownLane`].
    pub fn reader(&self, lane: &str) -> Result<LogReader, Error> {
        self.position(lane).map(|(at, _)| self.reader_at(at))
    }

    pub(super) fn reader_at(&self, position: Position) -> LogReader {
        LogReader::new(&self.spool, position, self.shared.end.subscribe())
    }

    /// How far `lane` has delivered, and what became of the entries up to there.
    ///
    /// # Errors
    /// [`Error::UnknownLane`].
    pub fn position(&self, lane: &str) -> Result<(Position, Totals), Error> {
        let state = self.lock();
        let found = state.lanes.iter().find(|known| known.name == lane);
        found
            .map(|lane| (lane.position, lane.totals))
            .ok_or_else(|| unknown(lane))
    }

    /// Notes that `lane` is through with everything up to `position` and what became of it since the
    /// commit before: written to the page cache at once, and to the disk within a second where
    /// [`LogHandle::keep_synced`] runs. Positions that are not further than the last are ignored.
    ///
    /// # Errors
    /// When the checkpoint cannot be written; the lane's position in memory has moved, and the next
    /// commit writes it.
    pub fn commit(&self, lane: &str, position: Position, done: &Totals) -> Result<(), Error> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(known) = state.lanes.iter_mut().find(|known| known.name == lane) else {
            return Err(unknown(lane));
        };
        if position.sequence <= known.position.sequence {
            return Ok(());
        }
        known.position = position;
        known.totals.add(done);
        let written = state.checkpoint.write(&state.lanes);
        drop(guard);
        self.shared.dirty.notify_one();
        // Trimming waits for the sync, so that a power loss never leaves a gap; under pressure it
        // does not, which then costs only repeated deliveries.
        if self.is_pressed() {
            self.trim(self.delivered())?;
        }
        written
    }

    /// The end of the log: what lanes can see.
    pub fn end(&self) -> Position {
        *self.shared.end.borrow()
    }

    /// Bytes of all segments.
    pub fn segments_bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Whether the log comes close to its bound.
    pub fn is_pressed(&self) -> bool {
        self.spool.bytes() > self.lock().bytes_max / 4 * 3
    }

    /// Whether the log would take the batch that it refused last (or any small one).
    pub fn has_room(&self) -> bool {
        self.spool.has_room(self.lock().wanted)
    }

    /// Waits until [`LogHandle::has_room`]; for the head only (one waiter).
    pub async fn room(&self) {
        while !self.has_room() {
            self.shared.room.notified().await;
        }
    }

    /// Makes the log and the checkpoint survive a power loss, then removes segments that all lanes
    /// are through. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// When a sync or a removal fails.
    pub fn sync(&self) -> Result<(), Error> {
        // Taken before the sync: only what is on disk as delivered may go.
        let dispensable = self.dispensable();
        self.spool
            .sync()
            .map_err(Error::spool("syncing verdict log"))?;
        let (path, file) = {
            let mut state = self.lock();
            (
                state.checkpoint.path().to_owned(),
                state.checkpoint.unsynced(),
            )
        };
        let synced = file.and_then(|file| file.map_or(Ok(()), |file| file.sync_data()));
        synced.map_err(|source| Error::Checkpoint {
            doing: "syncing",
            path,
            source,
        })?;
        self.trim(dispensable)
    }

    /// Runs [`LogHandle::sync`] on a blocking thread after changes, at most once a second, until
    /// `stop`; then once more. Sleeps while nothing changes.
    pub async fn keep_synced(&self, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = self.shared.dirty.notified() => false,
                () = stop.cancelled() => true,
            };
            let handle = self.clone();
            let synced = tokio::task::spawn_blocking(move || handle.sync()).await;
            if let Ok(Err(error)) = synced {
                tracing::warn!(%error, "verdict log not synced");
            }
            if stopped {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(SYNC_INTERVAL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// The place before which no lane needs anything. The last segment stays in any case: it begins
    /// with the snapshot.
    fn delivered(&self) -> spool::Position {
        let end = self.end();
        let state = self.lock();
        let behind = state.lanes.iter().filter(|lane| lane.position < end);
        let needed = behind.map(|lane| lane.position.batch).min();
        spool::Position {
            offset: 0,
            ..needed.map_or(end.batch, |batch| batch.min(end.batch))
        }
    }

    /// The place before which entries may go while there is room. One delivered segment stays beside
    /// the last one: a restart hears of recent requests again and must know which were counted.
    fn dispensable(&self) -> spool::Position {
        let delivered = self.delivered();
        let kept = self.end().batch.segment.saturating_sub(1);
        spool::Position {
            segment: delivered.segment.min(kept),
            ..delivered
        }
    }

    fn trim(&self, before: spool::Position) -> Result<(), Error> {
        let bytes = self.spool.bytes();
        self.spool
            .trim(before)
            .map_err(Error::spool("removing delivered verdicts"))?;
        if self.spool.bytes() < bytes {
            self.shared.room.notify_one();
        }
        Ok(())
    }

    pub(super) fn wants_room(&self, bytes: usize) {
        self.lock().wanted = bytes;
    }

    pub(super) fn flushed(&self, end: Position, retired: impl Iterator<Item = FileIndex>) {
        let mut state = self.lock();
        state.wanted = 0;
        for index in retired {
            if let Some(file) = state.files.get_mut(&index) {
                file.retired_in = Some(end.batch.segment);
            }
        }
        drop(state);
        self.shared.end.send_replace(end);
        self.shared.dirty.notify_one();
    }

    pub(super) fn put_file(&self, index: FileIndex, entry: Arc<FileEntry>) {
        let retired_in = None;
        let file = FileState { entry, retired_in };
        self.lock().files.insert(index, file);
    }

    /// Forgets files that were retired before the segment `oldest`.
    pub(super) fn forget_files(&self, oldest: u64) {
        let gone = |file: &FileState| file.retired_in.is_some_and(|segment| segment < oldest);
        self.lock().files.retain(|_, file| !gone(file));
    }

    pub(super) fn files<T>(&self, f: impl Fn(FileIndex, &FileEntry, Option<u64>) -> T) -> Vec<T> {
        let state = self.lock();
        let files = state.files.iter();
        files
            .map(|(index, file)| f(*index, &file.entry, file.retired_in))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(lane: &str) -> Error {
    Error::UnknownLane {
        name: lane.to_owned(),
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogHandle({:?})", self.end())
    }
}
