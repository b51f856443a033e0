//! Which recording is played, and what is in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;

use crate::workspace;

/// Largest recording of one service that is counted, in bytes.
const LINES_BYTES_MAX: u64 = 4 << 30;
const ENDING: &str = ".cri.log.gz";

/// Where the workload comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A recording.
    Recorded(PathBuf),
    /// The generator, from a seed.
    Generated(u64),
}

/// Decides where the workload comes from: what was asked for, else the traced recording beside the
/// workspace, else the generator.
pub(crate) fn choose(corpus: Option<&Path>, seed: Option<u64>, beside: Option<&Path>) -> Origin {
    let traced = beside.map(|folder| folder.join("truth/traced"));
    match (corpus, seed, traced) {
        (Some(folder), _, _) => Origin::Recorded(folder.to_path_buf()),
        (None, Some(seed), _) => Origin::Generated(seed),
        (None, None, Some(traced)) if traced.is_dir() => Origin::Recorded(traced),
        (None, None, _) => Origin::Generated(1),
    }
}

/// What [`choose`] finds on this machine.
pub(crate) fn choose_here(corpus: Option<&Path>, seed: Option<u64>) -> Origin {
    // A seed beside a recording only decides which sidecars are killed.
    choose(corpus, seed, workspace::corpus().as_deref())
}

/// A recording.
#[derive(Debug)]
pub(crate) struct Corpus {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The services that wrote it, sorted.
    pub(crate) services: Vec<String>,
    /// Physical lines of all services.
    pub(crate) lines: u64,
}

impl Corpus {
    /// Looks into a recording.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
        let mut services = Vec::new();
        for entry in entries {
            let name = entry.with_context(|| format!("list {}", folder.display()))?;
            let name = name.file_name().to_string_lossy().into_owned();
            if let Some(service) = name.strip_suffix(ENDING) {
                services.push(service.to_owned());
            }
        }
        services.sort();
        ensure!(
            !services.is_empty(),
            "{} is no recording: it has no <service>{ENDING}",
            folder.display()
        );
        let mut lines = 0;
        for service in &services {
            lines += count_lines(&folder.join(format!("{service}{ENDING}")))?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            services,
            lines,
        })
    }
}

fn count_lines(path: &Path) -> Result<u64> {
    let doing = || format!("count the lines of {}", path.display());
    let file = File::open(path).with_context(doing)?;
    let decoder = MultiGzDecoder::new(BufReader::new(file)).take(LINES_BYTES_MAX);
    let mut reader = BufReader::with_capacity(1 << 16, decoder);
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf().with_context(doing)?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.split(|byte| *byte == b'\n').skip(1).count() as u64;
        let length = bytes.len();
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn what_was_asked_for_comes_first() {
        let root = tempfile::tempdir().unwrap();
        let traced = root.path().join("truth/traced");
        std::fs::create_dir_all(&traced).unwrap();
        let here = Some(root.path());
        let asked = Path::new("recording");
        for (corpus, seed, beside, expected) in [
            (Some(asked), Some(7), here, Origin::Recorded(asked.into())),
            (None, Some(7), here, Origin::Generated(7)),
            (None, None, here, Origin::Recorded(traced)),
            (None, None, None, Origin::Generated(1)),
            (None, None, Some(Path::new("absent")), Origin::Generated(1)),
        ] {
            assert_eq!(choose(corpus, seed, beside), expected);
        }
    }

    #[test]
    fn services_and_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for (service, text) in [("rsync", "a\nb\n"), ("clm", "c\n")] {
            let file = File::create(folder.path().join(format!("{service}{ENDING}"))).unwrap();
            let mut encoder = GzEncoder::new(file, Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        let corpus = Corpus::open(folder.path()).unwrap();
        assert_eq!(corpus.services, ["clm", "rsync"]);
        assert_eq!(corpus.lines, 3);
    }

    #[test]
    fn a_folder_without_logs_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        let error = Corpus::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is no recording"), "{error}");
    }
}
