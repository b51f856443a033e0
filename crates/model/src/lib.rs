//! The vocabulary of emco-observer: ids, times, log records, evidence, verdicts, facts, documents.
//!
//! Every other crate speaks in these types, so that a line, a span or a person means the same thing
//! from the tailer to the last byte of an output.
//!
//! This crate deliberately knows no I/O, no clock, no wire format and no EMCO code positions: it is
//! plain data with the few rules that hold everywhere (how a trace id is read from hex, which day a
//! time belongs to, how a document id is written).
//!
//! | module | words |
//! |---|---|
//! | [`ids`] | trace, span, file and document ids |
//! | [`time`] | nanoseconds since the epoch, days |
//! | [`mod@line`] | streams, dialects, severities, extents; the facts the ledger needs of one line |
//! | [`record`] | a decoded line as byte ranges over its text |
//! | [`evidence`] | spans and access records as the ledger sees them |
//! | [`grpc`] | codes of answers to gRPC calls |
//! | [`span`] | a whole span as its sender wrote it |
//! | [`verdict`] | whom a line belongs to, and how we know |
//! | [`fact`] | what pods tell each other through the hub |
//! | [`document`] | what an output encodes: a record or a request with its verdict and constants |

pub mod document;
pub mod evidence;
pub mod fact;
pub mod grpc;
pub mod ids;
pub mod line;
pub mod record;
pub mod span;
pub mod time;
pub mod verdict;
