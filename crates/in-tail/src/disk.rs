//! The file system as the engine sees it: so little that a test can simulate all of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::time::UnixNanos;

use crate::own::OwnOutput;

/// Longest directory listing that is looked at; a log directory has a handful of entries.
const ENTRIES_MAX: usize = 4096;

/// Largest state file that is read.
const STATE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What `stat` says. Device and inode name a file only while it is held open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) bytes: u64,
    pub(crate) directory: bool,
    pub(crate) modified: UnixNanos,
    /// Last change of content or metadata (a rename counts).
    pub(crate) changed: UnixNanos,
}

impl Stat {
    /// Whether both describe one file, provided that one of them is held open meanwhile.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Reads directories and files; clones look at the same disk.
pub(crate) trait Disk: Clone {
    /// A file held open.
    type File: Clone;
    /// Names in a directory, in any order; names that are not UTF-8 are left out.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Follows symbolic links.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Opens a regular file.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Of a file held open.
    fn stat_open(&self, file: &Self::File) -> io::Result<Stat>;
    /// Reads at a position; 0 means end of file.
    fn read_at(&self, file: &Self::File, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Replaces the state file as a whole or not at all.
    fn save(&self, state: &[u8]) -> io::Result<()>;

    /// Reads until `into` is full or the file ends.
    fn read_full_at(&self, file: &Self::File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(file, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A position in an open file, for decoders that want a stream.
pub(crate) struct Stream<D: Disk> {
    disk: D,
    file: D::File,
    offset: u64,
}

impl<D: Disk> Stream<D> {
    /// From the start of `file`.
    pub(crate) const fn new(disk: D, file: D::File) -> Self {
        Self {
            disk,
            file,
            offset: 0,
        }
    }
}

impl<D: Disk> io::Read for Stream<D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.disk.read_at(&self.file, into, self.offset)?;
        self.offset += bytes as u64;
        Ok(bytes)
    }
}

/// The operating system's files.
#[derive(Clone, Debug)]
pub(crate) struct OsDisk {
    state: Option<Arc<Path>>,
    /// What is as if it were not there.
    own: OwnOutput,
}

impl OsDisk {
    /// With the place of the state file.
    pub(crate) fn new(state: Option<&PathBuf>) -> Self {
        Self {
            state: state.map(|path| path.as_path().into()),
            own: OwnOutput::of_process(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_own(self, own: OwnOutput) -> Self {
        Self { own, ..self }
    }

    /// The state file's content; none if there is none.
    pub(crate) fn load(&self) -> io::Result<Option<Vec<u8>>> {
        use io::Read as _;
        let Some(path) = &self.state else {
            return Ok(None);
        };
        let mut state = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(STATE_BYTES_MAX).read_to_end(&mut state)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(state))
    }
}

impl Disk for OsDisk {
    type File = Arc<File>;

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)?.take(ENTRIES_MAX) {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let stat = std::fs::metadata(path).map(|metadata| stat_of(&metadata))?;
        if self.own.is(stat.device, stat.inode) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(stat)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<File>> {
        // A FIFO under a log's name must not stop us: non-blocking has no effect on regular files.
        let flags = rustix::fs::OFlags::NONBLOCK.union(rustix::fs::OFlags::CLOEXEC);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        if file.metadata()?.is_file() {
            Ok(Arc::new(file))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ))
        }
    }

    fn stat_open(&self, file: &Arc<File>) -> io::Result<Stat> {
        file.metadata().map(|metadata| stat_of(&metadata))
    }

    fn read_at(&self, file: &Arc<File>, into: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(into, offset)
    }

    fn save(&self, state: &[u8]) -> io::Result<()> {
        let Some(path) = &self.state else {
            return Ok(());
        };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let mut file = File::create(&temporary)?;
        file.write_all(state)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)
    }
}

fn stat_of(metadata: &std::fs::Metadata) -> Stat {
    let nanos = |seconds: i64, nanos: i64| {
        let nanos = u64::try_from(nanos).unwrap_or(0);
        let seconds = u64::try_from(seconds).unwrap_or(0);
        UnixNanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    };
    Stat {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        directory: metadata.is_dir(),
        modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
    }
}
