//! Where segments are kept: a directory in the product, memory with faults in the model test.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes what was written durable; runs without the queue's lock.
pub type Sync = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// The few file operations a queue needs. Segments are named by number.
pub trait Storage: Send + 'static {
    /// Number and length of every segment, in any order.
    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>>;
    /// Reads at most `buffer.len()` bytes; fewer only at the segment's end.
    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`; offset 0 creates the segment.
    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the segment to `length`.
    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()>;
    /// Removes the segment.
    fn remove(&mut self, segment: u64) -> io::Result<()>;
    /// What makes the segment, and that it exists, survive a power loss.
    fn sync(&mut self, segment: u64) -> io::Result<Sync>;
}

/// Segments as files of one directory, readable by their owner only.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    // One writer and usually one level reader: two open files serve nearly every call.
    writing: Option<(u64, File)>,
    reading: Option<(u64, File)>,
    // Set when an entry was made or removed since the last sync.
    entries_changed: bool,
}

impl Directory {
    /// Opens the directory and makes it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self {
            path: path.to_owned(),
            writing: None,
            reading: None,
            entries_changed: true,
        })
    }

    fn file_path(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}.seg"))
    }

    fn writing(&mut self, segment: u64) -> io::Result<&File> {
        let file = match self.writing.take() {
            Some((open, file)) if open == segment => file,
            _ => {
                self.entries_changed = true;
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(self.file_path(segment))?
            }
        };
        Ok(&self.writing.insert((segment, file)).1)
    }

    fn reading(&mut self, segment: u64) -> io::Result<&File> {
        if let Some((open, file)) = &self.writing
            && *open == segment
        {
            return Ok(file);
        }
        let file = match self.reading.take() {
            Some((open, file)) if open == segment => file,
            _ => File::open(self.file_path(segment))?,
        };
        Ok(&self.reading.insert((segment, file)).1)
    }
}

impl Storage for Directory {
    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = Vec::new();
        for entry in self.path.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".seg"))
                .and_then(|digits| digits.parse().ok());
            if let Some(number) = number {
                segments.push((number, entry.metadata()?.len()));
            }
        }
        Ok(segments)
    }

    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.reading(segment)?;
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..)
            && !rest.is_empty()
        {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writing(segment)?.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        self.writing(segment)?.set_len(length)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.entries_changed = true;
        self.reading.take_if(|(open, _)| *open == segment);
        self.writing.take_if(|(open, _)| *open == segment);
        std::fs::remove_file(self.file_path(segment))
    }

    fn sync(&mut self, segment: u64) -> io::Result<Sync> {
        let file = self.reading(segment)?.try_clone()?;
        let directory = if std::mem::take(&mut self.entries_changed) {
            Some(File::open(&self.path)?)
        } else {
            None
        };
        Ok(Box::new(move || {
            file.sync_data()?;
            directory.map_or(Ok(()), |directory| directory.sync_all())
        }))
    }
}
