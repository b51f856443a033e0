//! Real servers of others beside the lab, for those who want to look: Jaeger gets every trace that the
//! lab has taken, Prometheus asks the sidecars as the lab does.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use testkit::peers::{Jaeger, Prometheus, Target};

use crate::peers::{self, Peer};
use crate::say;

/// A server that can stand beside the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Beside {
    /// Traces.
    Jaeger,
    /// Metrics.
    Prometheus,
}

impl Beside {
    const fn peer(self) -> Peer {
        match self {
            Self::Jaeger => Peer::Jaeger,
            Self::Prometheus => Peer::Prometheus,
        }
    }
}

/// Those that run.
#[derive(Debug)]
pub(crate) struct Neighbours {
    jaeger: Option<Jaeger>,
    prometheus: Option<Prometheus>,
}

impl Neighbours {
    /// Installs and starts what is `wanted`, with its data in `folder`; `targets` are the sidecars.
    pub(crate) fn start(
        wanted: &[Beside],
        folder: &Path,
        targets: &[(String, SocketAddr)],
    ) -> Result<Self> {
        if !wanted.is_empty() {
            let wanted: Vec<Peer> = wanted.iter().map(|beside| beside.peer()).collect();
            peers::install(&wanted)?;
        }
        let wants = |beside| wanted.contains(&beside);
        let targets = targets.iter().map(|(job, address)| Target {
            job: job.clone(),
            address: *address,
        });
        let targets: Vec<Target> = targets.collect();
        let missing = "it is installed but cannot be found: is PATH or EMCO_PEERS_DIR changed?";
        let jaeger = wants(Beside::Jaeger)
            .then(|| Jaeger::start(folder).context(missing))
            .transpose()?;
        let prometheus = wants(Beside::Prometheus)
            .then(|| Prometheus::start(folder, &targets).context(missing))
            .transpose()?;
        Ok(Self { jaeger, prometheus })
    }

    /// Where traces are taken besides.
    pub(crate) fn traces(&self) -> Option<SocketAddr> {
        self.jaeger.as_ref().map(|jaeger| jaeger.otlp)
    }

    /// Says where they are.
    pub(crate) fn announce(&self) {
        if let Some(jaeger) = &self.jaeger {
            let query = jaeger.query;
            say::note(format_args!(
                "Jaeger: http://{query}/ (its module has no pages; ask \
                 http://{query}/api/traces?service=orchestrator.emco&lookback=1h)"
            ));
        }
        if let Some(prometheus) = &self.prometheus {
            say::note(format_args!("Prometheus: http://{}/", prometheus.http));
        }
    }
}
