//! The chart on a whole node: real containers under a real kubelet, from `helm install` to documents in
//! the embedded backend. `cargo xtask test --full` runs it; alone:
//!
//! ```text
//! cargo xtask peers kubernetes helm node && cargo xtask dist
//! EMCO_NODE=1 cargo nextest run --package control --test full_node --success-output immediate
//! ```
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test panics where it fails, and says what it measured"
)]

mod commands;
mod lines;
mod trial;
mod troubles;
mod upgrades;
