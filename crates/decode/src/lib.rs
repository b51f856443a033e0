//! Bytes into records.
//!
//! ```text
//! chunks of files ─▶ Framer ─▶ Framed (text, extents) ─▶ Decoder ─▶ model::record::Record ─▶ facts
//!                     │ CRI header, P/F join, panics joined by grammar   │ dialect, canonical names,
//!                     └ physical lines cut, nothing lost                 └ secrets masked
//! ```
//!
//! This crate deliberately knows no files, no clock and no request: the caller feeds bytes with
//! their offsets and the time, and the ledger decides whom a line belongs to.
//!
//! ```
//! use decode::{Decoder, Framer, FramerSettings};
//! use model::{line::Severity, record::Record, time::UnixNanos};
//!
//! let file = b"2026-11-23T04:09:37.5Z stderr F {\"level\":\"warning\",\"msg\":\"late\"}\n";
//! let (mut framer, mut decoder) = (Framer::new(FramerSettings::default()), Decoder::default());
//! let mut record = Record::default();
//! framer.push(0, 0, file, UnixNanos(1), &mut |line| {
//!     decoder.decode(line.text, line.time, line.stream, 0, &mut record);
//! });
//! assert_eq!(record.severity, Severity::Warn);
//! ```

pub mod clf;
pub mod cri;
mod decoder;
pub mod envoy;
mod facts;
mod fields;
mod flaw;
mod framer;
mod json;
mod marks;
mod multiline;
mod redact;
mod rejoin;
mod secrets;
mod settings;
mod structured;
mod table;
mod text;

pub use decoder::Decoder;
pub use facts::{FactBuf, facts};
pub use flaw::{Flaw, flaws};
pub use framer::{Framed, Framer};
pub use redact::redact;
pub use rejoin::rejoin;
pub use settings::{Format, FramerSettings};
