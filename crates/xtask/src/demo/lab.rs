//! The lab of one run: the backend that everything is delivered to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::child::{Group, log_file};
use crate::{interrupt, workspace};

const START_BOUND: Duration = Duration::from_secs(20);

/// A running lab.
#[derive(Debug)]
pub(crate) struct Lab {
    group: Group,
    /// Page, receipts, bulk API and hub.
    pub(crate) http: SocketAddr,
    /// Forward receiver.
    pub(crate) forward: SocketAddr,
    log: PathBuf,
}

/// What the lab writes once it listens.
#[derive(Debug, Deserialize)]
struct Addresses {
    http: SocketAddr,
    forward: SocketAddr,
}

/// What the lab gets from elsewhere, and gives to others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feeds {
    /// Sidecars whose metrics it asks for, by service.
    pub(crate) scrape: Vec<(String, SocketAddr)>,
    /// Who gets the traces that it took.
    pub(crate) relay: Option<SocketAddr>,
}

impl Lab {
    /// Starts the lab with its data in `folder` and waits until it listens.
    pub(crate) fn start(program: &Path, folder: &Path, feeds: &Feeds) -> Result<Self> {
        let (port_file, log) = (folder.join("lab.json"), folder.join("lab.log"));
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen-http", "127.0.0.1:0"])
            .args(["--listen-forward", "127.0.0.1:0", "--data"])
            .arg(folder.join("lab"))
            .arg("--port-file")
            .arg(&port_file)
            // the callers of the recordings are who they say they are
            .arg("--hub-user-at-begin")
            .args(feeds.arguments())
            .stdout(Stdio::from(log_file(&log)?))
            .stderr(Stdio::from(log_file(&log)?));
        let mut group = Group::spawn("emco-lab serve", &mut command)?;
        let pause = Duration::from_millis(20);
        let addresses: Addresses = interrupt::poll_until(START_BOUND, pause, || {
            if group.try_wait()?.is_some() {
                bail!("emco-lab serve ended at once: see {}", log.display());
            }
            // Until the file is whole, it is not there for us.
            let text = workspace::read_text(&port_file).ok();
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })?
        .with_context(|| format!("emco-lab serve does not listen: see {}", log.display()))?;
        Ok(Self {
            group,
            http: addresses.http,
            forward: addresses.forward,
            log,
        })
    }

    /// Checks that it still runs.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.group.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "emco-lab serve ended with {status}: see {}",
                self.log.display()
            ),
        }
    }
}

impl Feeds {
    fn arguments(&self) -> Vec<String> {
        let scrape = self.scrape.iter();
        let scrape = scrape.map(|(name, address)| format!("--scrape={name}={address}"));
        let relay = self.relay.iter();
        scrape
            .chain(relay.map(|address| format!("--relay-traces=http://{address}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_file_is_understood() {
        let text = r#"{"http":"127.0.0.1:9200","forward":"127.0.0.1:24224","version":1}"#;
        let addresses: Addresses = serde_json::from_str(text).unwrap();
        assert_eq!(addresses.http.port(), 9200);
        assert_eq!(addresses.forward.port(), 24224);
    }

    #[test]
    fn a_lab_that_ends_at_once_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Lab::start(Path::new("false"), folder.path(), &Feeds::default()).unwrap_err();
        assert!(error.to_string().contains("ended at once"), "{error}");
    }
}
