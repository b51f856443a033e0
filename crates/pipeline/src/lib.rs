//! Head, verdict log and lanes.
pub mod coverage;
mod documents;
mod entry;
mod error;
pub mod output;
mod slots;
mod varint;
mod verdict_log;

pub use documents::{Documents, Lost};
pub use entry::{Entry, FileEntry, FileIndex, LineEntry, Part, Position, RequestEntry, Totals};
pub use error::Error;
pub use verdict_log::{LogHandle, LogReader, Recovery, VerdictLog};
