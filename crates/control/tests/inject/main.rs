//! Pods of many shapes in many surroundings: what is put in, and that all of it comes out again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod patches;
mod properties;
mod refusals;
mod renewals;
mod schemas;
