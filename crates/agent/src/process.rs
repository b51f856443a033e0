//! The process: its log, its runtime, its signals, and the sidecar in it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use telemetry::logs::Logs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::Page;
use crate::claim::Claim;
use crate::configuration::{Changes, Loaded, Sources, UnknownService};
use crate::environment;
use crate::run::Sidecar;

/// Runs the sidecar until it is told to stop.
pub(crate) fn run(sources: Sources, first: &Loaded) -> Result<()> {
    let level = first.as_ref().map(|settings| &settings.log_level);
    let level = level.map_or(telemetry::logs::DEFAULT_FILTER, String::as_str);
    let logs = Logs::install(level).context("cannot set up our own log")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let service = first.as_ref().map(|settings| settings.service.as_str());
    if let Some(unknown) = service.ok().and_then(UnknownService::find) {
        unknown.warn();
    }
    let result = runtime.block_on(serve(sources, &logs));
    runtime.shutdown_timeout(Duration::from_secs(1));
    logs.flush();
    result
}

async fn serve(sources: Sources, logs: &Logs) -> Result<()> {
    let stop = stop_on_signals()?;
    let mut changes = Changes::open(sources)?;
    let mut loaded = changes.load();
    loop {
        let settings = match loaded {
            Ok(settings) => settings,
            Err(mistakes) => {
                let page = Page::open(changes.sources().admin_listen())?;
                page.idle("settings", mistakes.brief());
                match next(&mut changes, page, &stop).await {
                    Some(next) => loaded = next,
                    None => return Ok(()),
                }
                continue;
            }
        };
        logs.set_filter(&settings.log_level)?;
        let page = Page::open(settings.admin.listen)?;
        let claim = tokio::select! {
            claim = Claim::get(&settings.state_dir, &page.health, &stop) => claim?,
            change = changes.next() => {
                page.close().await;
                loaded = change.loaded;
                continue;
            }
        };
        let Some(claim) = claim else {
            return Ok(());
        };
        let mut sidecar = match Sidecar::start(&settings, claim, &page, logs, &stop).await {
            Ok(sidecar) => sidecar,
            Err(error) if environment::in_pod() => {
                page.idle("start", format!("{error:#}"));
                match next(&mut changes, page, &stop).await {
                    Some(next) => loaded = next,
                    None => return Ok(()),
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let followed = sidecar.follow(&mut changes, &stop).await;
        sidecar.finish().await;
        return followed;
    }
}

/// The next settings after those with which nothing can be done; none if the stop comes first.
async fn next(changes: &mut Changes, page: Page, stop: &CancellationToken) -> Option<Loaded> {
    let next = tokio::select! {
        () = stop.cancelled() => None,
        change = changes.next() => Some(change.loaded),
    };
    page.close().await;
    next
}

fn stop_on_signals() -> Result<CancellationToken> {
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
    Ok(stop)
}
