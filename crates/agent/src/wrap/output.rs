//! The copy of a command's output for the sidecar: blocks of lines into files, whatever the disk does.
//!
//! A block that cannot be written, or only in part, is kept, and written before anything else as soon
//! as that is possible; what comes meanwhile is counted as missing. So no file has half a line in its
//! middle, and the command is never held up.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use model::time::UnixNanos;
use rustix::io::Errno;

use super::folder::Folder;
use super::wire::Block;

/// How often a file that cannot be written is tried again, and one that can is looked at whether it
/// still has a name.
const LOOK_EVERY_NANOS: u64 = 1_000_000_000;

/// Where the copy goes.
pub(super) struct Output {
    folder: Folder,
    run: Option<u32>,
    live: Option<Live>,
    /// What of a block could not be written.
    rest: Vec<u8>,
    failing: bool,
    missing: Missing,
    /// When to try again, or to look.
    look: UnixNanos,
}

struct Live {
    file: File,
    bytes: u64,
    /// A line has been written in part.
    cut: bool,
}

/// What is not in the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// What happened to the copy that somebody should know.
#[derive(Debug)]
pub(super) enum Change {
    /// It cannot be written from now on, in this directory.
    Failed(PathBuf, io::Error),
    /// It can again, and lacks this.
    Mended(Missing),
}

impl Output {
    /// Begins a file, if that can be done now.
    pub(super) fn open(folder: Folder, now: UnixNanos) -> (Self, Option<Change>) {
        let mut output = Self {
            folder,
            run: None,
            live: None,
            rest: Vec::new(),
            failing: false,
            missing: Missing::default(),
            look: now.plus(LOOK_EVERY_NANOS),
        };
        let change = output.begin().err().map(|error| output.fail(error, now));
        (output, change)
    }

    /// Writes a block; says so when that begins to fail and when it no longer does.
    pub(super) fn write(&mut self, block: &Block, now: UnixNanos) -> Option<Change> {
        if block.bytes.is_empty() {
            return None;
        }
        if self.failing {
            if now < self.look || self.mend(now).is_err() {
                self.miss(block);
                return None;
            }
        } else if self.look <= now {
            self.look = now.plus(LOOK_EVERY_NANOS);
            if self.live.as_ref().is_none_or(Live::has_no_name)
                && let Err(error) = self.begin()
            {
                self.miss(block);
                return Some(self.fail(error, now));
            }
        }
        let mended = std::mem::take(&mut self.failing);
        match self.append(&block.bytes, now) {
            // it has not been mended after all
            Err(error) => Some(self.fail(error, now)).filter(|_| !mended),
            Ok(()) => mended.then(|| Change::Mended(std::mem::take(&mut self.missing))),
        }
    }

    /// Tries for the last time; answers what is missing.
    pub(super) fn finish(&mut self, now: UnixNanos) -> Missing {
        if self.failing && self.mend(now).is_err() {
            let rest = std::mem::take(&mut self.rest);
            self.missing.add(&rest);
        }
        self.missing
    }

    fn fail(&mut self, error: io::Error, now: UnixNanos) -> Change {
        self.failing = true;
        self.look = now.plus(LOOK_EVERY_NANOS);
        Change::Failed(self.folder.path().to_owned(), error)
    }

    /// A block that cannot be written now.
    fn miss(&mut self, block: &Block) {
        if self.rest.is_empty() {
            self.rest.clone_from(&block.bytes);
        } else {
            self.missing.lines += block.lines;
            self.missing.bytes += block.bytes.len() as u64;
        }
    }

    /// Opens what is not open, writes what is left over.
    fn mend(&mut self, now: UnixNanos) -> io::Result<()> {
        self.look = now.plus(LOOK_EVERY_NANOS);
        if self.live.as_ref().is_none_or(Live::has_no_name) {
            let was_cut = self.live.take().is_some_and(|live| live.cut);
            self.begin()?;
            if was_cut {
                // its beginning is gone with the file
                let end = memchr::memchr(b'\n', &self.rest).map_or(self.rest.len(), |at| at + 1);
                let lost: Vec<u8> = self.rest.drain(..end).collect();
                self.missing.add(&lost);
            }
        }
        let rest = std::mem::take(&mut self.rest);
        self.append(&rest, now)
    }

    fn begin(&mut self) -> io::Result<()> {
        self.live = None;
        let (run, file) = self.folder.begin(self.run)?;
        self.run = Some(run);
        self.live = Some(Live {
            file,
            bytes: 0,
            cut: false,
        });
        Ok(())
    }

    /// Writes lines; keeps what cannot be written of them.
    fn append(&mut self, bytes: &[u8], now: UnixNanos) -> io::Result<()> {
        let mut written = 0;
        let result = self.rotate(bytes, now).and_then(|()| match &mut self.live {
            Some(live) => live.append(bytes, &mut written),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        if result.is_err() {
            self.rest = bytes.get(written..).unwrap_or_default().to_vec();
        }
        result
    }

    /// Begins another file if these lines do not fit into this one.
    fn rotate(&mut self, more: &[u8], now: UnixNanos) -> io::Result<()> {
        let bytes_max = self.folder.file_bytes_max();
        let is_full = |live: &Live| {
            let bytes = live.bytes + more.len() as u64;
            live.bytes > 0 && !live.cut && bytes > bytes_max
        };
        match self.run {
            Some(run) if self.live.as_ref().is_some_and(is_full) => {
                self.folder.retire(run, now)?;
                self.begin()
            }
            _ => Ok(()),
        }
    }
}

impl Live {
    fn append(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.file, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *written += count;
                    self.bytes += count as u64;
                    self.cut = rest.get(count - 1) != Some(&b'\n');
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn has_no_name(&self) -> bool {
        self.file.metadata().is_ok_and(|data| data.nlink() == 0)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(path, error) => {
                let path = path.display();
                write!(
                    f,
                    "output cannot be copied to {path}, the command goes on: {error}"
                )
            }
            Self::Mended(missing) => write!(f, "output is copied again; {missing}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, bytes } = self;
        write!(f, "lines that are not in the copy: {lines} ({bytes} bytes)")
    }
}

impl Missing {
    fn add(&mut self, lines: &[u8]) {
        self.lines += memchr::memchr_iter(b'\n', lines).count() as u64;
        self.bytes += lines.len() as u64;
    }
}
