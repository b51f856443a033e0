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
use crate::settings::Settings;

/// How often a sidecar that cannot start is tried again.
const START_AGAIN: Duration = Duration::from_secs(2);

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

/// Runs sidecars, one after the other as settings and surroundings have it. In a pod that ends only
/// when it is told to.
async fn serve(sources: Sources, logs: &Logs) -> Result<()> {
    let stop = stop_on_signals()?;
    let mut changes = Changes::open(sources)?;
    let mut loaded = changes.load();
    loop {
        let next = match loaded {
            Ok(settings) => Box::pin(serve_with(&settings, &mut changes, logs, &stop)).await?,
            Err(mistakes) => {
                let listen = changes.sources().listen();
                let page = Page::open(listen.admin)?;
                page.idle("settings", mistakes.brief(), listen.spans)?;
                next(&mut changes, page, None, &stop).await
            }
        };
        match next {
            Some(next) => loaded = next,
            None => return Ok(()),
        }
    }
}

/// Runs one sidecar. Answers what to go on with; none if it was told to stop.
async fn serve_with(
    settings: &Settings,
    changes: &mut Changes,
    logs: &Logs,
    stop: &CancellationToken,
) -> Result<Option<Loaded>> {
    logs.set_filter(&settings.log_level)?;
    let page = Page::open(settings.admin.listen)?;
    let claim = tokio::select! {
        claim = Claim::get(&settings.state_dir, &page.health, stop) => claim?,
        change = changes.next() => {
            page.close().await;
            return Ok(Some(change.loaded));
        }
    };
    let Some(claim) = claim else {
        return Ok(None);
    };
    let failed = match Sidecar::start(settings, claim, &page, logs, stop).await {
        Ok(mut sidecar) => {
            let followed = sidecar.follow(changes, stop).await;
            sidecar.finish().await;
            followed
        }
        Err(error) => Err(error),
    };
    match failed {
        Ok(()) => Ok(None),
        Err(error) if environment::in_pod() => {
            page.close().await;
            let page = Page::open(settings.admin.listen)?;
            page.idle("start", format!("{error:#}"), settings.spans.listen)?;
            Ok(next(changes, page, Some(START_AGAIN), stop).await)
        }
        Err(error) => Err(error),
    }
}

/// The next settings after those with which nothing can be done, or the same ones after a while; none
/// if the stop comes first.
async fn next(
    changes: &mut Changes,
    page: Page,
    again: Option<Duration>,
    stop: &CancellationToken,
) -> Option<Loaded> {
    let again = async {
        match again {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let next = tokio::select! {
        () = stop.cancelled() => None,
        change = changes.next() => Some(change.loaded),
        () = again => Some(changes.load()),
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
