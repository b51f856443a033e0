//! Foreign batches and checkpoints whose checksums are right: from another version, or from a bug.

use std::path::Path;

use pipeline::{FileEntry, Limits, LineEntry, Part, VerdictLog};
use spool::{QueueMetrics, Spool};

use crate::folder;
use crate::input::{Input, parts};

const LANES: [&str; 2] = ["forward", "elastic"];
const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    segment_bytes: 4096,
};
/// Kind of the batches of a verdict log, and the version their payload begins with.
const KIND_ENTRIES: u8 = 1;
const VERSION: u8 = 1;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let checkpoint = input.byte() & 1 == 1;
    let folder = folder::new();
    let dir = folder.path();
    let mut texts = parts(input.rest());
    if checkpoint {
        let value = [&[VERSION], texts.next().unwrap_or_default()].concat();
        std::fs::write(dir.join("checkpoint"), slot(1, &value)).unwrap();
    }
    {
        let (queue, _) = Spool::open(dir, LIMITS, QueueMetrics::default()).unwrap();
        for (at, text) in (1..).zip(texts.take(8)) {
            let payload = [&[VERSION], text].concat();
            queue.append(KIND_ENTRIES, at, &payload).unwrap();
        }
    }
    read_all(dir);
    // Once more, with what the first time made of it.
    read_all(dir);
}

fn read_all(dir: &Path) {
    let (mut log, recovery) =
        VerdictLog::open(dir, LIMITS, &LANES, QueueMetrics::default()).unwrap();
    for coverage in recovery.coverage.values() {
        assert!(coverage.first_uncovered() <= coverage.end());
    }
    log.recent(model::time::UnixNanos(0), |_| {}).unwrap();
    for lane in LANES {
        let mut reader = log.reader(lane).unwrap();
        let mut last = 0;
        while let Some((position, _)) = reader.next().unwrap() {
            assert!(position.sequence > last, "sequences grow");
            last = position.sequence;
        }
    }
    let file = log.register_file(FileEntry::default());
    let line = LineEntry {
        first: Part {
            file,
            extent: model::line::Extent {
                offset: 7,
                bytes: 9,
            },
        },
        ..LineEntry::default()
    };
    log.append_line(&line).unwrap();
    log.flush().unwrap();
}

/// One slot of a checkpoint: generation, length, checksum and value.
fn slot(generation: u64, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&generation.to_le_bytes());
    crc.update(&length.to_le_bytes());
    crc.update(value);
    let mut slot = generation.to_le_bytes().to_vec();
    slot.extend_from_slice(&length.to_le_bytes());
    slot.extend_from_slice(&crc.finalize().to_le_bytes());
    slot.extend_from_slice(value);
    // Slot 1 is the second one.
    let mut file = vec![0; 4096];
    file.extend_from_slice(&slot);
    file
}
