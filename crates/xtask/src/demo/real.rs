//! Real servers of others as destinations, in place of the lab's own receivers.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::ports::Ports;
use crate::child::{Group, log_file};
use crate::peers::Peer;
use crate::{http, interrupt, peers, say};

const START_BOUND: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(100);
const ASK_BOUND: Duration = Duration::from_secs(5);

/// A forward receiver and an Elasticsearch that run.
#[derive(Debug)]
pub(crate) struct RealPeers {
    /// The receiver's address.
    pub(crate) forward: SocketAddr,
    /// The file it writes.
    pub(crate) entries: PathBuf,
    /// The node's address.
    pub(crate) elasticsearch: SocketAddr,
    _groups: [Group; 2],
}

impl RealPeers {
    /// Installs what is not there, starts both with their data in `folder` and waits until they
    /// answer.
    pub(crate) fn start(folder: &Path, ports: &mut Ports) -> Result<Self> {
        peers::install(&[Peer::Forward, Peer::Elasticsearch])?;
        let home = peers::directory();
        let (forward, elasticsearch) = (ports.take()?, ports.take()?);
        let entries = folder.join("forward.ndjson");
        let mut receiver = Command::new("node");
        receiver
            .arg("server.js")
            .arg(forward.port().to_string())
            .arg(&entries)
            .current_dir(home.join("forward"));
        let mut node = Command::new(home.join("elasticsearch/run.sh"));
        node.arg(elasticsearch.port().to_string())
            .arg(folder.join("elasticsearch"))
            .arg(ports.take()?.port().to_string());
        let mut receiver = logged("the forward receiver", &mut receiver, folder)?;
        let mut node = logged("Elasticsearch", &mut node, folder)?;
        until_up("the forward receiver", &mut receiver, || {
            TcpStream::connect_timeout(&forward, ASK_BOUND).is_ok()
        })?;
        until_up("Elasticsearch", &mut node, || {
            let path = "/_cluster/health?wait_for_status=yellow&timeout=1s";
            http::get(elasticsearch, path, ASK_BOUND).is_ok()
        })?;
        say::note(format_args!(
            "real peers: forward receiver at {forward}, Elasticsearch at {elasticsearch}"
        ));
        Ok(Self {
            forward,
            entries,
            elasticsearch,
            _groups: [receiver, node],
        })
    }
}

fn logged(name: &str, command: &mut Command, folder: &Path) -> Result<Group> {
    let log = folder.join(format!("{}.log", name.replace(' ', "-")));
    command
        .stdout(Stdio::from(log_file(&log)?))
        .stderr(Stdio::from(log_file(&log)?));
    Group::spawn(name, command)
}

fn until_up(name: &str, group: &mut Group, is_up: impl Fn() -> bool) -> Result<()> {
    interrupt::poll_until(START_BOUND, PAUSE, || {
        if let Some(status) = group.try_wait()? {
            bail!("{name} ended with {status} while it started");
        }
        Ok(is_up().then_some(()))
    })?
    .with_context(|| format!("{name} does not answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_ends_while_it_starts_is_an_error() {
        let mut group = Group::spawn("peer", &mut Command::new("false")).unwrap();
        let error = until_up("peer", &mut group, || false).unwrap_err();
        assert!(error.to_string().contains("ended with"), "{error}");
    }
}
