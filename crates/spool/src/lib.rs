//! A crash-safe, size-bounded queue of opaque byte batches on disk.
//!
//! # Constraints
//! An append must cost one `write` and survive our own `kill -9`; a crash at any byte of any write
//! must lose at most the batch being written; the bytes on disk never exceed the bound; reading
//! needs memory for one batch, however much is stored. When the queue is full the newest batch is
//! refused ([`Error::Full`]), so whoever writes can push back or count the loss.
//!
//! # Layout
//! A directory of segments, named by number (`00000000000000000007.seg`), each append-only:
//! ```text
//! segment  ┌───────────┬────────────┐ then batch after batch, integers little-endian
//!          │ "emcospl" │ version u8 │
//!          └───────────┴────────────┘
//! batch    ┌────────────┬─────────┬─────────┬───────────┬─────────┐
//!          │ length u32 │ kind u8 │ time u64│ crc32 u32 │ payload │
//!          └────────────┴─────────┴─────────┴───────────┴─────────┘
//! ```
//! The checksum covers segment number, offset, length, kind, time and payload: a batch that stands
//! where it was not written is no batch. A segment begins in the same write as its first batch.
//! A new segment is begun when the next batch would make the last one longer than
//! [`Limits::segment_bytes`]. Only whole segments are removed, oldest first, and the last one stays,
//! so that segment numbers only ever grow.
//!
//! # Recovery
//! Opening reads the last segment. An incomplete batch at its end is a torn write: it is cut off.
//! A complete batch with a wrong checksum is damage: the rest of that segment is skipped by readers,
//! counted and logged, and new batches go to a new segment. Damage in older segments is found and
//! skipped by the reader that comes across it. A segment of an unknown version is skipped likewise.
//!
//! # What this crate does not know
//! What the batches mean, what time it is (`time` is the caller's), and when a batch may go: callers
//! call [`Spool::trim`] or [`Spool::trim_older_than`].
//!
//! ```
//! # fn main() -> Result<(), spool::Error> {
//! # let dir = std::env::temp_dir().join(format!("spool-doc-{}", std::process::id()));
//! let (spool, _) = spool::Spool::open(&dir, spool::Limits::default(), spool::QueueMetrics::default())?;
//! let first = spool.append(1, 1_700_000_000, b"spans")?;
//! let mut reader = spool.reader(first);
//! while let Some(batch) = reader.next()? {
//!     assert_eq!((batch.kind, batch.payload), (1, &b"spans"[..]));
//! }
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok(())
//! # }
//! ```

mod error;
mod format;
mod metrics;
mod queue;
mod reader;
mod recovery;
mod storage;

pub use error::Error;
pub use format::{PAYLOAD_BYTES_MAX, Position};
pub use metrics::{Metrics, QueueMetrics};
pub use queue::{Dropped, Limits, Spool};
pub use reader::{Batch, Reader};
pub use recovery::Recovery;
pub use storage::{Directory, Storage, Sync};

#[cfg(test)]
mod tests;
