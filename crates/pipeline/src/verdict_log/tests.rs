//! The log against a model, with crashes at every byte of every write, and with damage.

use std::path::Path;
use std::sync::Arc;

use model::document::RequestSummary;
use model::ids::{DocumentId, SpanId, TraceId};
use model::line::Stream;
use model::time::{Day, UnixNanos};
use model::verdict::{Outcome, Rule, User, UserSource, Verdict};
use proptest::prelude::*;

use super::decoder::{Decoder, Item};
use super::*;
use crate::entry::Totals;
use crate::varint::Cursor;

const LIMITS: Limits = Limits {
    bytes_max: BYTES_MAX_MIN,
    segment_bytes: 400,
};

fn open(dir: &Path, lanes: &[&str]) -> (VerdictLog, Recovery) {
    VerdictLog::open(dir, LIMITS, lanes, QueueMetrics::default()).unwrap()
}

fn file(number: u8) -> FileEntry {
    FileEntry {
        key: FileKey([number; 16]),
        container: format!("container-{number}"),
        restart: u32::from(number),
        path: format!("/var/log/pods/ns_pod_uid/container-{number}/0.log"),
        first_seen_day: Day(20_000),
    }
}

fn line(file: FileIndex, offset: u64, bytes: u32, verdict: Verdict) -> LineEntry {
    let extent = Extent { offset, bytes };
    let time = UnixNanos(1_795_406_977_672_424_268 + offset * 1_000_003);
    LineEntry {
        first: Part { file, extent },
        time,
        home: time.day(),
        verdict,
        ..LineEntry::default()
    }
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let trace = || (0u8..4).prop_map(|n| TraceId([n + 1; 16]));
    let user = || {
        (0u8..3).prop_map(|n| User {
            id: format!("user-{n}").into(),
            source: [
                UserSource::ProxyClaim,
                UserSource::Gateway,
                UserSource::MutualTls,
            ][usize::from(n)],
        })
    };
    let outcomes = prop::sample::select(vec![
        Outcome::Attributed,
        Outcome::Ambiguous,
        Outcome::Background,
        Outcome::None,
    ]);
    (
        outcomes,
        prop::sample::select(Rule::ALL.to_vec()),
        prop::option::of(trace()),
        prop::option::of((0u8..4).prop_map(|n| SpanId([n + 1; 8]))),
        prop::option::of(user()),
        prop::collection::vec(trace(), 0..=8),
        prop::option::of((trace(), prop::option::of(user()))),
    )
        .prop_map(
            |(outcome, rule, trace, span, user, candidates, inferred)| Verdict {
                outcome,
                rule,
                trace,
                span,
                user,
                candidates,
                inferred,
            },
        )
}

prop_compose! {
    fn lines()(
        first in (0u32..3, 0u64..1 << 40, any::<u32>()),
        rest in prop::collection::vec((0u32..3, any::<u32>(), any::<u32>()), 0..3),
        time: u64, day in 0u32..4_000_000, stdout: bool, partial: bool, split: bool,
        verdict in verdicts(),
    ) -> LineEntry {
        let part = |(file, offset, bytes): (u32, u64, u32)| Part {
            file: FileIndex(file),
            extent: Extent { offset, bytes },
        };
        LineEntry {
            first: part(first),
            rest: rest.into_iter().map(|(f, o, b)| part((f, u64::from(o), b))).collect(),
            time: UnixNanos(time),
            home: Day(day),
            stream: if stdout { Stream::Stdout } else { Stream::Stderr },
            partial,
            split,
            verdict,
        }
    }
}

prop_compose! {
    fn requests()(
        numbers in (any::<u64>(), any::<u64>(), any::<u16>(), any::<u64>()), grpc: bool,
        route in prop::option::of("/v2/[a-z]{0,9}"), text in ".{0,12}", failed: bool,
        line_id: bool, verdict in verdicts(),
    ) -> RequestEntry {
        let (start, duration, status, lines) = numbers;
        RequestEntry {
            id: if line_id {
                DocumentId::Line(FileKey([3; 16]), start)
            } else {
                DocumentId::Request(TraceId([1; 16]), SpanId([2; 8]))
            },
            front: failed.then_some(SpanId([4; 8])),
            parent: Some(SpanId([5; 8])).filter(|_| start % 2 == 0),
            home: UnixNanos(start).day(),
            time: UnixNanos(start),
            container: text.clone(),
            summary: RequestSummary {
                protocol: if grpc { "grpc" } else { "http" },
                method: text.clone(),
                path: text.clone(),
                route,
                status,
                start: UnixNanos(start),
                duration,
                names: vec![("emco.project", text.clone()), ("emco.app", text)],
                lines,
                failed,
            },
            verdict,
        }
    }
}

/// An entry that outlives its reader's next one.
#[derive(Clone, Debug, PartialEq)]
enum Kept {
    Line(LineEntry),
    Request(Box<RequestEntry>),
}

impl From<Entry<'_>> for Kept {
    fn from(entry: Entry<'_>) -> Self {
        match entry {
            Entry::Line(line) => Self::Line(line.clone()),
            Entry::Request(request) => Self::Request(Box::new(request.clone())),
        }
    }
}

#[derive(Clone, Debug)]
enum Written {
    Entry(Kept),
    File(FileIndex, FileEntry),
    Retired(FileIndex),
}

fn items() -> impl Strategy<Value = Written> {
    prop_oneof![
        6 => lines().prop_map(|line| Written::Entry(Kept::Line(line))),
        2 => requests().prop_map(|request| Written::Entry(Kept::Request(Box::new(request)))),
        1 => (0u8..5).prop_map(|n| Written::File(FileIndex(u32::from(n)), file(n))),
        1 => (0u32..5).prop_map(|n| Written::Retired(FileIndex(n))),
    ]
}

proptest! {
    /// Every item is read back as it was written, whatever stood before it.
    #[test]
    fn items_are_read_back(items in prop::collection::vec(items(), 0..20)) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for _ in 0..2 {
            for item in &items {
                match item {
                    Written::Entry(Kept::Line(line)) => encoder.line(line),
                    Written::Entry(Kept::Request(request)) => encoder.request(request),
                    Written::File(index, entry) => encoder.file(*index, entry),
                    Written::Retired(index) => encoder.retired(*index),
                }
            }
            let mut cursor = Cursor(&encoder.items);
            for item in &items {
                let read = decoder.next(&mut cursor).unwrap();
                let expected = match item {
                    Written::Entry(entry) => {
                        prop_assert_eq!(&Kept::from(decoder.entry()), entry);
                        Item::Entry
                    }
                    Written::File(index, entry) => Item::File(*index, entry.clone()),
                    Written::Retired(index) => Item::Retired(*index),
                };
                prop_assert_eq!(read, Some(expected));
            }
            prop_assert_eq!(decoder.next(&mut cursor), Ok(None));
            encoder.clear();
            decoder.clear();
        }
    }

    /// Foreign bytes never panic and end.
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut decoder, mut cursor) = (Decoder::default(), Cursor(&bytes));
        while let Ok(Some(_)) = decoder.next(&mut cursor) {}
        let _judged = (format::read_payload(&bytes).is_ok(), Snapshot::read(&bytes).is_ok());
    }
}

#[test]
fn a_typical_line_costs_few_bytes() {
    let mut encoder = Encoder::default();
    for request in 0..10_u8 {
        for place in 0..10 {
            let verdict = Verdict {
                outcome: Outcome::Attributed,
                rule: Rule::Names,
                trace: Some(TraceId([request + 1; 16])),
                span: Some(SpanId([request + 1; 8])),
                user: Some(User {
                    id: Arc::from("somebody@example.org"),
                    source: UserSource::Gateway,
                }),
                ..Verdict::default()
            };
            let offset = (u64::from(request) * 10 + place) * 337;
            encoder.line(&line(FileIndex(1), offset, 337, verdict));
        }
    }
    let bytes = encoder.items.len() / 100;
    assert!(bytes <= 20, "{bytes} bytes a line");
    encoder.clear();
    encoder.line(&line(FileIndex(1), 1 << 30, 337, Verdict::default()));
    assert!(encoder.items.len() <= 60);
}

/// All entries `lane` has not committed.
fn left(log: &VerdictLog, lane: &str) -> Vec<(Position, Kept)> {
    let mut reader = log.reader(lane).unwrap();
    let next = || {
        let (position, entry) = reader.next().unwrap()?;
        Some((position, entry.into()))
    };
    std::iter::from_fn(next).collect()
}

fn entries(found: &[(Position, Kept)]) -> Vec<Kept> {
    found.iter().map(|(_, entry)| entry.clone()).collect()
}

fn delivered(count: u64) -> Totals {
    Totals {
        delivered: count,
        ..Totals::default()
    }
}

/// Copies a log, with one of its files cut to some length.
fn crashed(dir: &Path, name: &str, bytes: usize) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let target = copy.path().join(path.file_name().unwrap());
        let mut content = std::fs::read(&path).unwrap();
        if path.ends_with(name) {
            content.truncate(bytes);
        }
        std::fs::write(target, content).unwrap();
    }
    copy
}

fn segments(dir: &Path) -> Vec<(String, usize)> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".seg"))
        .filter_map(|entry| {
            // It may have been removed since it was listed.
            let bytes = usize::try_from(entry.metadata().ok()?.len()).unwrap();
            Some((entry.file_name().into_string().unwrap(), bytes))
        })
        .collect();
    found.sort();
    found
}

#[derive(Clone, Debug)]
enum Step {
    /// Lines of these lengths, into one of two files.
    Append(u8, Vec<u32>, Verdict),
    Request(Box<RequestEntry>),
    Flush,
    /// A lane delivers about so many entries.
    Commit(bool, usize),
    Sync,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (0u8..2, prop::collection::vec(1u32..300, 1..5), verdicts());
    let step = prop_oneof![
        6 => append.prop_map(|(file, lengths, verdict)| Step::Append(file, lengths, verdict)),
        1 => requests().prop_map(|request| Step::Request(Box::new(request))),
        4 => Just(Step::Flush),
        3 => (any::<bool>(), 0usize..8).prop_map(|(lane, count)| Step::Commit(lane, count)),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

const LANES: [&str; 2] = ["forward", "elastic"];

/// What must be true of a log, whatever happened to its process.
struct Model {
    flushed: Vec<Kept>,
    buffered: Vec<Kept>,
    committed: [usize; 2],
    ends: [u64; 2],
    covered: [u64; 2],
    files: [FileIndex; 2],
}

impl Model {
    fn new(log: &mut VerdictLog) -> Self {
        Self {
            flushed: Vec::new(),
            buffered: Vec::new(),
            committed: [0; 2],
            ends: [0; 2],
            covered: [0; 2],
            files: [log.register_file(file(0)), log.register_file(file(1))],
        }
    }

    fn take(&mut self, step: &Step, log: &mut VerdictLog, dir: &Path) {
        match step {
            Step::Append(which, lengths, verdict) => {
                let which = usize::from(*which);
                for bytes in lengths {
                    let entry = line(self.files[which], self.ends[which], *bytes, verdict.clone());
                    log.append_line(&entry).unwrap();
                    self.ends[which] += u64::from(*bytes);
                    self.buffered.push(Kept::Line(entry));
                }
            }
            Step::Request(request) => {
                log.append_request(request).unwrap();
                self.buffered.push(Kept::Request(request.clone()));
            }
            Step::Flush => {
                log.flush().unwrap();
                self.flushed.append(&mut self.buffered);
                self.covered = self.ends;
            }
            Step::Commit(lane, count) => {
                let lane = usize::from(*lane);
                let found = left(log, LANES[lane]);
                if let Some((position, _)) = found.iter().take(*count).next_back() {
                    let count = found.len().min(*count);
                    let done = delivered(count as u64);
                    log.handle().commit(LANES[lane], *position, &done).unwrap();
                    self.committed[lane] += count;
                }
            }
            Step::Sync => log.handle().sync().unwrap(),
            Step::Reopen => {
                let (reopened, recovery) = open(dir, &LANES);
                *log = reopened;
                self.buffered.clear();
                self.ends = self.covered;
                self.check(log, &recovery);
                self.files = [log.register_file(file(0)), log.register_file(file(1))];
            }
        }
    }

    fn check(&self, log: &VerdictLog, recovery: &Recovery) {
        assert_eq!(recovery.notes, Vec::<String>::new());
        assert_eq!(recovery.sequence, self.flushed.len() as u64);
        for (lane, committed) in LANES.iter().zip(self.committed) {
            assert_eq!(
                entries(&left(log, lane)),
                self.flushed[committed..],
                "{lane}"
            );
            let (position, totals) = log.handle().position(lane).unwrap();
            assert_eq!(position.sequence, committed as u64);
            assert_eq!(totals, delivered(committed as u64));
        }
        for (number, covered) in (0_u8..).zip(self.covered) {
            let coverage = recovery.coverage.get(&file(number).key);
            let coverage = coverage.cloned().unwrap_or_default();
            assert_eq!(
                (coverage.first_uncovered(), coverage.end()),
                (covered, covered)
            );
        }
        for (index, entry) in &recovery.files {
            assert_eq!(log.handle().file(*index).as_ref(), Some(entry));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever a lane could have seen is there after a crash at any byte of the next write, with
    /// the same verdict; what was being written is not there in part; the file's coverage says
    /// exactly the same.
    #[test]
    fn a_kill_in_any_state_changes_no_verdict(
        steps in steps(), last in lines(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        crash_in_next_write(dir.path(), &steps, last, |bytes| {
            cuts.iter().map(|cut| cut.index(bytes)).collect()
        });
    }

    /// Every record counts once for every lane: what it is through with and what is left are all
    /// there ever was, over any restarts.
    #[test]
    fn the_totals_of_a_lane_survive_restarts(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path(), &LANES);
        let mut model = Model::new(&mut log);
        for step in steps.iter().chain([&Step::Flush, &Step::Reopen, &Step::Sync, &Step::Reopen]) {
            model.take(step, &mut log, dir.path());
            for lane in LANES {
                let (_, totals) = log.handle().position(lane).unwrap();
                let left = left(&log, lane).len() as u64;
                prop_assert_eq!(totals.sum() + left, model.flushed.len() as u64);
            }
        }
    }
}

/// Takes some steps, then writes one more line and is killed after some bytes of that write.
fn crash_in_next_write(
    dir: &Path,
    steps: &[Step],
    last: LineEntry,
    cuts: impl FnOnce(usize) -> Vec<usize>,
) {
    let (mut log, _) = open(dir, &LANES);
    let mut model = Model::new(&mut log);
    for step in steps.iter().chain([&Step::Flush]) {
        model.take(step, &mut log, dir);
    }
    let before = segments(dir);
    let first = line(model.files[0], model.ends[0], 5, Verdict::default()).first;
    let last = LineEntry {
        first,
        rest: Vec::new(),
        ..last
    };
    log.append_line(&last).unwrap();
    log.flush().unwrap();
    let (name, whole) = segments(dir).pop().unwrap();
    let start = before.iter().find(|held| held.0 == name);
    let start = start.map_or(0, |held| held.1);
    let content = std::fs::read(dir.join(&name)).unwrap();
    let checkpoint = std::fs::read(dir.join("checkpoint")).unwrap();
    let copy = crashed(dir, "nothing", 0);
    for cut in cuts(whole - start) {
        std::fs::write(copy.path().join(&name), &content[..start + cut]).unwrap();
        std::fs::write(copy.path().join("checkpoint"), &checkpoint).unwrap();
        let (log, recovery) = open(copy.path(), &LANES);
        model.check(&log, &recovery);
    }
}

#[test]
fn a_kill_at_any_byte_changes_no_verdict() {
    let verdict = Verdict {
        trace: Some(TraceId([7; 16])),
        ..Verdict::default()
    };
    for lines in [2, 14] {
        let dir = tempfile::tempdir().unwrap();
        let steps = [
            Step::Append(0, vec![5; lines], verdict.clone()),
            Step::Append(1, vec![9; lines], verdict.clone()),
            Step::Flush,
            Step::Commit(true, 1),
        ];
        let last = line(FileIndex(0), 0, 5, verdict.clone());
        crash_in_next_write(dir.path(), &steps, last, |bytes| (0..bytes).collect());
    }
}

/// A log of `count` lines of one file, one flush each, in several segments.
fn filled(dir: &Path, count: u64) -> (VerdictLog, FileIndex) {
    let (mut log, _) = open(dir, &LANES);
    let index = log.register_file(file(0));
    for number in 0..count {
        log.append_line(&line(index, number * 10, 10, Verdict::default()))
            .unwrap();
        log.flush().unwrap();
    }
    (log, index)
}

fn commit_all(log: &VerdictLog, lane: &str) {
    let found = left(log, lane);
    if let Some((position, _)) = found.last() {
        let done = delivered(found.len() as u64);
        log.handle().commit(lane, *position, &done).unwrap();
    }
}

fn commit_lanes(log: &VerdictLog) {
    for lane in LANES {
        commit_all(log, lane);
    }
}

fn flip(dir: &Path, segment: usize, offset: usize) {
    let path = dir.join(&segments(dir)[segment].0);
    let mut content = std::fs::read(&path).unwrap();
    content[offset] ^= 0x10;
    std::fs::write(path, content).unwrap();
}

#[test]
fn damage_that_a_lane_has_not_passed_is_read_again_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 60);
    commit_all(&log, LANES[0]);
    drop(log);
    assert!(segments(dir.path()).len() > 3);
    flip(dir.path(), 1, 300);
    let (log, recovery) = open(dir.path(), &LANES);
    assert!(!recovery.notes.is_empty());
    let seen = entries(&left(&log, LANES[1]));
    let coverage = &recovery.coverage[&file(0).key];
    assert!(seen.len() < 60 && coverage.end() == 600);
    for number in 0..60 {
        let there = seen.iter().any(
            |entry| matches!(entry, Kept::Line(line) if line.first.extent.offset == number * 10),
        );
        assert_eq!(coverage.contains(number * 10), there, "line {number}");
    }
}

#[test]
fn damage_that_all_lanes_have_passed_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 60);
    commit_lanes(&log);
    drop(log);
    flip(dir.path(), 1, 300);
    let (_, recovery) = open(dir.path(), &LANES);
    assert!(
        recovery.notes[0].contains("every lane had delivered"),
        "{:?}",
        recovery.notes
    );
    assert_eq!(recovery.coverage[&file(0).key].ranges(), [(0, 600)]);
}

#[test]
fn damage_at_the_very_beginning_is_read_again_too() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 60);
    drop(log);
    flip(dir.path(), 0, 12);
    let (log, recovery) = open(dir.path(), &LANES);
    let seen = left(&log, LANES[0]).len() as u64;
    let coverage = &recovery.coverage[&file(0).key];
    assert_eq!((coverage.first_uncovered(), coverage.end()), (0, 600));
    assert_eq!(coverage.ranges(), [(600 - seen * 10, 600)]);
}

#[test]
fn a_lost_checkpoint_sends_the_whole_log_again_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 10);
    commit_all(&log, LANES[0]);
    drop(log);
    std::fs::write(dir.path().join("checkpoint"), [0xff; 9000]).unwrap();
    let (log, recovery) = open(dir.path(), &LANES);
    assert!(
        recovery.notes[0].contains("sends the whole log again"),
        "{:?}",
        recovery.notes
    );
    assert!(recovery.checkpoint_damaged);
    assert_eq!(left(&log, LANES[0]).len(), 10);
    assert_eq!(recovery.coverage[&file(0).key].ranges(), [(0, 100)]);
    drop(log);
    assert!(!open(dir.path(), &LANES).1.checkpoint_damaged);
}

#[test]
fn a_checkpoint_write_that_is_torn_at_any_byte_keeps_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 10);
    let found = left(&log, LANES[0]);
    log.handle()
        .commit(LANES[0], found[3].0, &delivered(4))
        .unwrap();
    let before = std::fs::read(dir.path().join("checkpoint")).unwrap();
    log.handle()
        .commit(LANES[0], found[6].0, &delivered(3))
        .unwrap();
    let after = std::fs::read(dir.path().join("checkpoint")).unwrap();
    let changed: Vec<_> = (0..after.len())
        .filter(|at| before.get(*at) != Some(&after[*at]))
        .collect();
    for torn in &changed {
        let copy = crashed(dir.path(), "nothing", 0);
        let mut content = before.clone();
        content.resize(after.len(), 0);
        changed
            .iter()
            .filter(|at| *at < torn)
            .for_each(|at| content[*at] = after[*at]);
        if content == after {
            // what was not written was there by chance
            continue;
        }
        std::fs::write(copy.path().join("checkpoint"), content).unwrap();
        let (log, recovery) = open(copy.path(), &LANES);
        assert_eq!(recovery.notes, Vec::<String>::new());
        assert_eq!(left(&log, LANES[0]).len(), 6, "torn at {torn}");
    }
}

#[test]
fn after_a_power_loss_behind_a_checkpoint_the_lane_goes_on_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 6);
    commit_all(&log, LANES[0]);
    drop(log);
    let (name, bytes) = segments(dir.path()).pop().unwrap();
    let copy = crashed(dir.path(), &name, bytes - 20);
    let (mut log, recovery) = open(copy.path(), &LANES);
    assert!(
        recovery.notes[0].contains("read again"),
        "{:?}",
        recovery.notes
    );
    let lost = recovery.coverage[&file(0).key].end();
    assert!(lost < 60);
    let index = log.register_file(file(0));
    log.append_line(&line(index, lost, 10, Verdict::default()))
        .unwrap();
    log.flush().unwrap();
    assert_eq!(left(&log, LANES[0]).len(), 1);
}

#[test]
fn an_unknown_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let (spool, _) = Spool::open(dir.path(), limits, QueueMetrics::default()).unwrap();
    spool.append(KIND_ENTRIES, 1, &[9, 0, 0, 0]).unwrap();
    drop(spool);
    let (mut log, recovery) = open(dir.path(), &LANES);
    assert!(
        recovery.notes[0].contains("version 9"),
        "{:?}",
        recovery.notes
    );
    let index = log.register_file(file(0));
    log.append_line(&line(index, 0, 10, Verdict::default()))
        .unwrap();
    log.flush().unwrap();
    assert_eq!(left(&log, LANES[0]).len(), 1);
}

#[test]
fn a_lane_that_is_new_begins_at_what_is_left_and_others_keep_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 60);
    commit_lanes(&log);
    log.handle().sync().unwrap();
    drop(log);
    let (log, recovery) = open(dir.path(), &["elastic", "new"]);
    assert_eq!(recovery.notes, Vec::<String>::new());
    assert_eq!(left(&log, "elastic"), []);
    let found = left(&log, "new");
    assert!(!found.is_empty() && found.len() < 60);
    assert!(matches!(
        log.reader("forward"),
        Err(Error::UnknownLane { .. })
    ));
}

#[test]
fn renamed_and_retired_files_are_remembered_as_long_as_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, index) = filled(dir.path(), 2);
    let renamed = FileEntry {
        path: "/elsewhere/0.log.20260101".to_owned(),
        ..file(0)
    };
    assert_eq!(log.register_file(renamed.clone()), index);
    log.retire_file(index);
    log.flush().unwrap();
    drop(log);
    let (mut log, recovery) = open(dir.path(), &LANES);
    assert!(
        recovery.files.is_empty(),
        "no more lines are expected of it"
    );
    assert_eq!(
        log.handle().file(index).as_deref(),
        Some(&renamed),
        "lanes still need it"
    );
    let again = log.register_file(file(0));
    assert!(again > index);
    for number in 0..60 {
        log.append_line(&line(again, number * 10, 10, Verdict::default()))
            .unwrap();
        log.flush().unwrap();
        commit_lanes(&log);
        log.handle().sync().unwrap();
    }
    assert_eq!(log.handle().file(index), None);
    drop(log);
    let (log, _) = open(dir.path(), &LANES);
    assert_eq!(log.handle().file(index), None);
}

#[test]
fn a_line_decided_after_its_file_was_retired_keeps_the_file_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, index) = filled(dir.path(), 1);
    log.retire_file(index);
    log.flush().unwrap();
    let other = log.register_file(file(1));
    for number in 0..60 {
        log.append_line(&line(other, number * 10, 10, Verdict::default()))
            .unwrap();
        log.flush().unwrap();
    }
    commit_lanes(&log);
    log.append_line(&line(index, 10, 10, Verdict::default()))
        .unwrap();
    log.flush().unwrap();
    log.handle().sync().unwrap();
    for number in 60..90 {
        log.append_line(&line(other, number * 10, 10, Verdict::default()))
            .unwrap();
        log.flush().unwrap();
    }
    assert!(log.handle().file(index).is_some());
    drop(log);
    let (log, recovery) = open(dir.path(), &LANES);
    assert!(log.handle().file(index).is_some());
    assert_eq!(recovery.files.len(), 1);
    assert_eq!(left(&log, LANES[0]).len(), 31);
}

#[test]
fn recent_entries_are_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = filled(dir.path(), 20);
    commit_all(&log, LANES[0]);
    let since = line(index, 120, 10, Verdict::default()).time;
    let mut offsets = Vec::new();
    log.recent(since, |entry| {
        if let Entry::Line(line) = entry {
            offsets.push(line.first.extent.offset);
        }
    })
    .unwrap();
    assert_eq!(
        offsets,
        (12..20).map(|number| number * 10).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_log_makes_the_head_wait_until_the_slowest_lane_moves() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        bytes_max: BYTES_MAX_MIN,
        segment_bytes: 16 << 10,
    };
    let (mut log, _) =
        VerdictLog::open(dir.path(), limits, &LANES, QueueMetrics::default()).unwrap();
    let index = log.register_file(file(0));
    let mut number = 0;
    let full = loop {
        let entry = line(index, number * 1000, 10, Verdict::default());
        if let Err(error) = log.append_line(&entry) {
            break error;
        }
        number += 1;
    };
    assert!(matches!(full, Error::Full), "{full}");
    assert!(!log.handle().has_room() && log.handle().segments_bytes() <= limits.bytes_max);
    let request = RequestEntry {
        id: DocumentId::Request(TraceId([1; 16]), SpanId([2; 8])),
        front: None,
        parent: None,
        home: Day(1),
        time: UnixNanos(1),
        container: String::new(),
        summary: RequestSummary::default(),
        verdict: Verdict::default(),
    };
    log.append_request(&request)
        .expect("requests are taken for longer");
    commit_all(&log, LANES[0]);
    log.handle().sync().unwrap();
    assert!(!log.handle().has_room(), "the other lane has not moved");
    let handle = log.handle();
    let waiting = tokio::spawn(async move { handle.room().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    commit_all(&log, LANES[1]);
    log.handle().sync().unwrap();
    waiting.await.unwrap();
    log.flush().unwrap();
    let left = left(&log, LANES[0]);
    assert_eq!(left.last().unwrap().0.sequence, number + 1);
    assert_eq!(
        left.last().unwrap().1,
        Kept::Request(Box::new(RequestEntry {
            summary: RequestSummary {
                protocol: "unknown",
                ..RequestSummary::default()
            },
            ..request
        }))
    );
}

#[tokio::test(start_paused = true)]
async fn segments_go_once_they_are_delivered_and_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, index) = filled(dir.path(), 60);
    let stop = tokio_util::sync::CancellationToken::new();
    let (handle, stopped) = (log.handle(), stop.clone());
    commit_lanes(&log);
    assert!(segments(dir.path()).len() > 3);
    let keeper = tokio::spawn(async move { handle.keep_synced(stopped).await });
    let trimmed = async {
        // the one before the last stays, so that a restart knows what was counted
        while segments(dir.path()).len() > 2 {
            tokio::task::yield_now().await;
        }
    };
    trimmed.await;
    log.append_line(&line(index, 600, 10, Verdict::default()))
        .unwrap();
    log.flush().unwrap();
    stop.cancel();
    keeper.await.unwrap();
}

/// Numbers move with the entries that they count: whatever of the file is left after a crash, both
/// tell of the same batches.
#[test]
fn numbers_are_as_old_as_the_entries_they_count() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, index) = filled(dir.path(), 0);
    let lines = log
        .tally_mut()
        .series("lines", 2, UnixNanos(7))
        .unwrap()
        .first
        .plus(1);
    for number in 0..200 {
        log.append_line(&line(index, number * 10, 10, Verdict::default()))
            .unwrap();
        log.tally_mut().add(lines, 1);
        assert_eq!(log.tally().totals().see(|seen| seen.value(lines)), number);
        log.flush().unwrap();
    }
    assert!(segments(dir.path()).len() > 2, "more than one segment");
    drop(log);
    let (last, whole) = segments(dir.path()).pop().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for bytes in 0..=whole {
        let copy = crashed(dir.path(), &last, bytes);
        let (mut log, recovery) = open(copy.path(), &LANES);
        let covered = recovery.coverage[&file(0).key].end() / 10;
        let series = log.tally_mut().series("lines", 2, UnixNanos(9)).unwrap();
        assert_eq!(
            (series.created, series.first.plus(1)),
            (UnixNanos(7), lines)
        );
        assert_eq!(
            log.tally().value(lines),
            covered,
            "{bytes} of {whole} bytes"
        );
        assert_eq!(log.tally().totals().see(|seen| seen.value(lines)), covered);
        seen.insert(covered);
    }
    assert!(seen.len() > 2 && seen.contains(&200), "{seen:?}");
}

#[test]
fn numbers_can_be_written_without_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = filled(dir.path(), 5);
    let at = log.tally_mut().series("at", 1, UnixNanos(1)).unwrap().first;
    log.tally_mut().set(at, 44);
    log.flush().unwrap();
    assert!(log.tally().is_pending());
    log.flush_tally().unwrap();
    assert!(!log.tally().is_pending());
    let bytes = log.handle().segments_bytes();
    log.flush_tally().unwrap();
    assert_eq!(log.handle().segments_bytes(), bytes);
    assert_eq!(left(&log, LANES[0]).len(), 5);
    drop(log);
    let (log, recovery) = open(dir.path(), &LANES);
    assert_eq!((log.tally().value(at), recovery.sequence), (44, 5));
    assert_eq!(left(&log, LANES[0]).len(), 5);
}

/// A batch as the version before wrote it.
#[test]
fn a_log_without_numbers_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = filled(dir.path(), 0);
    drop(log);
    let (spool, _) = Spool::open(dir.path(), Limits::default(), QueueMetrics::default()).unwrap();
    let mut encoder = Encoder::default();
    encoder.line(&line(FileIndex(0), 0, 10, Verdict::default()));
    let mut payload = vec![1, 0, 1, 0];
    payload.extend_from_slice(&encoder.items);
    spool.append(KIND_ENTRIES, 1, &payload).unwrap();
    drop(spool);
    let (log, recovery) = open(dir.path(), &LANES);
    assert_eq!((recovery.sequence, left(&log, LANES[0]).len()), (1, 1));
    assert!(log.tally().all().is_empty());
}
