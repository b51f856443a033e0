//! A recording on disk: which services it has, and its gzip files line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flate2::bufread::MultiGzDecoder;
use model::time::UnixNanos;
use serde::Deserialize;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 128 << 20;
const LOG_SUFFIX: &str = ".cri.log.gz";

/// One recording.
pub(super) struct Corpus {
    dir: PathBuf,
    services: Vec<String>,
    /// Also those that were not chosen.
    recorded: Vec<String>,
}

/// The lines of a gzip file, without their newlines.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
}

/// The moment a container was started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    pub(super) service: String,
    /// A moment between the end of the old process and the first line of the new one.
    pub(super) at_ns: u64,
}

impl Corpus {
    /// Looks for the services of the recording in `dir`; keeps only those named, if any are.
    pub(super) fn open(dir: &Path, only: &[String]) -> anyhow::Result<Self> {
        let list = || format!("reading the recording in {}", dir.display());
        let mut services = Vec::new();
        for entry in std::fs::read_dir(dir).with_context(list)? {
            let name = entry.with_context(list)?.file_name();
            let name = name.to_string_lossy();
            if let Some(service) = name.strip_suffix(LOG_SUFFIX) {
                services.push(service.to_owned());
            }
        }
        services.sort();
        if let Some(unknown) = only.iter().find(|name| !services.contains(name)) {
            bail!(
                "the recording in {} has no service {unknown}; it has {}",
                dir.display(),
                services.join(", ")
            );
        }
        let recorded = services.clone();
        services.retain(|service| only.is_empty() || only.contains(service));
        if services.is_empty() {
            bail!(
                "no *{LOG_SUFFIX} in {}: give the folder of one recording",
                dir.display()
            );
        }
        Ok(Self {
            dir: dir.to_owned(),
            services,
            recorded,
        })
    }

    pub(super) fn services(&self) -> &[String] {
        &self.services
    }

    /// Opens a file of the recording; `None` if it has no such file.
    pub(super) fn lines(&self, name: &str) -> anyhow::Result<Option<Lines>> {
        let Some(reader) = self.bytes(name)? else {
            return Ok(None);
        };
        let path = self.dir.join(name);
        Ok(Some(Lines { path, reader }))
    }

    /// Opens the uncompressed bytes of a file of the recording; `None` if it has no such file.
    pub(super) fn bytes(&self, name: &str) -> anyhow::Result<Option<Box<dyn BufRead + Send>>> {
        let path = self.dir.join(name);
        match File::open(&path) {
            Ok(file) => {
                let decoder = MultiGzDecoder::new(BufReader::new(file));
                Ok(Some(Box::new(BufReader::with_capacity(64 * 1024, decoder))))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("opening {}", path.display())),
        }
    }

    /// Times of the first and the last log line of all services, in nanoseconds: the shift of
    /// a recording does not depend on which were chosen.
    pub(super) fn span_ns(&self) -> anyhow::Result<(u64, u64)> {
        let (mut first, mut last) = (u64::MAX, 0);
        for service in &self.recorded {
            let name = format!("{service}{LOG_SUFFIX}");
            let Some(mut lines) = self.lines(&name)? else {
                continue;
            };
            let mut line = Vec::new();
            while lines.next(&mut line)? {
                let prefix = line.split(|byte| *byte == b' ').next();
                let time = prefix.and_then(UnixNanos::parse_rfc3339);
                let Some(UnixNanos(time)) = time else {
                    continue;
                };
                (first, last) = (first.min(time), last.max(time));
            }
        }
        if first > last {
            bail!("the recording in {} has no lines", self.dir.display());
        }
        Ok((first, last))
    }

    /// The restarts that the recording's time line tells of.
    pub(super) fn restarts(&self) -> anyhow::Result<Vec<Restart>> {
        let path = self.dir.join("timeline.txt");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
        };
        let mut lines = Vec::new();
        for line in BufReader::new(file.take(1 << 20)).lines() {
            lines.push(line.with_context(|| format!("reading {}", path.display()))?);
        }
        Ok(find_restarts(&lines))
    }
}

/// A process that was killed and started again wrote nothing in the middle between the two.
fn find_restarts(timeline: &[String]) -> Vec<Restart> {
    let mut killed: Vec<(&str, u64)> = Vec::new();
    let mut restarts = Vec::new();
    for line in timeline {
        let mut words = line.split(' ');
        let (Some(time), Some(service), Some(what)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some(UnixNanos(time)) = UnixNanos::parse_rfc3339(time.as_bytes()) else {
            continue;
        };
        match what {
            "kill" => killed.push((service, time)),
            "start" => {
                if let Some(at) = killed.iter().position(|(name, _)| *name == service) {
                    let (_, from) = killed.swap_remove(at);
                    restarts.push(Restart {
                        service: service.to_owned(),
                        at_ns: u64::midpoint(from, time),
                    });
                }
            }
            _ => {}
        }
    }
    restarts
}

impl Lines {
    /// Reads the next line into `line`; `false` at the end.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> anyhow::Result<bool> {
        line.clear();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX);
        limited
            .read_until(b'\n', line)
            .with_context(|| format!("reading {}", self.path.display()))?;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(true);
        }
        Ok(!line.is_empty())
    }

    /// Reads the next line as JSON; `None` at the end.
    pub(super) fn next_json<T: for<'de> Deserialize<'de>>(
        &mut self,
        line: &mut Vec<u8>,
    ) -> anyhow::Result<Option<T>> {
        if !self.next(line)? {
            return Ok(None);
        }
        let value = serde_json::from_slice(line)
            .with_context(|| format!("reading a line of {}", self.path.display()))?;
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_lies_between_the_kill_and_the_start() {
        let timeline = [
            "2026-11-23T03:53:35.000Z life cycle start",
            "2026-11-23T03:54:44.000Z rsync kill -9",
            "2026-11-23T03:54:48.000Z rsync start",
            "2026-11-23T03:55:00.000Z mongo start",
        ]
        .map(str::to_owned);
        let at = UnixNanos::parse_rfc3339(b"2026-11-23T03:54:46Z").unwrap();
        assert_eq!(
            find_restarts(&timeline),
            [Restart {
                service: "rsync".to_owned(),
                at_ns: at.0
            }]
        );
    }
}
