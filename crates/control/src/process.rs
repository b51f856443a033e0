//! What every command that asks a cluster needs of its process: a runtime, signals, standard output.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long what is left may take to end: name look-ups cannot be stopped.
const END_MAX: Duration = Duration::from_secs(1);

/// Runs `work` to its end, on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(END_MAX);
    result
}

/// How a process ends.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// Others take over: nothing new is begun, and what is kept open is closed.
    pub leave: CancellationToken,
    /// That is all.
    pub stop: CancellationToken,
}

impl End {
    /// Both when `stop` is cancelled.
    pub fn at(stop: CancellationToken) -> Self {
        Self {
            leave: stop.clone(),
            stop,
        }
    }

    /// Both at once.
    pub fn now(&self) {
        self.leave.cancel();
        self.stop.cancel();
    }
}

/// Both at SIGINT; at SIGTERM first the one, and `delay` later the other.
pub(crate) fn end_after(delay: Duration) -> Result<End> {
    let end = End::default();
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear SIGINT")?;
    let ended = end.clone();
    tokio::spawn(async move {
        let terminated = async {
            terminate.recv().await;
            ended.leave.cancel();
            if !delay.is_zero() {
                tracing::info!(?delay, "going, once no API server asks any more");
                sleep(delay).await;
            }
        };
        tokio::select! {
            () = terminated => {}
            _ = interrupt.recv() => {}
        }
        ended.now();
    });
    Ok(end)
}

/// Writes to standard output, or whatever stands for it, at once: what comes next may take minutes.
pub(crate) fn say(out: &mut impl Write, text: &str) -> Result<()> {
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.context("cannot write to stdout")
}
