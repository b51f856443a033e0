//! Head, verdict log and lanes.
pub mod output;
