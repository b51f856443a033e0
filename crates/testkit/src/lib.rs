//! What proves the product right or wrong: the delivery oracle, the comparison with the truth, and
//! faults on demand. Never part of a shipped program.
//!
//! | module | answers |
//! |---|---|
//! | [`manifest`] | what was written, line by line, as `emco-lab replay --manifest` says it |
//! | [`stored`] | what a destination has, as its documents say it |
//! | [`oracle`] | was every line delivered exactly once, by id and by content? |
//! | [`truth`] | is what the lines claim (request, person) what really happened? |
//! | [`spans`] | was every span stored that a sidecar took, unless it is noise? |
//! | [`latency`] | how long did it take? |
//! | [`peers`] | what do servers say that somebody else wrote? |
//! | [`faults`] | what happens when the network cuts, stalls or closes in the middle? |
//!
//! ```text
//! manifest ──▶ Expected ─┬─▶ Lane::receive(stored) … ──▶ Report { lines, unexpected, altered }
//!          │             └─▶ Scorer::add(record, stored) ──▶ Attribution
//!          └▶ bodies ──▶ SpanAccount::send … store ──▶ Report { acknowledged, left_out, lost, unknown }
//! ```
//!
//! This crate deliberately knows nothing of the product's inside and shares no code with what it
//! judges: it computes hashes itself and reads documents as an operator's tools would.
//!
//! ```
//! use testkit::{manifest::{Expected, Record}, oracle::Lane, stored::StoredLine};
//!
//! let mut expected = Expected::default();
//! expected.push(Record { id: "ab-0".into(), text: "hello".into(), ..Record::default() });
//! let mut lane = Lane::new(&expected);
//! lane.receive(&StoredLine { id: "ab-0".into(), message: "hello".into(), ..StoredLine::default() });
//! let report = lane.report();
//! assert_eq!((report.lines.delivered, report.lines.lost), (1, 0));
//! ```

pub mod faults;
pub mod latency;
pub mod manifest;
pub mod oracle;
pub mod peers;
pub mod spans;
pub mod stored;
pub mod truth;
