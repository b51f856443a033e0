//! Segments that were damaged while nobody looked.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use spool::{Error, Limits, Position, QueueMetrics, Spool, Storage, Sync};

use crate::input::Input;

const LIMITS: Limits = Limits {
    bytes_max: 4000,
    segment_bytes: 300,
};
/// Bytes before the first batch of a segment, and before the payload of a batch.
const HEADERS: (u64, u64) = (8, 17);
/// More flipped bytes could meet the checksum by chance.
const DAMAGES_MAX: u8 = 3;

/// Segments in memory.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl Disk {
    fn with<T>(&self, segment: u64, f: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut segments = self.0.lock().unwrap();
        let segment = segments.get_mut(&segment);
        segment.map(f).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl Storage for Disk {
    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let segments = self.0.lock().unwrap();
        let lengths = segments.iter();
        Ok(lengths.map(|(n, bytes)| (*n, bytes.len() as u64)).collect())
    }

    fn read_at(&mut self, segment: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(segment, |bytes| {
            let rest = bytes.get(at(offset)..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            read
        })
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut segments = self.0.lock().unwrap();
        let (held, start) = (segments.entry(segment).or_default(), at(offset));
        held.resize(held.len().max(start + bytes.len()), 0);
        held[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        self.with(segment, |bytes| bytes.truncate(at(length)))
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.0.lock().unwrap().remove(&segment);
        Ok(())
    }

    fn sync(&mut self, _: u64) -> io::Result<Sync> {
        Ok(Box::new(|| Ok(())))
    }
}

/// A batch as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    position: Position,
    kind: u8,
    at: u64,
    payload: Vec<u8>,
}

impl Stored {
    fn end(&self) -> u64 {
        self.position.offset + HEADERS.1 + self.payload.len() as u64
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = Disk::default();
    let mut appended = Vec::new();
    let (mut queue, _) = open(&disk);
    let mut kept = Position::default();
    for step in 0..u64::from(input.byte() % 64) {
        match input.byte() {
            0..16 => {
                kept = appended
                    .get(usize::from(input.byte()))
                    .map_or(kept, |batch: &Stored| batch.position.max(kept));
                queue.trim(kept).unwrap();
            }
            16..24 => queue = open(&disk).0,
            length => {
                append(&queue, step, usize::from(length), &mut appended);
            }
        }
    }
    drop(queue);
    let damaged = damage(&disk, &mut input);
    let (queue, _) = open(&disk);
    let found = all(&queue);
    assert_nothing_else(&found, &appended);
    for batch in appended.iter().filter(|batch| batch.position >= kept) {
        let place = damaged.get(&batch.position.segment);
        let safe = place.is_none_or(|at| *at >= HEADERS.0 && batch.end() <= *at);
        assert!(
            !safe || found.contains(batch),
            "{batch:?} is lost, damaged is {damaged:?}"
        );
    }
    assert_goes_on(&disk, &queue, &found);
}

fn open(disk: &Disk) -> (Spool<Disk>, spool::Recovery) {
    Spool::open_storage(disk.clone(), LIMITS, QueueMetrics::default()).unwrap()
}

fn append(queue: &Spool<Disk>, step: u64, length: usize, appended: &mut Vec<Stored>) -> bool {
    let kind = step.to_le_bytes()[0];
    let payload = vec![kind ^ 0x5a; length];
    match queue.append(kind, step, &payload) {
        Ok(position) => {
            appended.push(Stored {
                position,
                kind,
                at: step,
                payload,
            });
            true
        }
        Err(Error::Full { .. }) => false,
        Err(error) => panic!("append: {error}"),
    }
}

/// Damages some segments; from which offset on, by segment.
fn damage(disk: &Disk, input: &mut Input<'_>) -> BTreeMap<u64, u64> {
    let mut damaged: BTreeMap<u64, u64> = BTreeMap::new();
    for _ in 0..input.byte() % (DAMAGES_MAX + 1) {
        let mut segments = disk.0.lock().unwrap();
        let numbers: Vec<u64> = segments.keys().copied().collect();
        if numbers.is_empty() {
            break;
        }
        let number = numbers[usize::from(input.byte()) % numbers.len()];
        let bytes = segments.get_mut(&number).unwrap();
        let place = usize::from(input.short()) % (bytes.len() + 1);
        match input.byte() {
            0..32 => {
                segments.remove(&number);
                damaged.insert(number, 0);
                continue;
            }
            32..96 => bytes.truncate(place),
            96..112 => bytes.extend_from_slice(&[input.byte(); 40]),
            flip if place < bytes.len() => bytes[place] ^= flip,
            _ => continue,
        }
        let first = damaged.entry(number).or_insert(u64::MAX);
        *first = (*first).min(place as u64);
    }
    damaged
}

/// What is found was appended, exactly so, and is found in order.
fn assert_nothing_else(found: &[Stored], appended: &[Stored]) {
    let mut rest = appended.iter();
    for batch in found {
        assert!(
            rest.any(|known| known == batch),
            "{batch:?} was never appended here"
        );
    }
}

/// The queue takes more, and shows it after what it had, also when it is opened once more.
fn assert_goes_on(disk: &Disk, queue: &Spool<Disk>, found: &[Stored]) {
    let mut expected = found.to_vec();
    if !append(queue, 1000, 20, &mut expected) {
        return;
    }
    assert_eq!(all(queue), expected);
    assert_eq!(all(&open(disk).0), expected, "opened once more");
}

fn all(queue: &Spool<Disk>) -> Vec<Stored> {
    let mut reader = queue.reader(queue.first());
    let mut found = Vec::new();
    while let Some(batch) = reader.next().unwrap() {
        found.push(Stored {
            position: batch.position,
            kind: batch.kind,
            at: batch.at,
            payload: batch.payload.to_vec(),
        });
    }
    found
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
