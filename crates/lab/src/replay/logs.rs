//! A container's log as containerd writes it and kubelet rotates it.
//!
//! ```text
//! 0.log ──(longer than rotate-bytes)──▶ 0.log.20261123-040937 ──(next rotation)──▶ ….gz
//! 1.log     the same container after its first restart
//! ```
//! The newest rotated file stays as it is; the others are compressed into a `.tmp`, renamed to `.gz`,
//! and the original is removed, so that its inode number is free at once. Kubelet deletes beyond five
//! files; nothing is deleted here, so that a late reader can lose nothing.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use model::ids::{DocumentId, FileKey};
use model::time::UnixNanos;
use tokio::task::JoinHandle;
use twox_hash::XxHash3_128;

use super::pace::now_ns;
use super::pods::Pod;

/// How much of a file's first line is in its key.
const FIRST_LINE_BYTES_MAX: usize = 64 * 1024;

/// The log of one container.
pub(super) struct ContainerLog {
    directory: PathBuf,
    pod_uid: String,
    container: String,
    restart: u32,
    rotate_bytes: u64,
    file: File,
    offset: u64,
    key: FileKey,
    /// Rotated, but not compressed yet.
    rotated: Option<PathBuf>,
    packing: Option<JoinHandle<anyhow::Result<()>>>,
    rotations: u64,
}

impl ContainerLog {
    /// Makes the container's folder and its first log.
    pub(super) fn create(pod: &Pod, container: &str, rotate_bytes: u64) -> anyhow::Result<Self> {
        let directory = pod.directory.join(container);
        std::fs::create_dir(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        Ok(Self {
            file: open(&directory.join("0.log"))?,
            directory,
            pod_uid: pod.uid.clone(),
            container: container.to_owned(),
            restart: 0,
            rotate_bytes,
            offset: 0,
            key: FileKey::default(),
            rotated: None,
            packing: None,
            rotations: 0,
        })
    }

    /// Appends one physical line in one write; answers the id of a document that begins with it.
    pub(super) async fn append(&mut self, line: &[u8]) -> anyhow::Result<DocumentId> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        if self.offset == 0 {
            self.key = file_key(&self.pod_uid, &self.container, self.restart, &bytes);
        }
        self.file
            .write_all(&bytes)
            .with_context(|| format!("writing {}", self.path().display()))?;
        let id = DocumentId::Line(self.key, self.offset);
        self.offset += bytes.len() as u64;
        if self.offset >= self.rotate_bytes {
            self.rotate().await?;
        }
        Ok(id)
    }

    /// Goes on in the log of the next incarnation of the container.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.packed().await?;
        self.restart += 1;
        self.rotated = None;
        self.offset = 0;
        self.file = open(&self.path())?;
        Ok(())
    }

    /// Waits for compression to end; answers how often the log was rotated.
    pub(super) async fn finish(mut self) -> anyhow::Result<u64> {
        self.packed().await?;
        Ok(self.rotations)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.restart))
    }

    async fn rotate(&mut self) -> anyhow::Result<()> {
        let path = self.path();
        let aside = self
            .directory
            .join(format!("{}.log.{}", self.restart, stamp(now_ns())));
        // Names have a resolution of one second; the rotation waits for the next.
        if self.rotated.as_ref() == Some(&aside) {
            return Ok(());
        }
        self.packed().await?;
        if let Some(older) = self.rotated.take() {
            self.packing = Some(tokio::task::spawn_blocking(move || pack(&older)));
        }
        std::fs::rename(&path, &aside).with_context(|| format!("rotating {}", path.display()))?;
        self.file = open(&path)?;
        self.offset = 0;
        self.rotated = Some(aside);
        self.rotations += 1;
        Ok(())
    }

    async fn packed(&mut self) -> anyhow::Result<()> {
        match self.packing.take() {
            Some(packing) => packing.await.context("compressing a log")?,
            None => Ok(()),
        }
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().append(true).create_new(true).open(path);
    file.with_context(|| format!("making {}", path.display()))
}

/// The identity of a log file, as the product's documentation states it.
fn file_key(pod_uid: &str, container: &str, restart: u32, first_line: &[u8]) -> FileKey {
    let mut hasher = XxHash3_128::new();
    for part in [pod_uid, container, &restart.to_string()] {
        hasher.write(part.as_bytes());
        hasher.write(&[0]);
    }
    let counted = first_line.len().min(FIRST_LINE_BYTES_MAX);
    hasher.write(first_line.get(..counted).unwrap_or_default());
    FileKey(hasher.finish_128().to_be_bytes())
}

/// `YYYYMMDD-HHMMSS`
fn stamp(at_ns: u64) -> String {
    let text = UnixNanos(at_ns).to_string();
    let second = text.get(..19).unwrap_or(&text);
    second
        .chars()
        .filter(|letter| !matches!(letter, '-' | ':'))
        .map(|letter| if letter == 'T' { '-' } else { letter })
        .collect()
}

fn pack(path: &Path) -> anyhow::Result<()> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let compress = || -> std::io::Result<()> {
        let mut from = BufReader::new(File::open(path)?);
        let to = BufWriter::new(File::create(beside(".tmp"))?);
        let mut encoder = GzEncoder::new(to, Compression::default());
        std::io::copy(&mut from, &mut encoder)?;
        encoder.finish()?.into_inner()?.sync_all()?;
        std::fs::rename(beside(".tmp"), beside(".gz"))?;
        std::fs::remove_file(path)
    };
    compress().with_context(|| format!("compressing {}", path.display()))
}
