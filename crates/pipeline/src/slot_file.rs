//! A file with one small value that is overwritten often and survives a crash at any moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::slots;

/// Two checksummed slots in a file: a torn write loses only itself.
#[derive(Debug)]
pub struct SlotFile {
    path: PathBuf,
    file: File,
    generation: u64,
    unsynced: bool,
}

/// What the file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotValue {
    /// There was none.
    Nothing,
    /// The newest intact value.
    Value(Vec<u8>),
    /// There is something, but no slot is intact.
    Damaged,
}

impl SlotFile {
    /// Opens the file, making it if it is not there.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it cannot be opened or read.
    pub fn open(path: &Path) -> Result<(Self, SlotValue), Error> {
        let failed = |doing| {
            move |source| Error::Checkpoint {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed("opening"))?;
        let mut content = Vec::new();
        (&file)
            .take(2 * slots::SLOT_BYTES)
            .read_to_end(&mut content)
            .map_err(failed("reading"))?;
        let (generation, value) = slots::newest(&content);
        let value = match value {
            Some(value) => SlotValue::Value(value.to_vec()),
            None if content.is_empty() => SlotValue::Nothing,
            None => SlotValue::Damaged,
        };
        let file = Self {
            path: path.to_owned(),
            file,
            generation,
            unsynced: false,
        };
        Ok((file, value))
    }

    /// Overwrites the older slot; a crash of the process from now on finds the new value.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it cannot be written; the value before it stays.
    pub fn write(&mut self, value: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::Checkpoint {
            doing: "writing",
            path: self.path.clone(),
            source,
        };
        if value.len() > slots::VALUE_BYTES_MAX {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        }
        let (offset, bytes) = slots::write(self.generation + 1, value);
        self.file.write_all_at(&bytes, offset).map_err(failed)?;
        self.generation += 1;
        self.unsynced = true;
        Ok(())
    }

    /// The file to sync, if something was written since it was last asked for.
    pub(crate) fn unsynced(&mut self) -> io::Result<Option<File>> {
        if std::mem::take(&mut self.unsynced) {
            self.file.try_clone().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_read_back_and_damage_is_told_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor");
        let (mut file, value) = SlotFile::open(&path).unwrap();
        assert_eq!(value, SlotValue::Nothing);
        for value in [&b"one"[..], b"two", b"three"] {
            file.write(value).unwrap();
        }
        assert!(file.write(&[0; 4096]).is_err());
        let read = |path| SlotFile::open(path).unwrap().1;
        assert_eq!(read(&path), SlotValue::Value(b"three".to_vec()));
        std::fs::write(&path, [1; 99]).unwrap();
        assert_eq!(read(&path), SlotValue::Damaged);
    }
}
