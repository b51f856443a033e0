//! Reading the log once at open: files, coverage, where each lane stands.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::ids::FileKey;
use spool::Spool;

use crate::coverage::Coverage;
use crate::entry::{Entry, FileEntry, FileIndex, Part, Position};
use crate::error::Error;
use crate::tally::Tally;
use crate::varint::Cursor;
use crate::verdict_log::checkpoint::{LaneState, Saved};
use crate::verdict_log::decoder::{Decoder, Item};
use crate::verdict_log::format::{self, BatchHeader, Snapshot, Unreadable};

// Base of a lane that the checkpoint does not know yet.
const NEW_LANE: u64 = u64::MAX;

/// What opening the verdict log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Files that were not retired.
    pub files: Vec<(FileIndex, Arc<FileEntry>)>,
    /// Which bytes of them are in the log.
    pub coverage: HashMap<FileKey, Coverage>,
    /// Entries appended since the log was first made: lines and requests that were read and counted.
    pub sequence: u64,
    /// Whether nobody knows any more what the lanes have delivered: they send everything again.
    pub checkpoint_damaged: bool,
    /// One sentence for each thing that was damaged and what follows from it.
    pub notes: Vec<String>,
}

/// The state of the log after all of it was read.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) sequence: u64,
    pub(super) next_index: u32,
    pub(super) files: BTreeMap<FileIndex, ReplayedFile>,
    pub(super) coverage: BTreeMap<FileIndex, Coverage>,
    pub(super) lanes: Vec<LaneState>,
    pub(super) tally: Tally,
    checkpoint_damaged: bool,
    notes: Vec<String>,
    // Some entries could not be read and some lane was not past them: later snapshots say more is
    // covered than lanes will see.
    hole: Hole,
    begun: bool,
    // Damage was skipped somewhere before the batch at hand.
    damaged: bool,
    found: Vec<bool>,
}

#[derive(Debug)]
pub(super) struct ReplayedFile {
    pub(super) entry: Arc<FileEntry>,
    pub(super) retired_in: Option<u64>,
}

/// Whether the log lacks entries that some lane needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Hole {
    #[default]
    None,
    /// Until a snapshot that all lanes are past.
    Open,
    /// Nobody knows which lane is past it: no later snapshot can be believed.
    Lasting,
}

/// Reads all batches.
pub(super) fn replay(
    spool: &Spool,
    opened: spool::Recovery,
    lanes: &[&str],
    saved: Saved,
) -> Result<Replay, Error> {
    let mut replay = Replay {
        notes: opened.notes,
        found: vec![false; lanes.len()],
        ..Replay::default()
    };
    replay.place_lanes(lanes, saved, spool.first());
    let mut reader = spool.reader(spool.first());
    let mut decoder = Decoder::default();
    while let Some(batch) = reader.next().map_err(Error::spool("reading verdict log"))? {
        replay.damaged = batch.damages > 0;
        match format::read_payload(batch.payload) {
            Ok(header) => replay.batch(batch.position, &header, &mut decoder),
            Err(reason) => replay.unreadable(batch.position, reason),
        }
    }
    replay.finish(reader.damages(), spool.end());
    Ok(replay)
}

impl Replay {
    /// Files that more lines can come from, by key.
    pub(super) fn live_keys(&self) -> HashMap<FileKey, FileIndex> {
        let live = self.files.iter().filter(|file| file.1.retired_in.is_none());
        live.map(|(index, file)| (file.entry.key, *index)).collect()
    }

    pub(super) fn into_recovery(self) -> Recovery {
        let live = self.files.iter().filter(|file| file.1.retired_in.is_none());
        let files: Vec<_> = live
            .map(|(index, file)| (*index, Arc::clone(&file.entry)))
            .collect();
        let coverage = files.iter().map(|(index, entry)| {
            let coverage = self.coverage.get(index).cloned().unwrap_or_default();
            (entry.key, coverage)
        });
        Recovery {
            coverage: coverage.collect(),
            files,
            sequence: self.sequence,
            checkpoint_damaged: self.checkpoint_damaged,
            notes: self.notes,
        }
    }

    fn place_lanes(&mut self, lanes: &[&str], saved: Saved, first: spool::Position) {
        let mut known = match saved {
            Saved::Lanes(known) => known,
            Saved::Nothing => Vec::new(),
            Saved::Unreadable(note) => {
                self.checkpoint_damaged = true;
                self.note(format!("{note}: every lane sends the whole log again"));
                Vec::new()
            }
        };
        for name in lanes {
            let place = known.iter().position(|lane| lane.name == *name);
            let lane = match place {
                Some(place) => known.swap_remove(place),
                None => LaneState {
                    name: (*name).to_owned(),
                    base: NEW_LANE,
                    position: Position {
                        batch: first,
                        sequence: 0,
                    },
                    ..LaneState::default()
                },
            };
            self.lanes.push(lane);
        }
    }

    fn batch(&mut self, at: spool::Position, header: &BatchHeader<'_>, decoder: &mut Decoder) {
        if !self.begun {
            // What was trimmed before the first batch was delivered by every lane.
            let known = self.lanes.iter().filter(|lane| lane.base != NEW_LANE);
            let delivered = known.map(|lane| lane.position.sequence).min();
            let unknown = if self.damaged { 0 } else { header.base };
            self.sequence = delivered.unwrap_or(unknown).min(header.base);
        }
        if header.base > self.sequence {
            self.lost_between(header.base);
        }
        self.place_lanes_at(at, header);
        if !header.snapshot.is_empty() {
            match Snapshot::read(header.snapshot) {
                Ok(snapshot) => self.snapshot(snapshot, header.base),
                Err(malformed) => self.unreadable(at, malformed.into()),
            }
        } else if !self.begun {
            self.note("the log begins without its file table: its lines are read again".to_owned());
            self.tear();
        }
        self.begun = true;
        self.numbers(at, header);
        self.items(at, header, decoder);
        self.sequence = header.base + header.count;
    }

    fn numbers(&mut self, at: spool::Position, header: &BatchHeader<'_>) {
        let whole = !header.snapshot.is_empty();
        if let Some(tally) = header.tally
            && self.tally.read(tally, whole).is_err()
        {
            self.note(format!(
                "the numbers in the batch of verdicts at {}:{} are malformed: totals may be too small",
                at.segment, at.offset
            ));
        }
    }

    /// Notes where lanes stand: in the first batch that holds something they have not delivered.
    fn place_lanes_at(&mut self, at: spool::Position, header: &BatchHeader<'_>) {
        for (lane, found) in self.lanes.iter_mut().zip(&mut self.found) {
            if !*found && header.base + header.count > lane.position.sequence {
                *found = true;
                lane.position.batch = at;
                if lane.base == NEW_LANE {
                    lane.base = header.base;
                    lane.position.sequence = header.base;
                }
            }
        }
    }

    fn lost_between(&mut self, base: u64) {
        let (from, behind) = (self.sequence, self.behind(base));
        if behind {
            self.tear();
        }
        let consequence = if behind {
            "they are read and sent again"
        } else {
            "every lane had delivered them"
        };
        self.note(format!(
            "{} entries of the verdict log after entry {from} cannot be read: {consequence}",
            base - from
        ));
    }

    /// Notes that entries are missing that some lane has not delivered.
    fn tear(&mut self) {
        let unplaced = self.lanes.iter().any(|lane| lane.base == NEW_LANE);
        let hole = if unplaced { Hole::Lasting } else { Hole::Open };
        self.hole = self.hole.max(hole);
    }

    /// Whether some lane has not delivered everything up to `sequence`.
    fn behind(&self, sequence: u64) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.position.sequence < sequence)
    }

    fn snapshot(&mut self, snapshot: Snapshot, base: u64) {
        let adopt = match self.hole {
            Hole::None => true,
            Hole::Open => !self.behind(base),
            Hole::Lasting => false,
        };
        self.next_index = self.next_index.max(snapshot.next_index);
        if adopt {
            self.hole = Hole::None;
            self.coverage.clear();
        }
        for file in snapshot.files {
            if adopt {
                self.coverage.insert(file.index, file.coverage);
            }
            let entry = Arc::new(file.entry);
            let retired_in = file.retired_in;
            let file_state = ReplayedFile { entry, retired_in };
            self.files.insert(file.index, file_state);
        }
    }

    fn items(&mut self, at: spool::Position, header: &BatchHeader<'_>, decoder: &mut Decoder) {
        decoder.clear();
        let mut cursor = Cursor(header.items);
        loop {
            match decoder.next(&mut cursor) {
                Ok(None) => return,
                Ok(Some(Item::Entry)) => {
                    if let Entry::Line(line) = decoder.entry() {
                        self.cover(at, line.first);
                        line.rest.iter().for_each(|part| self.cover(at, *part));
                    }
                }
                Ok(Some(Item::File(index, entry))) => {
                    self.next_index = self.next_index.max(index.0.saturating_add(1));
                    let entry = Arc::new(entry);
                    let retired_in = None;
                    self.files.insert(index, ReplayedFile { entry, retired_in });
                }
                Ok(Some(Item::Retired(index))) => {
                    self.coverage.remove(&index);
                    if let Some(file) = self.files.get_mut(&index) {
                        file.retired_in = Some(at.segment);
                    }
                }
                Err(malformed) => return self.unreadable(at, malformed.into()),
            }
        }
    }

    fn cover(&mut self, at: spool::Position, part: Part) {
        let retired = self.files.get_mut(&part.file);
        if let Some(segment) = retired.and_then(|file| file.retired_in.as_mut()) {
            // Decided after its file was retired.
            *segment = at.segment;
            return;
        }
        let coverage = self.coverage.entry(part.file).or_default();
        coverage.insert(part.extent);
    }

    fn unreadable(&mut self, at: spool::Position, reason: Unreadable) {
        self.tear();
        let why = match reason {
            Unreadable::Version(version) => {
                format!("has version {version}, which this program cannot read")
            }
            Unreadable::Malformed => "is malformed".to_owned(),
        };
        self.note(format!(
            "batch of verdicts at {}:{} {why}: its lines are read and sent again",
            at.segment, at.offset
        ));
    }

    /// Lanes that found no batch stand at the end; the sequence never goes back behind a lane.
    fn finish(&mut self, damages: u64, end: spool::Position) {
        let furthest = self.lanes.iter().map(|lane| lane.position.sequence).max();
        let furthest = furthest.unwrap_or(0);
        if damages > 0 {
            self.note(format!(
                "{damages} damaged places of the verdict log were skipped"
            ));
        }
        if furthest > self.sequence {
            self.note(format!(
                "the verdict log ends at entry {}, before entry {furthest} that a lane has delivered: \
                 what is missing is read again",
                self.sequence
            ));
            self.sequence = furthest;
        }
        for (lane, found) in self.lanes.iter_mut().zip(&self.found) {
            if !found {
                lane.position.batch = end;
                if lane.base == NEW_LANE {
                    lane.base = self.sequence;
                    lane.position.sequence = self.sequence;
                }
            }
        }
    }

    fn note(&mut self, note: String) {
        tracing::warn!(note, "verdict log damaged");
        self.notes.push(note);
    }
}
