//! Receives EMCO's spans: a Zipkin v2 collector on loopback.
//!
//! `POST /api/v2/spans` takes a JSON array of spans, plain or gzip, of any size. A body is cut into
//! *pieces* as it arrives; each piece is in the journal (the spool) before anybody sees its spans and
//! before the sender gets its answer:
//!
//! ```text
//! body frames ─▶ (gunzip) ─▶ Splitter ─piece ≤ 128 KiB─▶ Journal::append ─▶ SpanSink ─▶ 202 / 400
//!                              │ scan: validate once,
//!                              └ note where the few facts stand
//! ```
//!
//! 202 means "every byte was JSON spans", also when the journal had no room (counted, and the sink is
//! told of the gap). 400 comes with a sentence; whole spans in front of the fault have been used all
//! the same, because long bodies are used while they arrive. A sender that repeats itself therefore
//! makes spans appear twice: sinks must treat a span id as idempotent.
//!
//! # Journal records
//! | kind | payload |
//! |---|---|
//! | [`KIND_SPANS`] | version byte 1, then whole spans as they came, separated by commas |
//! | [`KIND_GAP`] | version byte 1, then two little-endian `u64`: spans that arrived from .. to are missing |
//!
//! A record's spans can be read again as evidence ([`replay_record`]) or whole ([`SpanRun`]).
//!
//! This crate deliberately does not know what spans mean, who uses them, or where the journal lives.
//!
//! ```
//! use in_spans::{Splitter, SpanScratch};
//!
//! let mut splitter = Splitter::new();
//! splitter.push(br#"[{"traceId":"a1","id":"b2","name":"get /v2/projects","timestamp":5}]"#);
//! let piece = splitter.next_piece(true).unwrap().unwrap();
//! let mut scratch = SpanScratch::default();
//! let facts = piece.spans()[0].facts(piece.run(), &mut scratch).unwrap();
//! assert_eq!(facts.name, "get /v2/projects");
//! ```

mod error;
mod forms;
mod intake;
mod journal;
mod json;
mod metrics;
mod scan;
mod server;
mod settings;
mod splitter;
mod text;
mod whole;

#[cfg(test)]
mod tests;

pub use error::{Error, Fault, FaultKind};
pub use forms::{FormId, Forms};
pub use journal::{
    Journal, JournalError, KIND_GAP, KIND_SPANS, RECORD_VERSION, Replayed, SpanSink, note_gap,
    replay, replay_record,
};
pub use metrics::Metrics;
pub use scan::{RawSpan, SpanScratch};
pub use server::Receiver;
pub use settings::Settings;
pub use splitter::{Piece, Splitter};
pub use whole::SpanRun;
