//! Head, verdict log and lanes: from a decided line to an acknowledged document.
//!
//! ```text
//!  lines ─▶ OrderQueue ─▶ VerdictLog ─▶ LogReader ─▶ Lane: Documents ─▶ Encoder ─▶ Output
//!           (head.rs)     (on disk)     (a cursor     batching, answers, repetition   │
//!                              ▲         a lane)                                      │
//!                              └──────────── commit: the answered prefix ◀────────────┘
//! ```
//!
//! | item | role |
//! |---|---|
//! | [`OrderQueue`] | lines wait for their verdict, leave in order |
//! | [`VerdictLog`], [`LogHandle`], [`LogReader`] | the queue between head and lanes; format in its module |
//! | [`Lane`], [`lane::Engine`] | one destination: batches, repetition, prefix commit |
//! | [`output`], [`Documents`] | what a destination and a source of documents have to be |
//! | [`SlotFile`] | a small value that survives a crash at any moment |
//! | [`dead_letter`] | what a destination will never take |
//! | [`Metrics`] | read = delivered + dead-lettered + dropped + in flight |
//!
//! ```
//! # fn main() -> Result<(), pipeline::Error> {
//! # let dir = std::env::temp_dir().join(format!("pipeline-doc-{}", std::process::id()));
//! use pipeline::{Entry, FileEntry, Limits, LineEntry, Part, VerdictLog};
//!
//! let metrics = spool::QueueMetrics::default();
//! let (mut log, recovery) = VerdictLog::open(&dir, Limits::default(), &["forward"], metrics)?;
//! assert_eq!(recovery.sequence, 0);
//! let file = log.register_file(FileEntry::default());
//! let extent = model::line::Extent { offset: 0, bytes: 337 };
//! log.append_line(&LineEntry { first: Part { file, extent }, ..LineEntry::default() })?;
//! log.flush()?;
//! let mut reader = log.reader("forward")?;
//! while let Some((position, Entry::Line(line))) = reader.next()? {
//!     assert_eq!((position.sequence, line.first.extent.end()), (1, 337));
//! }
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok(())
//! # }
//! ```
//!
//! This crate deliberately does not know how log files are found or read, how a line is decoded or
//! judged, what an encoded item looks like, or any protocol of a destination.

pub mod coverage;
pub mod dead_letter;
mod documents;
mod entry;
mod error;
pub mod head;
pub mod lane;
mod metrics;
pub mod output;
mod recent;
mod slot_file;
mod slots;
pub mod tally;
mod varint;
mod verdict_log;

pub use dead_letter::DeadLetters;
pub use documents::{Documents, Lost};
pub use entry::{Entry, FileEntry, FileIndex, LineEntry, Part, Position, RequestEntry, Totals};
pub use error::Error;
pub use head::OrderQueue;
pub use lane::{Lane, LaneHandle, LaneReport, LaneSettings};
pub use metrics::{HeadMetrics, LaneMetrics, Metrics};
pub use recent::Recent;
pub use slot_file::{SlotFile, SlotValue};
pub use spool::Limits;
pub use verdict_log::{LogHandle, LogReader, Recovery, VerdictLog};
