//! What the settings say, as the parts of a sidecar want it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use correlate::Ledger;
use head::{Head, SharedLedger};
use hub::{ClientSettings, HubClient, HubHandle, Learned};
use in_tail::{PlainSettings, PodSettings, Replay};
use pipeline::{Limits, VerdictLog};
use prometheus::{IntCounter, Registry};
use spool::Spool;
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

pub(super) fn connect_hub(
    settings: &Settings,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<(HubHandle, mpsc::Receiver<Learned>)> {
    let client = ClientSettings {
        addresses: settings.hub.addresses.clone(),
        token_file: settings.hub.token_file.clone(),
        tls: settings.hub.tls.clone().into(),
        ..ClientSettings::default()
    };
    let metrics = hub::ClientMetrics::new(registry)?;
    HubClient::spawn(client, metrics, stop.clone()).context("cannot use the hub's address")
}

/// Where logs should be, and are not always: kubelet makes the directory when it makes the container,
/// and a service its file when it begins to write. Or the path is wrong.
pub(super) struct Places(Vec<Place>);

struct Place {
    path: PathBuf,
    kind: &'static str,
    key: &'static str,
    /// It was not there when it was looked for last.
    missing: bool,
    /// A file that was there may be away for a moment, while it is rotated.
    may_go: bool,
}

impl Places {
    /// Those that the settings name, looked at for the first time.
    pub(super) fn looked_at(settings: &Settings, head: &mut Head) -> Self {
        warn_of_own_log(settings);
        let mut places = Self::new(settings);
        places.look(head);
        places
    }

    fn new(settings: &Settings) -> Self {
        let place = |path: &PathBuf, kind, key, may_go| Place {
            path: path.clone(),
            kind,
            key,
            missing: false,
            may_go,
        };
        let directory = settings.logs.pod_dir.iter();
        let files = settings.logs.files.iter();
        let directory = directory.map(|path| place(path, "log directory", "logs.pod_dir", false));
        let files = files.map(|path| place(path, "log file", "logs.files", true));
        Self(directory.chain(files).collect())
    }

    /// Looks whether they are there, and has `head` say so.
    pub(super) fn look(&mut self, head: &mut Head) {
        for place in &mut self.0 {
            let missing = !place.path.try_exists().unwrap_or(true);
            if missing && !place.missing {
                let Place {
                    path, kind, key, ..
                } = place;
                let path_said = path.display();
                let why = format!(
                    "{kind} {path_said} is not there: waiting for it; if it should be, see `{key}` and the mount"
                );
                head.unreadable(path, &why);
            } else if place.missing && !missing {
                head.is_there(&place.path);
            }
            place.missing = missing;
        }
        self.0.retain(|place| place.missing || !place.may_go);
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
fn warn_of_own_log(settings: &Settings) {
    let files = settings.logs.files.iter();
    for path in files.filter(|path| in_tail::is_own_output(path)) {
        tracing::warn!(path = %path.display(), "this file holds our own log and is not followed");
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
