//! The store: SQLite with full text, one writer thread, readers apart.
//!
//! # Constraints
//! A document is acknowledged only after the transaction that holds it is committed; a killed
//! process loses nothing that was acknowledged. Twenty thousand documents a second fit on one core.
//! The same document on two lanes is shown once, yet what each lane received stays provable.
//!
//! # Layout (`user_version` 2)
//! ```text
//! documents  document│key│kind│time│service│level│attribution│user│trace│json     what the page shows
//!                ▲      └ the id; a foreign id together with its index
//! receipts   receipt│lane│home│id│document│stored_at│arrivals│conflicts│content│json
//!                └ one row for (lane, home, id); `json` only if this lane said something else
//! words      full-text index (message, fields), rowid = document, no second copy of the text
//! state      name│value                            `indexed`: last document in `words`
//! spans      span│trace│id│service│parent│name│kind│began│ended│status│user│…│arrivals│conflicts│json
//!                 └ one row for (trace, id, service)
//! samples    service│time│requests│errors│buckets   sums since the service's start, for a day
//! ```
//! # How it works
//! Writes of all connections meet in one bounded queue; the writer takes everything that waits,
//! commits it as one transaction and answers. The full-text index follows in transactions of its
//! own, so that it never delays an acknowledgement; it catches up within moments and after a crash
//! goes on where it was.
//!
//! The write-ahead log runs with `synchronous = NORMAL`: safe against a killed process, not against
//! a power cut.

mod read;
mod receipts;
mod schema;
mod scrapes;
mod search;
mod spans;
#[cfg(test)]
mod tests;
mod writer;

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub(crate) use self::receipts::ReceiptQuery;
pub(crate) use self::scrapes::{Sample, sampled, samples};
pub(crate) use self::search::{Cursor, Facets, Query, counts, request};
pub(crate) use self::spans::{IncomingSpan, SpanQuery, SpanRow, StoredSpans, spans_of};

use super::facts::Facts;
use super::metrics::Metrics;

/// Bytes of documents that may wait for the writer in the whole process.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Writes that may wait for the writer.
const WAITING_WRITES_MAX: usize = 256;

/// Which way a document came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Fluent forward.
    Forward,
    /// Elasticsearch's bulk API.
    Elastic,
}

impl Lane {
    /// The word in the store and in the JSON API.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Elastic => "elastic",
        }
    }

    /// The lane of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Forward, Self::Elastic]
            .into_iter()
            .find(|lane| lane.name() == name)
    }
}

/// What to do when the document is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Keep the first.
    Create,
    /// Take the new one.
    Overwrite,
}

/// A document on its way into the store.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Its id, unique in its home.
    pub(crate) id: String,
    /// Its index, or for forward the day it belongs to.
    pub(crate) home: String,
    /// What to do when it is there already.
    pub(crate) mode: Mode,
    /// The document.
    pub(crate) json: String,
    /// What was read from it.
    pub(crate) facts: Facts,
    /// Hash of [`Incoming::json`].
    content: i64,
}

impl Incoming {
    /// A document that is found under `id` in `home`.
    pub(crate) fn new(id: String, home: String, mode: Mode, json: String, facts: Facts) -> Self {
        let mut hasher = twox_hash::XxHash3_64::new();
        hasher.write(json.as_bytes());
        Self {
            content: hasher.finish().cast_signed(),
            id,
            home,
            mode,
            json,
            facts,
        }
    }
}

/// What became of one document; committed when it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is new.
    Created,
    /// It was there; the arrival is counted.
    Duplicate,
    /// It took the place of the one that was there.
    Updated,
}

/// Why the store could not do something.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The directory cannot be made or used.
    #[error("making the directory {path} for the store")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// SQLite refused.
    #[error("{doing}: {source}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: Arc<rusqlite::Error>,
    },
    /// The file was written by a newer program.
    #[error(
        "the store in {path} has version {found}, this program knows {known}; use another --data \
         directory or a newer emco-lab"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite {
            doing,
            source: Arc::new(source),
        }
    }
}

/// Handle to the store; clones share it. The writer ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Store {
    writes: mpsc::Sender<Work>,
    waiting: Arc<Semaphore>,
    readers: Arc<read::Readers>,
}

/// The writer's thread, to be joined at the end.
pub(crate) struct Writer(std::thread::JoinHandle<()>);

/// What the writer does, in the order in which it came.
enum Work {
    /// Documents; groups that wait together are committed together.
    Documents(Write),
    /// Anything else, in a transaction of its own.
    Change(Change),
}

/// A change that reports for itself.
type Change = Box<dyn FnOnce(&mut Connection) + Send>;

/// One group of documents for the writer.
struct Write {
    lane: Lane,
    rows: Vec<Incoming>,
    reply: oneshot::Sender<Result<Vec<Stored>, Error>>,
    /// Room in the process' budget, given back when the group is committed.
    _room: Room,
}

/// Room for documents in memory.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What the writer will say about a group.
pub(crate) struct Pending(oneshot::Receiver<Result<Vec<Stored>, Error>>);

impl Store {
    /// Opens or makes the store in `directory` and starts its writer.
    pub(crate) fn open(directory: &Path, metrics: Arc<Metrics>) -> Result<(Self, Writer), Error> {
        std::fs::create_dir_all(directory).map_err(|source| Error::Directory {
            path: directory.to_owned(),
            source: Arc::new(source),
        })?;
        let path = directory.join("lab.sqlite");
        let connection = schema::open(&path)?;
        let (writes, commands) = mpsc::channel(WAITING_WRITES_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(connection, commands, &metrics))
            .map_err(|source| Error::Directory {
                path: path.clone(),
                source: Arc::new(source),
            })?;
        let store = Self {
            writes,
            waiting: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            readers: Arc::new(read::Readers::new(path)),
        };
        Ok((store, Writer(thread)))
    }

    /// Waits for room for `bytes` of documents.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, Error> {
        let bytes = u32::try_from(bytes.clamp(1, WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.waiting).acquire_many_owned(bytes).await;
        permit.map(Room).map_err(|_| Error::Closed)
    }

    /// Hands a group of documents to the writer; groups are committed in the order they came.
    pub(crate) async fn write(
        &self,
        lane: Lane,
        rows: Vec<Incoming>,
        room: Room,
    ) -> Result<Pending, Error> {
        let (reply, pending) = oneshot::channel();
        let write = Write {
            lane,
            rows,
            reply,
            _room: room,
        };
        let work = Work::Documents(write);
        self.writes.send(work).await.map_err(|_| Error::Closed)?;
        Ok(Pending(pending))
    }

    /// Changes something in one transaction and waits until it is committed.
    async fn change<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, done) = oneshot::channel();
        let change = move |connection: &mut Connection| {
            let result = writer::transact(connection, work).map_err(Error::sqlite(doing));
            // Who asked may have gone away.
            drop(reply.send(result));
        };
        let work = Work::Change(Box::new(change));
        self.writes.send(work).await.map_err(|_| Error::Closed)?;
        done.await.unwrap_or(Err(Error::Closed))
    }

    /// Reads with `work` on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        Arc::clone(&self.readers).run(work).await
    }
}

impl Pending {
    /// Waits until the group is committed; answers one outcome a document, in order.
    pub(crate) async fn committed(self) -> Result<Vec<Stored>, Error> {
        self.0.await.unwrap_or(Err(Error::Closed))
    }
}

impl Writer {
    /// Waits until everything is committed and the store is closed; all [`Store`]s must be gone.
    pub(crate) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the store's writer panicked");
        }
    }
}
