//! The process: its log, its runtime, its signals, and the sidecar in it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::Page;
use crate::claim::Claim;
use crate::configuration::{Loaded, Sources};
use crate::environment;
use crate::run::Sidecar;

/// Runs the sidecar until it is told to stop.
pub(crate) fn run(sources: Sources, first: Loaded) -> Result<()> {
    let level = first.as_ref().map(|settings| &settings.log_level);
    let level = level.map_or(telemetry::logs::DEFAULT_FILTER, String::as_str);
    let logs = telemetry::logs::Logs::install(level).context("cannot set up our own log")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(sources, first));
    runtime.shutdown_timeout(Duration::from_secs(1));
    logs.flush();
    result
}

async fn serve(sources: Sources, first: Loaded) -> Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: delivering what can be delivered");
        stopping.cancel();
    });
    let settings = match first {
        Ok(settings) => settings,
        Err(mistakes) => {
            let page = Page::open(sources.admin_listen())?;
            return page.idle("settings", mistakes.brief(), &stop).await;
        }
    };
    let page = Page::open(settings.admin.listen)?;
    let Some(claim) = Claim::get(&settings.state_dir, &page.health, &stop).await? else {
        return Ok(());
    };
    let mut sidecar = match Sidecar::start(&settings, claim, &page, &stop).await {
        Ok(sidecar) => sidecar,
        Err(error) if environment::in_pod() => {
            return page.idle("start", format!("{error:#}"), &stop).await;
        }
        Err(error) => return Err(error),
    };
    let followed = sidecar.follow(&stop).await;
    sidecar.finish(*settings.shutdown_grace).await;
    followed
}
