//! What the hub promises: the engine, the access log, the protocol, and both sides over loopback.

mod access;
mod client;
mod engine;
mod questions;
mod server;
mod wire;

use std::sync::Arc;

use model::fact::{Fact, Operation, TraceUser};
use model::ids::TraceId;
use model::time::UnixNanos;
use model::verdict::{User, UserSource};

pub(super) fn trace(number: u8) -> TraceId {
    TraceId([number; 16])
}

pub(super) fn user(id: &str) -> User {
    User {
        id: Arc::from(id),
        source: UserSource::Gateway,
    }
}

pub(super) fn trace_user(number: u8, id: &str) -> Fact {
    Fact::TraceUser(made(number, id, 5, UnixNanos(9)))
}

/// A request on a trace, which began and ended so.
pub(super) fn made(number: u8, id: &str, at: u64, until: UnixNanos) -> TraceUser {
    TraceUser {
        trace: trace(number),
        user: user(id),
        at: UnixNanos(at),
        until,
        exclusive: true,
    }
}

pub(super) fn operation(number: u8, app_context: &str) -> Operation {
    Operation {
        trace: trace(number),
        app_context: Arc::from(app_context),
        action: Arc::from("installapp/InstallApp"),
        service: Arc::from("rsync"),
        at: UnixNanos(7),
    }
}
