//! The file that says how far each lane has delivered.
//!
//! The value in the slots:
//! ```text
//! version u8 = 1 | lanes v | of each: name text | base v | segment v | offset v | sequence v
//!                          | delivered v | duplicates v | dead-lettered v | dropped v
//! ```

use std::fs::File;
use std::io;
use std::path::Path;

use crate::entry::{Position, Totals};
use crate::error::Error;
use crate::slot_file::{SlotFile, SlotValue};
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
pub(super) struct Checkpoint(SlotFile);

impl Checkpoint {
    pub(super) fn open(path: &Path) -> Result<(Self, Saved), Error> {
        let (file, value) = SlotFile::open(path)?;
        let saved = match value {
            SlotValue::Value(value) => read(&value),
            SlotValue::Nothing => Saved::Nothing,
            SlotValue::Damaged => {
                Saved::Unreadable("no slot of the checkpoint is intact".to_owned())
            }
        };
        Ok((Self(file), saved))
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
        self.0.write(&value)
    }

    /// The file to sync, if something was written since it was last asked for.
    pub(super) fn unsynced(&mut self) -> io::Result<Option<File>> {
        self.0.unsynced()
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
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
