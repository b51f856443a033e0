//! A verdict log that was damaged while nobody looked.

use std::path::Path;
use std::sync::Arc;

use model::ids::{FileKey, TraceId};
use model::line::Extent;
use model::time::{Day, UnixNanos};
use model::verdict::{Outcome, User, UserSource, Verdict};
use pipeline::{
    Entry, Error, FileEntry, FileIndex, Limits, LineEntry, Part, Recovery, Totals, VerdictLog,
};
use spool::QueueMetrics;

use crate::folder;
use crate::input::Input;

const LANES: [&str; 2] = ["forward", "elastic"];
const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    segment_bytes: 400,
};
const FILES: usize = 3;
/// More flipped bytes could meet a checksum by chance.
const DAMAGES_MAX: u8 = 3;

/// What was written, and how far each lane delivered it.
#[derive(Default)]
struct Model {
    files: [FileIndex; FILES],
    ends: [u64; FILES],
    lines: Vec<LineEntry>,
    flushed: usize,
    delivered: [usize; LANES.len()],
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let folder = folder::new();
    let mut model = Model::default();
    let (log, _) = open(folder.path());
    write(log, &mut input, &mut model, folder.path());
    damage(folder.path(), &mut input);
    let (mut log, recovery) = open(folder.path());
    for (lane, delivered) in LANES.into_iter().zip(model.delivered) {
        let seen = see(&log, lane, &model);
        assert_covered(&recovery, &model, delivered, &seen, lane);
    }
    // It goes on, and what comes now is seen.
    let more = line(&mut model, &mut log, 0, 40);
    let before = log.sequence();
    log.append_line(&more).unwrap();
    log.flush().unwrap();
    let mut reader = log.reader(LANES[0]).unwrap();
    let mut last = None;
    while let Some((position, entry)) = reader.next().unwrap() {
        assert_ne!(last, Some(before + 1), "nothing comes after it");
        last = Some(position.sequence);
        assert_eq!(entry == Entry::Line(&more), last == Some(before + 1));
    }
    assert_eq!(last, Some(before + 1));
}

fn open(dir: &Path) -> (VerdictLog, Recovery) {
    VerdictLog::open(dir, LIMITS, &LANES, QueueMetrics::default()).expect("damage is no error")
}

/// Appends, flushes, delivers, trims and restarts as the input says.
fn write(mut log: VerdictLog, input: &mut Input<'_>, model: &mut Model, dir: &Path) {
    for _ in 0..input.byte() % 96 {
        match input.byte() {
            0..24 => flush(&mut log, model),
            24..48 => {
                let lane = usize::from(input.byte()) % LANES.len();
                deliver(&log, model, lane, usize::from(input.byte()));
            }
            48..56 => log.handle().sync().unwrap(),
            56..64 => {
                // What is buffered is lost, and read again from its file.
                drop(log);
                (log, _) = open(dir);
                model.lines.truncate(model.flushed);
                for (file, end) in model.files.iter().zip(&mut model.ends) {
                    *end = log
                        .coverage(*file)
                        .map_or(0, pipeline::coverage::Coverage::end);
                }
            }
            kind => {
                let bytes = 1 + u32::from(input.byte());
                let line = line(model, &mut log, kind, bytes);
                log.append_line(&line).unwrap();
                model.lines.push(line);
            }
        }
    }
    flush(&mut log, model);
}

fn flush(log: &mut VerdictLog, model: &mut Model) {
    match log.flush() {
        Ok(()) => model.flushed = model.lines.len(),
        Err(error) => assert!(matches!(error, Error::Spool { .. }), "{error}"),
    }
}

fn deliver(log: &VerdictLog, model: &mut Model, lane: usize, most: usize) {
    let mut reader = log.reader(LANES[lane]).unwrap();
    for _ in 0..most {
        let Some((position, _)) = reader.next().unwrap() else {
            break;
        };
        let totals = Totals {
            delivered: 1,
            ..Totals::default()
        };
        log.handle().commit(LANES[lane], position, &totals).unwrap();
        model.delivered[lane] = usize::try_from(position.sequence).unwrap();
    }
}

/// The next line of one of the files; whom it belongs to follows from where it stands.
fn line(model: &mut Model, log: &mut VerdictLog, kind: u8, bytes: u32) -> LineEntry {
    let number = usize::from(kind) % FILES;
    let file = log.register_file(file(number));
    model.files[number] = file;
    let offset = model.ends[number];
    model.ends[number] += u64::from(bytes);
    let time = UnixNanos(1_795_406_977_672_424_268 + offset * 1_000_003);
    let trace = TraceId([kind | 1; 16]);
    LineEntry {
        first: Part {
            file,
            extent: Extent { offset, bytes },
        },
        time,
        home: time.day(),
        verdict: Verdict {
            outcome: Outcome::Attributed,
            trace: Some(trace),
            user: (kind & 8 == 0).then(|| User {
                id: Arc::from(format!("user-{number}-{offset}")),
                source: UserSource::Gateway,
            }),
            ..Verdict::default()
        },
        ..LineEntry::default()
    }
}

fn file(number: usize) -> FileEntry {
    FileEntry {
        key: key(number),
        container: format!("container-{number}"),
        path: format!("/logs/container-{number}/0.log"),
        first_seen_day: Day(20_000),
        ..FileEntry::default()
    }
}

fn key(number: usize) -> FileKey {
    FileKey([u8::try_from(number).unwrap() + 1; 16])
}

/// Damages some files of the log.
fn damage(dir: &Path, input: &mut Input<'_>) {
    for number in 0..input.byte() % (DAMAGES_MAX + 1) {
        let mut paths: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        if paths.is_empty() {
            return;
        }
        let path = &paths[usize::from(input.byte()) % paths.len()];
        let mut bytes = std::fs::read(path).unwrap();
        let place = usize::from(input.short()) % (bytes.len() + 1);
        match input.byte() {
            // Without a checkpoint nobody can tell a segment that is gone from one that was done.
            0..24 if number == 0 => return std::fs::remove_file(path).unwrap(),
            24..96 => bytes.truncate(place),
            96..104 => bytes.extend_from_slice(&[input.byte(); 40]),
            flip @ 104.. if place < bytes.len() => bytes[place] ^= flip,
            _ => {}
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// What a lane sees; each entry is the one that was written at this place.
fn see(log: &VerdictLog, lane: &str, model: &Model) -> Vec<usize> {
    let mut reader = log.reader(lane).unwrap();
    let mut seen = Vec::new();
    while let Some((position, entry)) = reader.next().unwrap() {
        let number = usize::try_from(position.sequence).unwrap() - 1;
        let Some(line) = model.lines[..model.flushed].get(number) else {
            panic!("{lane} sees entry {number}, which was never written: {entry:?}");
        };
        assert_eq!(entry, Entry::Line(line), "{lane} at {number}");
        seen.push(number);
    }
    seen
}

/// What a lane has not delivered and will not see has to be read again: its bytes are not covered.
fn assert_covered(
    recovery: &Recovery,
    model: &Model,
    delivered: usize,
    seen: &[usize],
    lane: &str,
) {
    for (number, line) in model.lines[..model.flushed].iter().enumerate() {
        if number < delivered || seen.contains(&number) {
            continue;
        }
        let place = model.files.iter().position(|file| *file == line.first.file);
        let coverage = place.and_then(|place| recovery.coverage.get(&key(place)));
        let covered = coverage.is_some_and(|bytes| bytes.contains(line.first.extent.offset));
        assert!(
            !covered,
            "{lane} never gets entry {number}, and it is not read again: {:?}",
            recovery.notes
        );
    }
}
