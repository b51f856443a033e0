//! The workload of one run: `emco-lab replay`, and how far it is.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::manifest::{Entry, Expected, Pod};

use super::args::Args;
use crate::child::{self, Group, log_file};

const LIST_BOUND: Duration = Duration::from_secs(20);
/// Most of a manifest that is read in one go while it grows, in bytes.
const STEP_BYTES: u64 = 64 << 20;

/// What `emco-lab replay` is told, without where things are.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// The recording.
    pub(crate) corpus: &'a Path,
    /// Where the pods' directories go.
    pub(crate) out: PathBuf,
    /// The demo's own arguments.
    pub(crate) args: &'a Args,
}

impl Plan<'_> {
    /// The pods there will be.
    pub(crate) fn pods(&self) -> Result<Vec<Pod>> {
        let mut command = self.command();
        // It says on stderr that it has written nothing.
        command.arg("--list-pods").stderr(Stdio::null());
        let text = child::output("emco-lab replay --list-pods", &mut command, LIST_BOUND)?;
        text.lines().map(pod).collect()
    }

    /// Starts to play.
    pub(crate) fn start(
        &self,
        folder: &Path,
        hub: SocketAddr,
        sidecars: &[(&str, SocketAddr)],
    ) -> Result<Replay> {
        let (manifest, log) = (folder.join("manifest.ndjson"), folder.join("replay.log"));
        let mut command = self.command();
        command
            .arg("--hub")
            .arg(format!("http://{hub}"))
            .arg("--manifest")
            .arg(&manifest)
            .args(["--start-delay", "1"])
            .stdout(Stdio::from(log_file(&log)?))
            .stderr(Stdio::from(log_file(&log)?));
        for (service, address) in sidecars {
            command.arg("--sidecar").arg(format!("{service}={address}"));
        }
        if self.args.no_start_records {
            command.arg("--no-start-records");
        }
        Ok(Replay {
            group: Group::spawn("emco-lab replay", &mut command)?,
            progress: Progress::default(),
            manifest,
            log,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg("replay")
            .arg("--corpus")
            .arg(self.corpus)
            .arg("--out")
            .arg(&self.out)
            .arg("--speed")
            .arg(self.args.speed.to_string());
        command
    }
}

/// A running replay.
#[derive(Debug)]
pub(crate) struct Replay {
    group: Group,
    manifest: PathBuf,
    progress: Progress,
    /// What it says.
    pub(crate) log: PathBuf,
}

impl Replay {
    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.group.try_wait()
    }

    /// Physical lines of EMCO that it has written so far.
    pub(crate) fn written(&mut self) -> Result<u64> {
        // It is not there before the first entry.
        if let Ok(mut file) = File::open(&self.manifest) {
            self.progress
                .read(&mut file)
                .context("follow the manifest")?;
        }
        Ok(self.progress.lines)
    }

    /// Everything that it wrote.
    pub(crate) fn expected(&self) -> Result<Expected> {
        let path = self.manifest.display();
        let file = File::open(&self.manifest).with_context(|| format!("open {path}"))?;
        Expected::read(BufReader::new(file)).with_context(|| format!("read {path}"))
    }
}

/// Counts the lines of a manifest while it grows.
#[derive(Debug, Default)]
struct Progress {
    offset: u64,
    lines: u64,
    rest: Vec<u8>,
}

impl Progress {
    fn read(&mut self, manifest: &mut (impl Read + Seek)) -> Result<()> {
        manifest.seek(SeekFrom::Start(self.offset))?;
        let mut new = std::mem::take(&mut self.rest);
        let read = manifest.take(STEP_BYTES).read_to_end(&mut new)?;
        self.offset += read as u64;
        let end = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (whole, rest) = new.split_at(end);
        for line in whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            self.lines += physical_lines(line);
        }
        self.rest = rest.to_vec();
        Ok(())
    }
}

/// How many lines of EMCO an entry stands for.
fn physical_lines(entry: &[u8]) -> u64 {
    match serde_json::from_slice(entry) {
        Ok(Entry::Record(record)) if record.kind == testkit::manifest::Kind::Line => {
            u64::from(record.physical_lines.max(1))
        }
        _ => 0,
    }
}

fn pod(line: &str) -> Result<Pod> {
    // The entry's own word is not needed here.
    serde_json::from_str(line).with_context(|| format!("understand the pod {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_growing_manifest_is_counted_once() {
        let mut progress = Progress::default();
        let text = "{\"entry\":\"pod\",\"service\":\"clm\"}\n{\"entry\":\"record\",\"physical_lines\":2}\n{\"entry\":\"record\",\"kind\":\"access\"}\n{\"entry\":\"record\",\"physical_lines\":1}\n";
        for end in [0, 10, 40, 80, text.len(), text.len()] {
            let mut cursor = Cursor::new(&text.as_bytes()[..end]);
            progress.read(&mut cursor).unwrap();
        }
        assert_eq!(progress.lines, 3);
    }

    #[test]
    fn a_listed_pod_is_understood() {
        let line = r#"{"entry":"pod","service":"clm","namespace":"emco","pod":"clm-1","uid":"u","directory":"out/emco_clm-1_u"}"#;
        let pod = pod(line).unwrap();
        assert_eq!(
            (&*pod.service, &*pod.directory),
            ("clm", "out/emco_clm-1_u")
        );
    }
}
