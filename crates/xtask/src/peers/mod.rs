//! Real servers that the tests deliver to.
//!
//! Each has a recipe; what it makes is kept until the recipe changes. Several processes may ask for
//! the same peers: one installs, the others wait for it.

mod collector;
mod elasticsearch;
mod forward;
mod go;
mod helm;
mod jaeger;
mod kubernetes;
mod lock;
mod openmetrics;
mod recipe;
mod schemas;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::apt::{self, Tool};
use crate::child::{Group, log_file};
use crate::{say, workspace};

/// What `cargo xtask peers` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these; if none is named, all but `node`, which only `cargo xtask test --full` needs.
    #[arg(value_name = "PEER")]
    peers: Vec<Peer>,
}

/// A server of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// The receiver of the forward protocol.
    Forward,
    /// A node of Elasticsearch.
    Elasticsearch,
    /// Prometheus with promtool.
    Prometheus,
    /// The reference parser of `OpenMetrics`.
    Openmetrics,
    /// The schemas of Kubernetes.
    Schemas,
    /// Helm 3, Helm 4 and kubectl.
    Helm,
    /// Jaeger.
    Jaeger,
    /// The OpenTelemetry Collector.
    Collector,
    /// The API server of Kubernetes with its etcd and its controllers.
    Kubernetes,
    /// What runs pods: kubelet, kube-proxy and kube-scheduler, for whoever is root.
    Node,
}

impl Peer {
    /// What every run of the gate needs; what takes long comes last.
    pub(crate) const ALL: [Self; 9] = [
        Self::Forward,
        Self::Elasticsearch,
        Self::Prometheus,
        Self::Openmetrics,
        Self::Schemas,
        Self::Helm,
        Self::Jaeger,
        Self::Collector,
        Self::Kubernetes,
    ];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Elasticsearch => "elasticsearch",
            Self::Prometheus => "prometheus",
            Self::Openmetrics => "openmetrics",
            Self::Schemas => "schemas",
            Self::Helm => "helm",
            Self::Jaeger => "jaeger",
            Self::Collector => "collector",
            Self::Kubernetes => "kubernetes",
            Self::Node => "node",
        }
    }

    /// What its recipe calls, or what it is itself.
    const fn tools(self) -> &'static [Tool] {
        match self {
            Self::Forward => const { &[tool("node", "nodejs"), tool("npm", "npm")] },
            Self::Elasticsearch => {
                const {
                    &[
                        tool("java", "default-jdk-headless"),
                        tool("javac", "default-jdk-headless"),
                        tool("mvn", "maven"),
                    ]
                }
            }
            Self::Prometheus => {
                const {
                    &[
                        tool("prometheus", "prometheus"),
                        tool("promtool", "prometheus"),
                    ]
                }
            }
            Self::Openmetrics | Self::Schemas => {
                const { &[tool("python3", "python3"), tool("pip3", "python3-pip")] }
            }
            Self::Helm => const { &[tool("npm", "npm"), tool("python3", "python3")] },
            // Debian's Go is too old.
            Self::Jaeger | Self::Collector | Self::Kubernetes => &[],
            // A plugin of the network is found by its path.
            Self::Node => {
                const {
                    &[
                        tool("/usr/lib/cni/bridge", "containernetworking-plugins"),
                        tool("containerd", "containerd"),
                        tool("ip", "iproute2"),
                        tool("iptables", "iptables"),
                        tool("runc", "runc"),
                    ]
                }
            }
        }
    }

    fn install(self, directory: &Path) -> Result<()> {
        apt::ensure(self.tools())?;
        match self {
            Self::Forward => forward::install(directory),
            Self::Elasticsearch => elasticsearch::install(directory),
            Self::Prometheus => Ok(()),
            Self::Openmetrics => openmetrics::install(directory),
            Self::Schemas => schemas::install(directory),
            Self::Helm => helm::install(directory),
            Self::Jaeger => jaeger::install(directory),
            Self::Collector => collector::install(directory),
            Self::Kubernetes => kubernetes::install(directory),
            Self::Node => kubernetes::install_node(directory),
        }
    }
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// Where the peers are installed: `EMCO_PEERS_DIR`, or a folder of xtask's own.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("EMCO_PEERS_DIR")
        .map_or_else(|| workspace::cache().join("peers"), PathBuf::from)
}

/// Installs what was asked for; does nothing where it is there already.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.peers.is_empty() {
        install(&Peer::ALL)?;
    } else {
        install(&args.peers)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Begins to install all peers in a process of its own, beside whatever else is done. What it says
/// is kept in a file; who needs the peers then calls [`install`], which waits for it.
pub(crate) fn begin() -> Option<Group> {
    let begun = begin_in(&directory());
    begun
        .inspect_err(|error| say::note(format_args!("peers: {error:#}")))
        .ok()
}

fn begin_in(directory: &Path) -> Result<Group> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let log = directory.join("install.log");
    say::note(format_args!("installing peers, see {}", log.display()));
    let program = std::env::current_exe().context("find the program that runs")?;
    let mut command = Command::new(program);
    command
        .arg("peers")
        .stdout(Stdio::from(log_file(&log)?))
        .stderr(Stdio::from(log_file(&log)?));
    Group::spawn("xtask peers", &mut command)
}

/// Installs `peers`; one that cannot be had does not keep the others away.
///
/// # Errors
/// Names every peer that cannot be had, and why.
pub(crate) fn install(peers: &[Peer]) -> Result<()> {
    let directory = directory();
    say::note(format_args!("peers: {}", directory.display()));
    let _lock = lock::take(&directory)?;
    let mut failed = Vec::new();
    for peer in peers {
        if let Err(error) = peer.install(&directory) {
            failed.push(format!("{} cannot be had: {error:#}", peer.name()));
        }
    }
    if failed.is_empty() {
        return go::forget(&directory).context("forget what was only needed on the way");
    }
    bail!("{}", failed.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for &peer in Peer::value_variants() {
            assert_eq!(Peer::from_str(peer.name(), false), Ok(peer));
        }
        let all = [&Peer::ALL[..], &[Peer::Node]].concat();
        assert_eq!(Peer::value_variants(), all);
    }
}
