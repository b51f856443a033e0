//! The whole sidecar: what it delivers, counts and says, whatever its surroundings do.
//!
//! | module | what is done to it |
//! |---|---|
//! | `lines` | every kind of line, file and rotation |
//! | `crashes` | killed at any moment, asked to end, started again |
//! | `state` | damaged, missing, locked and forbidden files |
//! | `surroundings` | a pod that lacks what it should have |
//! | `destinations` | receivers that hang, lie, break off and refuse |
//! | `people` | spans and the hub: who did it, and who may not be named |
//! | `secrets` | what must not leave the pod |
//! | `reload` | settings and files that change while it runs |
//! | `traces` | spans to a receiver that hangs, lies, breaks off and refuses |
//! | `command` | what an operator types and reads |
//! | `operations` | what the page for operators names |
//! | `wrap` | a command whose output a sidecar is to have |
//! | `totals` | what is counted of requests, lines and calls |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails, and says what it leaves out"
)]

#[path = "../common/mod.rs"]
mod common;

mod command;
mod crashes;
mod destinations;
mod lines;
mod operations;
mod own_log;
mod people;
mod reload;
mod secrets;
mod state;
mod surroundings;
mod totals;
mod traces;
mod wrap;
