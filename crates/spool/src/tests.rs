//! The model test: a queue over a storage that crashes at any byte of any write, against a list.
#![expect(
    clippy::cast_possible_truncation,
    reason = "segments of these tests are small"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use crate::{Error, Limits, Position, QueueMetrics, Recovery, Spool, Storage, Sync};

/// A disk in memory whose power fails after a number of changed bytes; removals, cuts and creations
/// count as one byte.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    segments: BTreeMap<u64, Vec<u8>>,
    left: Option<usize>,
    // Errors instead of a crash: what the next write writes before it fails.
    failing: Option<usize>,
}

impl Disk {
    fn crash_after(&self, bytes: usize) {
        self.0.lock().unwrap().left = Some(bytes);
    }

    fn reboot(&self) {
        self.0.lock().unwrap().left = None;
    }

    fn bytes(&self) -> u64 {
        let content = self.0.lock().unwrap();
        content.segments.values().map(|s| s.len() as u64).sum()
    }

    fn edit(&self, edit: impl FnOnce(&mut BTreeMap<u64, Vec<u8>>)) {
        edit(&mut self.0.lock().unwrap().segments);
    }
}

impl Content {
    /// How much of a change of `bytes` bytes happens, and whether it all does.
    fn spend(&mut self, bytes: usize) -> (usize, io::Result<()>) {
        let done = self.failing.take().unwrap_or(bytes).min(bytes);
        let done = done.min(self.left.unwrap_or(usize::MAX));
        self.left = self.left.map(|left| left - done);
        let whole = done == bytes && self.left != Some(0);
        let result = if whole {
            Ok(())
        } else {
            Err(io::Error::other("power failed"))
        };
        (done, result)
    }
}

impl Storage for Disk {
    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let content = self.0.lock().unwrap();
        let lengths = content.segments.iter();
        Ok(lengths.map(|(n, s)| (*n, s.len() as u64)).collect())
    }

    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.0.lock().unwrap();
        let bytes = content
            .segments
            .get(&segment)
            .ok_or(io::ErrorKind::NotFound)?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let (done, result) = content.spend(bytes.len());
        let (start, held) = (
            offset as usize,
            content.segments.entry(segment).or_default(),
        );
        held.resize(held.len().max(start + done), 0);
        held[start..start + done].copy_from_slice(&bytes[..done]);
        result
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let (done, result) = content.spend(1);
        if done == 1 {
            content
                .segments
                .get_mut(&segment)
                .unwrap()
                .truncate(length as usize);
        }
        result
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let (done, result) = content.spend(1);
        if done == 1 {
            content.segments.remove(&segment);
        }
        result
    }

    fn sync(&mut self, _: u64) -> io::Result<Sync> {
        Ok(Box::new(|| Ok(())))
    }
}

const LIMITS: Limits = Limits {
    bytes_max: 1200,
    segment_bytes: 200,
};

fn open(disk: &Disk) -> (Spool<Disk>, Recovery) {
    Spool::open_storage(disk.clone(), LIMITS, QueueMetrics::default()).unwrap()
}

type Stored = (Position, u8, u64, Vec<u8>);

fn all(spool: &Spool<Disk>, from: Position) -> Vec<Stored> {
    let mut reader = spool.reader(from);
    let mut found = Vec::new();
    while let Some(batch) = reader.next().unwrap() {
        found.push((batch.position, batch.kind, batch.at, batch.payload.to_vec()));
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u8>),
    /// Everything before the n-th batch that is there.
    Trim(usize),
    TrimOlder(u64),
    DropOldest,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..120).prop_map(Step::Append),
        2 => (0usize..12).prop_map(Step::Trim),
        1 => (0u64..40).prop_map(Step::TrimOlder),
        1 => Just(Step::DropOldest),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// What must be in the queue at the least, and all that was ever appended.
#[derive(Default)]
struct Model {
    kept: Vec<Stored>,
    appended: Vec<Stored>,
    doubtful: Option<Stored>,
}

impl Model {
    /// Takes one step; `false` if the power failed in it.
    fn take(&mut self, step: &Step, spool: &mut Spool<Disk>, disk: &Disk) -> bool {
        match step {
            Step::Append(payload) => {
                let at = self.appended.len() as u64;
                let (room, before) = (spool.has_room(payload.len()), disk.bytes());
                match spool.append(7, at, payload) {
                    Ok(position) => {
                        assert!(room);
                        let stored = (position, 7, at, payload.clone());
                        self.kept.push(stored.clone());
                        self.appended.push(stored);
                    }
                    Err(Error::Full { needed, used, .. }) => {
                        assert!(!room && used + needed > LIMITS.bytes_max);
                        assert_eq!((used, disk.bytes()), (before, before));
                    }
                    Err(_) => {
                        self.doubtful = Some((Position::default(), 7, at, payload.clone()));
                        return false;
                    }
                }
            }
            Step::Trim(count) => {
                let before = self.kept.get(*count).map_or(spool.end(), |batch| batch.0);
                self.kept.retain(|batch| batch.0 >= before);
                return spool.trim(before).is_ok();
            }
            Step::TrimOlder(at) => {
                self.kept.retain(|batch| batch.2 >= *at);
                return spool.trim_older_than(*at, Position::END).is_ok();
            }
            Step::DropOldest => {
                let first = spool.first().segment;
                self.kept.retain(|batch| batch.0.segment > first);
                return spool.drop_oldest().is_ok();
            }
            Step::Reopen => *spool = open(disk).0,
        }
        true
    }

    /// Compares what is read with what must and may be there.
    fn check(&self, spool: &Spool<Disk>) {
        let found = all(spool, Position::default());
        let tail = self.appended.len() - found.len().min(self.appended.len());
        let last = found.last();
        let expected = match &self.doubtful {
            // A write that failed in its very last byte may be whole.
            Some(doubtful) if last.is_some_and(|last| last.2 == doubtful.2) => {
                assert_eq!(last.unwrap().3, doubtful.3);
                let whole = &found[..found.len() - 1];
                assert_eq!(whole, &self.appended[self.appended.len() - whole.len()..]);
                return assert!(whole.len() >= self.kept.len());
            }
            _ => &self.appended[tail..],
        };
        assert_eq!(found, expected, "a suffix of what was appended, in order");
        assert!(
            found.len() >= self.kept.len(),
            "nothing is missing that was not trimmed"
        );
        assert!(found.ends_with(&self.kept));
        assert!(spool.bytes() <= LIMITS.bytes_max);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Without faults and with a crash at any byte: what was appended and not trimmed is read back in
    /// order, nothing else, within the bound; and the queue goes on after it.
    #[test]
    fn a_crash_loses_at_most_the_batch_being_written(
        steps in steps(), crash in prop::option::of(0usize..4000), more in steps(),
    ) {
        let disk = Disk::default();
        let mut model = Model::default();
        let (mut spool, _) = open(&disk);
        if let Some(bytes) = crash {
            disk.crash_after(bytes);
        }
        let mut up = true;
        for step in &steps {
            // Opening after a crash is another run.
            if matches!(step, Step::Reopen) && crash.is_some() {
                continue;
            }
            up = up && model.take(step, &mut spool, &disk);
        }
        drop(spool);
        disk.reboot();
        let (mut spool, recovery) = open(&disk);
        prop_assert!(recovery.notes.is_empty(), "a torn write is no damage: {:?}", recovery.notes);
        model.check(&spool);
        prop_assert_eq!(spool.bytes(), disk.bytes());
        if let Some(doubtful) = model.doubtful.take() {
            let whole = all(&spool, Position::default()).pop().filter(|last| last.2 == doubtful.2);
            model.kept.extend(whole.clone());
            model.appended.extend(whole);
        }
        for step in &more {
            prop_assert!(model.take(step, &mut spool, &disk));
            model.check(&spool);
            prop_assert_eq!(spool.bytes(), disk.bytes());
        }
    }

    /// A write that fails (a full disk) leaves the queue as it was, and it goes on.
    #[test]
    fn a_failed_write_is_undone(steps in steps(), failing in 0usize..40, written in 0usize..140) {
        let disk = Disk::default();
        let mut model = Model::default();
        let (mut spool, _) = open(&disk);
        for (number, step) in steps.iter().enumerate() {
            if number == failing && matches!(step, Step::Append(payload) if spool.has_room(payload.len())) {
                disk.0.lock().unwrap().failing = Some(written.min(10));
            }
            if !model.take(step, &mut spool, &disk) {
                model.doubtful = None;
            }
            model.check(&spool);
        }
        model.check(&open(&disk).0);
    }

    /// A flipped byte loses at most the rest of its segment, is counted, and never yields a batch
    /// that was not appended.
    #[test]
    fn damage_costs_at_most_the_rest_of_its_segment(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 8..14),
        at in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        let disk = Disk::default();
        let mut model = Model::default();
        let (mut spool, _) = open(&disk);
        for payload in payloads {
            model.take(&Step::Append(payload), &mut spool, &disk);
        }
        let mut damaged = Position::default();
        disk.edit(|segments| {
            let mut places = segments.iter_mut().flat_map(|(n, s)| {
                s.iter_mut().enumerate().map(|(offset, byte)| (*n, offset as u64, byte))
            }).collect::<Vec<_>>();
            let place = at.index(places.len());
            let (segment, offset, byte) = &mut places[place];
            **byte ^= 1 << bit;
            damaged = Position { segment: *segment, offset: *offset };
        });
        let (spool, recovery) = open(&disk);
        let mut reader = spool.reader(Position::default());
        let mut found = Vec::new();
        while let Some(batch) = reader.next().unwrap() {
            found.push((batch.position, batch.kind, batch.at, batch.payload.to_vec()));
        }
        prop_assert!(found.iter().all(|batch| model.appended.contains(batch)));
        let torn = recovery.torn_bytes > 0 || !recovery.notes.is_empty();
        prop_assert!(torn || reader.damages() == 1);
        for batch in &model.appended {
            let before = (batch.0.segment, batch.0.offset + 17 + batch.3.len() as u64)
                <= (damaged.segment, damaged.offset) && batch.0.segment == damaged.segment;
            if before && damaged.offset >= 8 || batch.0.segment != damaged.segment {
                prop_assert!(found.contains(batch), "{batch:?} lost by damage at {damaged:?}");
            }
        }
        // New batches are read behind the damage.
        let new = spool.append(1, 99, b"new").unwrap();
        prop_assert_eq!(all(&spool, new), vec![(new, 1, 99, b"new".to_vec())]);
        prop_assert_eq!(all(&spool, Position::default()).pop().map(|last| last.0), Some(new));
    }
}

#[test]
fn a_segment_of_another_version_is_named_and_skipped() {
    let disk = Disk::default();
    let (spool, _) = open(&disk);
    spool.append(1, 1, &[1; 150]).unwrap();
    let second = spool.append(1, 2, &[2; 150]).unwrap();
    disk.edit(|segments| segments.get_mut(&1).unwrap()[7] = 9);
    let (spool, recovery) = open(&disk);
    assert!(
        recovery.notes.is_empty(),
        "old segments are judged by who reads them"
    );
    assert_eq!(all(&spool, Position::default())[0].0, second);
    disk.edit(|segments| segments.get_mut(&2).unwrap()[7] = 9);
    let (spool, recovery) = open(&disk);
    assert!(
        recovery.notes[0].contains("version 9"),
        "{:?}",
        recovery.notes
    );
    let third = spool.append(1, 3, b"after").unwrap();
    assert_eq!(
        (third.segment, all(&spool, Position::default()).len()),
        (3, 1)
    );
}

#[test]
fn a_reader_sees_what_is_appended_after_it_was_made_and_passes_over_what_is_trimmed() {
    let disk = Disk::default();
    let (spool, _) = open(&disk);
    let mut reader = spool.reader(Position::default());
    assert_eq!(reader.next().unwrap(), None);
    for at in 0..6 {
        spool.append(1, at, &[0; 150]).unwrap();
        assert_eq!(reader.next().unwrap().map(|batch| batch.at), Some(at));
        assert_eq!(reader.next().unwrap(), None);
    }
    let mut late = spool.reader(Position::default());
    assert_eq!(late.next().unwrap().map(|batch| batch.at), Some(0));
    spool.trim(spool.end()).unwrap();
    assert_eq!(late.next().unwrap().map(|batch| batch.at), Some(5));
}

#[test]
fn a_full_queue_of_one_huge_batch_can_be_emptied_and_numbers_go_on() {
    let disk = Disk::default();
    let (spool, _) = open(&disk);
    spool.append(1, 1, &[0; 1100]).unwrap();
    assert!(matches!(
        spool.append(1, 2, &[0; 1100]),
        Err(Error::Full { .. })
    ));
    spool.trim(spool.end()).unwrap();
    let position = open(&disk).0.append(1, 2, &[0; 1100]).unwrap();
    assert_eq!(position.segment, 2);
}

#[test]
fn a_batch_beyond_the_longest_is_refused() {
    let (spool, _) = open(&Disk::default());
    let payload = vec![0; crate::PAYLOAD_BYTES_MAX + 1];
    assert!(matches!(
        spool.append(1, 1, &payload),
        Err(Error::TooLong { .. })
    ));
}

#[test]
fn a_directory_keeps_batches_over_processes() {
    let dir = tempfile::tempdir().unwrap();
    let registry = prometheus::Registry::new();
    let metrics = crate::Metrics::new(&registry).unwrap().queue("spans");
    let path = dir.path().join("deep/spool");
    let (spool, _) = Spool::open(&path, LIMITS, metrics.clone()).unwrap();
    for at in 0..5 {
        spool
            .append(2, at, format!("batch {at}").repeat(8).as_bytes())
            .unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    let last = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max()
        .unwrap();
    let bytes = std::fs::metadata(&last).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&last).unwrap();
    file.set_len(bytes - 1).unwrap();
    let (spool, recovery) = Spool::open(&path, LIMITS, metrics.clone()).unwrap();
    assert!(recovery.torn_bytes > 0);
    let mut reader = spool.reader(Position::default());
    let mut found = Vec::new();
    while let Some(batch) = reader.next().unwrap() {
        found.push(String::from_utf8(batch.payload.to_vec()).unwrap());
    }
    assert_eq!(
        found,
        (0..4)
            .map(|at| format!("batch {at}").repeat(8))
            .collect::<Vec<_>>()
    );
    let first = spool.first();
    spool.trim_older_than(3, first).unwrap();
    assert_eq!(spool.first(), first, "nothing stands before the first");
    spool.trim_older_than(3, Position::END).unwrap();
    assert!(spool.first().segment > 1);
    assert_eq!((metrics.appended.get(), metrics.damaged.get()), (5, 1));
    assert_eq!(metrics.bytes.get(), i64::try_from(spool.bytes()).unwrap());
}
