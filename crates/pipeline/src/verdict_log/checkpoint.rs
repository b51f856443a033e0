//! The file that says how far each lane has delivered.
//!
//! The value in the slots:
//! ```text
//! version u8 = 1 | lanes v | of each: name text | base v | segment v | offset v | sequence v
//!                          | delivered v | duplicates v | dead-lettered v | dropped v
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::entry::{Position, Totals};
use crate::error::Error;
use crate::slots;
use crate::varint::{Cursor, Malformed, push, push_text};

const VERSION: u8 = 1;

/// A lane's state in the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneState {
    pub(super) name: String,
    /// Sequence at which the lane began.
    pub(super) base: u64,
    pub(super) position: Position,
    /// What became of the entries from `base` up to `position`; their sum is the distance.
    pub(super) totals: Totals,
}

/// What the checkpoint file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// There was none.
    Nothing,
    /// The newest intact value.
    Lanes(Vec<LaneState>),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    file: File,
    generation: u64,
    unsynced: bool,
}

impl Checkpoint {
    pub(super) fn open(path: &Path) -> Result<(Self, Saved), Error> {
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
        let saved = match value {
            Some(value) => read(value),
            None if content.is_empty() => Saved::Nothing,
            None => Saved::Unreadable("no slot of the checkpoint is intact".to_owned()),
        };
        let checkpoint = Self {
            path: path.to_owned(),
            file,
            generation,
            unsynced: false,
        };
        Ok((checkpoint, saved))
    }

    /// Overwrites the older slot.
    pub(super) fn write(&mut self, lanes: &[LaneState]) -> Result<(), Error> {
        let mut value = Vec::with_capacity(128);
        write(&mut value, lanes);
        if value.len() > slots::VALUE_BYTES_MAX {
            return Err(Error::TooManyLanes {
                lanes: lanes.len(),
                bytes: value.len(),
            });
        }
        let (offset, bytes) = slots::write(self.generation + 1, &value);
        self.file
            .write_all_at(&bytes, offset)
            .map_err(|source| Error::Checkpoint {
                doing: "writing",
                path: self.path.clone(),
                source,
            })?;
        self.generation += 1;
        self.unsynced = true;
        Ok(())
    }

    /// The file to sync, if something was written since it was last asked for.
    pub(super) fn unsynced(&mut self) -> io::Result<Option<File>> {
        if std::mem::take(&mut self.unsynced) {
            self.file.try_clone().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn write(out: &mut Vec<u8>, lanes: &[LaneState]) {
    out.push(VERSION);
    push(out, lanes.len() as u64);
    for lane in lanes {
        push_text(out, &lane.name);
        for value in [
            lane.base,
            lane.position.batch.segment,
            lane.position.batch.offset,
            lane.position.sequence,
            lane.totals.delivered,
            lane.totals.duplicates,
            lane.totals.dead_lettered,
            lane.totals.dropped,
        ] {
            push(out, value);
        }
    }
}

fn read(value: &[u8]) -> Saved {
    match value.first() {
        Some(&VERSION) => read_lanes(value.get(1..).unwrap_or_default()).map_or_else(
            |Malformed| Saved::Unreadable("the checkpoint is malformed".to_owned()),
            Saved::Lanes,
        ),
        version => Saved::Unreadable(format!(
            "the checkpoint has version {}, which this program cannot read",
            version.copied().unwrap_or(0)
        )),
    }
}

fn read_lanes(value: &[u8]) -> Result<Vec<LaneState>, Malformed> {
    let mut cursor = Cursor(value);
    let mut lanes = Vec::new();
    for _ in 0..cursor.unsigned()? {
        lanes.push(LaneState {
            name: cursor.text()?.to_owned(),
            base: cursor.unsigned()?,
            position: Position {
                batch: spool::Position {
                    segment: cursor.unsigned()?,
                    offset: cursor.unsigned()?,
                },
                sequence: cursor.unsigned()?,
            },
            totals: Totals {
                delivered: cursor.unsigned()?,
                duplicates: cursor.unsigned()?,
                dead_lettered: cursor.unsigned()?,
                dropped: cursor.unsigned()?,
            },
        });
    }
    Ok(lanes)
}
