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
//! | [`dead_letter`] | what a destination will never take |
//! | [`Metrics`] | read = delivered + dead-lettered + dropped + in flight |
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
mod slots;
mod varint;
mod verdict_log;

pub use dead_letter::DeadLetters;
pub use documents::{Documents, Lost};
pub use entry::{Entry, FileEntry, FileIndex, LineEntry, Part, Position, RequestEntry, Totals};
pub use error::Error;
pub use head::OrderQueue;
pub use lane::{Lane, LaneHandle, LaneReport, LaneSettings};
pub use metrics::{HeadMetrics, LaneMetrics, Metrics};
pub use spool::Limits;
pub use verdict_log::{LogHandle, LogReader, Recovery, VerdictLog};
