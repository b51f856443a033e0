//! The sidecar under measurement.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::sink::Sink;
use crate::demo::ports::Ports;
use crate::demo::settings::Settings;
use crate::demo::sidecar::Sidecar;

/// The service whose recording is repeated: the busiest.
pub(super) const SERVICE: &str = "orchestrator";

/// Where everything of a measurement is.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    program: &'a Path,
    /// The recording.
    pub(super) corpus: &'a Path,
    folder: &'a Path,
}

/// To whom a sidecar talks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peers {
    /// The hub.
    pub(super) hub: Option<SocketAddr>,
    /// A forward receiver.
    pub(super) forward: Option<SocketAddr>,
    /// An Elasticsearch.
    pub(super) elastic: Option<SocketAddr>,
    /// A receiver of traces, and what is said about noise.
    pub(super) otlp: Option<SocketAddr>,
    pub(super) otlp_noise: Option<&'static str>,
}

impl Peers {
    /// A counting sink and nobody else.
    pub(super) fn only(sink: &Sink) -> Self {
        Self {
            forward: Some(sink.address()),
            ..Self::default()
        }
    }
}

impl<'a> Bench<'a> {
    /// Nothing is made yet.
    pub(super) const fn new(program: &'a Path, corpus: &'a Path, folder: &'a Path) -> Self {
        Self {
            program,
            corpus,
            folder,
        }
    }

    /// The program under measurement.
    pub(super) const fn program(&self) -> &Path {
        self.program
    }

    /// Makes an empty folder for one run.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// A pod's directory in `folder` with one empty log; answers the directory and the log.
    pub(super) fn pod(folder: &Path) -> Result<(PathBuf, PathBuf)> {
        let pod = folder.join(format!(
            "pods/emco_{SERVICE}-0_00000000-0000-4000-8000-0000000000b1"
        ));
        let container = pod.join(SERVICE);
        fs::create_dir_all(&container).with_context(|| format!("make {}", container.display()))?;
        let log = container.join("0.log");
        File::create(&log).with_context(|| format!("make {}", log.display()))?;
        Ok((pod, log))
    }

    /// Starts a sidecar in `folder` on the pod `pod`, and waits until it answers.
    pub(super) fn start(&self, folder: &Path, pod: &Path, peers: Peers) -> Result<Sidecar> {
        let mut ports = Ports::new();
        let settings = Settings {
            service: SERVICE.to_owned(),
            state_dir: folder.join("state"),
            pod_dir: pod.to_path_buf(),
            spans: ports.take()?,
            admin: ports.take()?,
            // Lines without evidence have nothing to wait for.
            wait: "0s".to_owned(),
            hub: peers.hub,
            forward: peers.forward,
            elastic: peers.elastic,
            otlp: peers.otlp,
            otlp_noise: peers.otlp_noise,
        };
        let mut sidecar = Sidecar::start(self.program, folder, settings)?;
        sidecar.wait_until_up()?;
        Ok(sidecar)
    }
}

/// One line of a log as the container runtime writes it.
pub(super) fn write_line(log: &Path, text: &str) -> Result<()> {
    File::options()
        .append(true)
        .open(log)
        .and_then(|mut file| {
            file.write_all(format!("2026-11-23T04:09:35.569154184Z stderr F {text}\n").as_bytes())
        })
        .with_context(|| format!("write {}", log.display()))
}
