//! Ctrl-C and SIGTERM: seen at every place that waits, so that all guards run.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

/// Begins to listen for both signals, on a thread of its own.
pub(crate) fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime that listens for signals")?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        *INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner) = true;
        CHANGED.notify_all();
    });
    Ok(())
}

/// Whether the process was told to end.
pub(crate) fn is_interrupted() -> bool {
    *INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for `time`.
///
/// # Errors
/// As soon as the process is told to end.
pub(crate) fn wait(time: Duration) -> Result<()> {
    let guard = INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner);
    let (interrupted, _) = CHANGED
        .wait_timeout_while(guard, time, |interrupted| !*interrupted)
        .unwrap_or_else(PoisonError::into_inner);
    if *interrupted {
        bail!("interrupted");
    }
    Ok(())
}

/// Asks `poll` every `pause` until it has an answer; `None` after `bound`.
pub(crate) fn poll_until<T>(
    bound: Duration,
    pause: Duration,
    mut poll: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = Instant::now() + bound;
    loop {
        if let Some(answer) = poll()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        wait(pause)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_ends_with_the_answer_or_the_bound() {
        let mut left = 3;
        let answer = poll_until(Duration::from_secs(5), Duration::from_millis(1), || {
            left -= 1;
            Ok((left == 0).then_some("done"))
        });
        assert_eq!(answer.unwrap(), Some("done"));
        let none: Option<()> =
            poll_until(Duration::from_millis(3), Duration::from_millis(1), || {
                Ok(None)
            })
            .unwrap();
        assert_eq!(none, None);
    }
}
