//! What is measured of EMCO and of its ledger, by names and labels that are known beforehand.
//!
//! | family | labels | counted by |
//! |---|---|---|
//! | `emco_requests_total` | service, route, action, method, status class | access lines; requests that have none |
//! | `emco_request_duration_seconds` | the same | spans and access records |
//! | `emco_requests_in_flight` | service, route, action, method | start records of the proxy |
//! | `emco_log_lines_total` | service, level | lines of the service |
//! | `emco_dependency_calls_total`, `_duration_seconds` | service, kind, operation, outcome | client spans |
//! | `emco_observer_ledger_*` | outcome, rule | verdicts |
//!
//! All but gauges are kept with the verdict log ([`family`]) and grow only when it is written, so no
//! restart changes a total.

mod dependencies;
mod family;
mod labels;
mod ledger;
mod lines;
mod requests;

pub(crate) use dependencies::Dependencies;
pub use dependencies::{CallFeed, DependencyCalls};
pub(crate) use ledger::LedgerView;
pub(crate) use lines::LineCounts;
pub(crate) use requests::RequestCounts;
