//! What the settings say, as the parts of a sidecar want it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use correlate::Ledger;
use head::{Head, SharedLedger};
use hub::{ClientSettings, HubClient, HubHandle, Learned};
use in_spans::Receiver;
use in_tail::{PlainSettings, PodSettings, Replay};
use pipeline::{Limits, VerdictLog};
use prometheus::{IntCounter, Registry};
use spool::Spool;
use telemetry::health::Health;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::environment;
use crate::settings::Settings;

/// How much of the service's own log is read again after a restart, to learn what it teaches.
const RELEARN_BYTES: u64 = 4 << 20;
/// How much of the proxy's log is read again after a restart.
const REREAD_ACCESS_BYTES: u64 = 16 << 20;

pub(super) fn open_spool(settings: &Settings, queues: &spool::Metrics) -> Result<Spool> {
    let dir = settings.state_dir.join("spans");
    let limits = Limits {
        bytes_max: settings.spans.disk_bytes_max,
        ..Limits::default()
    };
    let (spool, recovery) = Spool::open(&dir, limits, queues.queue("spans"))
        .with_context(|| format!("cannot open the spool in {}", dir.display()))?;
    for note in recovery.notes {
        tracing::warn!(note, "spool");
    }
    Ok(spool)
}

pub(super) fn open_log(
    settings: &Settings,
    lanes: &[&str],
    queues: &spool::Metrics,
    registry: &Registry,
) -> Result<(VerdictLog, pipeline::Recovery)> {
    let damaged = IntCounter::new(
        "emco_observer_checkpoint_damages_total",
        "Checkpoints of the lanes that could not be read at the start: everything is sent again",
    )?;
    registry.register(Box::new(damaged.clone()))?;
    let dir = settings.state_dir.join("verdicts");
    let default = Limits::default();
    let limits = Limits {
        bytes_max: settings.lanes.disk_bytes_max.unwrap_or(default.bytes_max),
        ..default
    };
    let (log, recovery) = VerdictLog::open(&dir, limits, lanes, queues.queue("verdicts"))
        .with_context(|| format!("cannot open the verdict log in {}", dir.display()))?;
    damaged.inc_by(u64::from(recovery.checkpoint_damaged));
    for note in &recovery.notes {
        tracing::warn!(note, "verdict log");
    }
    Ok((log, recovery))
}

pub(super) fn new_ledger(settings: &Settings) -> SharedLedger {
    let mut ledger = correlate::Settings::of(&settings.service);
    ledger.wait = nanos(*settings.attribution.wait);
    SharedLedger::new(Ledger::new(ledger))
}

pub(super) async fn bind_receiver(
    settings: &Settings,
    registry: &Registry,
    health: &Health,
) -> Result<Option<Receiver>> {
    let receiver = in_spans::Settings {
        listen: settings.spans.listen,
        ..in_spans::Settings::default()
    };
    match Receiver::bind(receiver, in_spans::Metrics::new(registry)?).await {
        Ok(receiver) => Ok(Some(receiver)),
        Err(error) => {
            health.set("spans", net::chain(&error));
            Ok(None)
        }
    }
}

pub(super) fn connect_hub(
    settings: &Settings,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<(HubHandle, mpsc::Receiver<Learned>)> {
    let client = ClientSettings {
        addresses: settings.hub.addresses.clone(),
        token_file: settings.hub.token_file.clone(),
        ..ClientSettings::default()
    };
    let metrics = hub::ClientMetrics::new(registry)?;
    HubClient::spawn(client, metrics, stop.clone()).context("cannot use the hub's address")
}

/// A directory that is not there is waited for: kubelet makes it, or its path is wrong.
pub(super) fn await_directory(head: &mut Head, settings: &Settings) {
    let Some(directory) = settings.logs.pod_dir.as_deref() else {
        return;
    };
    if !directory.try_exists().unwrap_or(true) {
        let why = format!(
            "log directory {} is not there: waiting for it; if it should be, see `logs.pod_dir` and the mount",
            directory.display()
        );
        head.unreadable(directory, &why);
    }
}

pub(super) fn tail_settings(settings: &Settings) -> in_tail::Settings {
    let proxy = settings.logs.proxy_container.clone();
    let pod = |directory: &Path| PodSettings {
        directory: directory.to_owned(),
        identity: environment::pod_identity(),
        exclude: settings.logs.exclude.clone(),
        first: vec![proxy.clone()],
        replay: BTreeMap::from([
            (proxy.clone(), Replay::Bytes(REREAD_ACCESS_BYTES)),
            (settings.service.clone(), Replay::Bytes(RELEARN_BYTES)),
        ]),
        ..PodSettings::default()
    };
    let plain = |path: &std::path::PathBuf| PlainSettings {
        path: path.clone(),
        ..PlainSettings::default()
    };
    in_tail::Settings {
        pods: settings
            .logs
            .pod_dir
            .as_deref()
            .map(pod)
            .into_iter()
            .collect(),
        files: settings.logs.files.iter().map(plain).collect(),
        state: Some(settings.state_dir.join("plain-files")),
        ..in_tail::Settings::default()
    }
}

/// Somebody wants our own log followed; it would feed on itself.
pub(super) fn warn_of_own_log(settings: &Settings) {
    let files = settings.logs.files.iter();
    for path in files.filter(|path| in_tail::is_own_output(path)) {
        tracing::warn!(path = %path.display(), "this file holds our own log and is not followed");
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
