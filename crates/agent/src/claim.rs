//! Making the state directory ours.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use model::time::UnixNanos;
use telemetry::health::Health;
use tokio_util::sync::CancellationToken;

use crate::environment;

/// How often a state directory that cannot be used is tried again.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// The part of our health that stands for the state directory.
const STATE: &str = "state";

/// A state directory that is ours.
pub(crate) struct Claim {
    /// When the process before this one was alive last.
    pub(crate) alive_until: Option<UnixNanos>,
    /// Held as long as the directory is ours.
    _lock: File,
}

impl Claim {
    /// Makes `state_dir` ours. In a pod that is tried until it succeeds: what holds it may be our
    /// predecessor, and what forbids it may be mended. `None` if `stop` comes first.
    ///
    /// # Errors
    /// Outside a pod, if it is another process's or cannot be written.
    pub(crate) async fn get(
        state_dir: &Path,
        health: &Health,
        stop: &CancellationToken,
    ) -> Result<Option<Self>> {
        loop {
            let alive_until = environment::last_alive(state_dir);
            match environment::lock(state_dir) {
                Ok(lock) => {
                    health.clear(STATE);
                    return Ok(Some(Self {
                        alive_until,
                        _lock: lock,
                    }));
                }
                Err(error) if environment::in_pod() => health.set(STATE, format!("{error:#}")),
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(TRY_EVERY) => {}
            }
        }
    }
}
