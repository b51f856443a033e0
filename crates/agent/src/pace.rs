//! When the head wakes up.

use std::time::Duration;

use model::time::UnixNanos;
use tokio::time::Instant;

use crate::environment;

/// Verdicts are taken at most this often, so that lines that become due one by one wake us rarely.
pub(crate) const DECIDE_EVERY: Duration = Duration::from_millis(250);

/// When verdicts are to be taken that are due at `due`, if they were last taken at `decided`.
pub(crate) fn wake_at(due: UnixNanos, decided: Instant) -> Instant {
    let wait = Duration::from_nanos(due.since(environment::now()));
    (Instant::now() + wait).max(decided + DECIDE_EVERY)
}

/// Sleeps until `wake`; for ever without one.
pub(crate) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
