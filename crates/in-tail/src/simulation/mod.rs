//! The engine against a simulated disk and an oracle: every byte that was ever written to a file that
//! survives (or is held open) is handed out exactly once and in order, whatever rotates, truncates,
//! compresses or deletes files meanwhile and whenever we crash.

mod cases;
mod disk;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::ids::FileKey;
use model::time::UnixNanos;
use proptest::prelude::*;

use crate::engine::{Engine, Now, Step};
use crate::event::{EndReason, Resume};
use crate::generations::Generations;
use crate::metrics::Metrics;
use crate::settings::{PlainSettings, PodSettings, Replay, Settings};
use disk::{Handle, SimulatedDisk, Story};

const POD: &str = "/logs/emco_rsync-0_uid";
const PLAIN: &str = "/plain/app.log";
const START: u64 = 1_800_000_000_000_000_000;

/// One thing that happens to the files, or to us.
#[derive(Clone, Debug)]
enum Op {
    /// Lines, and whether the last one stays without its newline.
    Write { bytes: usize, partial: bool },
    /// Kubelet renames (and compresses and deletes older ones), or logrotate does.
    Rotate,
    /// The runtime opens a new file (plain: the program does).
    Reopen,
    /// The runtime flushes what it still had for the file before.
    WriteLate { bytes: usize },
    /// The container starts again; files of the run before the last one are deleted.
    Restart,
    /// Copies the live file; the truncation follows with the next `Truncate`.
    Copy { complete: bool },
    /// Truncates in place.
    Truncate,
    /// Compresses rotated files.
    Compress,
    /// Removes the oldest rotated file.
    RemoveOldest,
    /// Time passes.
    Wait { millis: u64 },
    /// We look.
    Poll { scan: bool },
    /// We do a few steps.
    Step { count: usize },
    /// We are killed, and lose what was not logged yet.
    Crash { lost: usize },
}

struct Simulation {
    disk: SimulatedDisk,
    plain: bool,
    replay: Replay,
    engine: Option<Engine<SimulatedDisk>>,
    now: Now,
    covered: Arc<Mutex<HashMap<FileKey, u64>>>,
    collected: BTreeMap<FileKey, Vec<u8>>,
    /// In the order in which their first bytes came.
    begun: Vec<FileKey>,
    steps: Vec<String>,
    stories: Vec<Vec<u8>>,
    /// Stories of which something was out of reach before we could see it.
    lost: Vec<bool>,
    restart: u32,
    writer: Option<Handle>,
    before: Option<Handle>,
    stamp: u32,
    lines: usize,
    /// A copy is being made: logrotate does nothing else meanwhile.
    copying: bool,
    replaying: Option<FileKey>,
}

impl Simulation {
    fn new(plain: bool, replay: Replay) -> Self {
        let mut simulation = Self {
            disk: SimulatedDisk::default(),
            plain,
            replay,
            engine: None,
            now: Now {
                at: Duration::ZERO,
                wall: UnixNanos(START),
            },
            covered: Arc::default(),
            collected: BTreeMap::new(),
            begun: Vec::new(),
            steps: Vec::new(),
            stories: Vec::new(),
            lost: Vec::new(),
            restart: 0,
            writer: None,
            before: None,
            stamp: 0,
            lines: 0,
            copying: false,
            replaying: None,
        };
        simulation.disk.set_wall(simulation.now.wall);
        simulation.disk.make_directory(Path::new("/plain"));
        simulation.start();
        // What was rotated before the first look is history.
        simulation.apply(&Op::Poll { scan: true });
        simulation.drain();
        simulation
    }

    fn start(&mut self) {
        let mut settings = Settings::default();
        if self.plain {
            settings.files.push(PlainSettings {
                path: PathBuf::from(PLAIN),
                replay: self.replay,
                ..PlainSettings::default()
            });
        } else {
            settings.pods.push(PodSettings {
                directory: PathBuf::from(POD),
                replay: BTreeMap::from([("rsync".to_owned(), self.replay)]),
                ..PodSettings::default()
            });
        }
        let state = self.disk.state();
        let generations = state.map(|state| Generations::parse(&state).unwrap());
        let covered = Arc::clone(&self.covered);
        let engine = Engine::new(
            &settings,
            self.disk.clone(),
            Arc::new(Mutex::new(generations.unwrap_or_default())),
            move |key| Resume {
                from: covered.lock().unwrap().get(&key).copied().unwrap_or(0),
            },
            Metrics::new(&prometheus::Registry::new()).unwrap(),
        );
        self.engine = Some(engine.unwrap());
    }

    fn live(&self) -> PathBuf {
        if self.plain {
            PathBuf::from(PLAIN)
        } else {
            Path::new(POD).join(format!("rsync/{}.log", self.restart))
        }
    }

    fn new_story(&mut self) -> Story {
        self.stories.push(Vec::new());
        self.lost.push(false);
        self.stories.len() - 1
    }

    fn open_writer(&mut self) {
        if !self.plain {
            self.disk.make_directory(Path::new(POD));
            self.disk.make_directory(&Path::new(POD).join("rsync"));
        }
        let story = self.new_story();
        self.before = self.writer.take();
        self.writer = Some(self.disk.create(&self.live(), story, b""));
    }

    fn write(&mut self, to: &Handle, bytes: usize, partial: bool) {
        let story = to.borrow().story;
        let mut text = Vec::new();
        if self.stories[story].is_empty() {
            text.extend_from_slice(format!("{story:08}").as_bytes());
        }
        while text.len() < bytes {
            self.lines += 1;
            let text_left = bytes - text.len();
            text.extend_from_slice(
                format!(" {} {}", self.lines, "x".repeat(text_left / 2)).as_bytes(),
            );
            text.push(b'\n');
        }
        if partial && text.ends_with(b"\n") {
            text.pop();
        } else if !partial && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        self.disk.append(to, &text);
        self.stories[story].extend_from_slice(&text);
    }

    /// What nothing leads to any more, and is not handed out, cannot be asked for.
    fn note_losses(&mut self) {
        let writers: Vec<&Handle> = self.writer.iter().chain(&self.before).collect();
        for story in 0..self.stories.len() {
            if !self.disk.is_reachable(story, &writers) {
                let text = &self.stories[story];
                self.lost[story] |= !self.collected.values().any(|got| got == text);
            }
        }
    }

    fn rotated(&self, newest_first: bool) -> Vec<PathBuf> {
        let live = self.live();
        let mut names: Vec<PathBuf> = self.disk.names();
        names.retain(|name| *name != live && name.parent() == live.parent());
        if self.plain == newest_first {
            return names;
        }
        names.reverse();
        names
    }

    fn rotate(&mut self) {
        if self.disk.get(&self.live()).is_none() {
            return;
        }
        if self.plain {
            self.disk.remove(Path::new("/plain/app.log.3.gz"));
            for number in (1..=2).rev() {
                for end in ["", ".gz"] {
                    let from = PathBuf::from(format!("{PLAIN}.{number}{end}"));
                    let to = PathBuf::from(format!("{PLAIN}.{}{end}", number + 1));
                    self.disk.rename(&from, &to);
                }
            }
            self.disk
                .rename(Path::new(PLAIN), Path::new("/plain/app.log.1"));
        } else {
            self.compress();
            self.stamp += 1;
            let stamp = format!("{}.20260131-{:06}", self.live().display(), self.stamp);
            self.disk.rename(&self.live(), Path::new(&stamp));
        }
        self.note_losses();
    }

    /// Of plain files the newest rotated one stays plain, as logrotate's `delaycompress` does.
    fn compress(&mut self) {
        let before = self.before.as_ref().map(|node| node.borrow().story);
        let writer = self.writer.as_ref().map(|node| node.borrow().story);
        for name in self.rotated(true) {
            let node = self.disk.get(&name).unwrap();
            let story = Some(node.borrow().story);
            let compressed = node.borrow().gzip;
            let written = story == writer || (story == before && !self.plain);
            let newest = self.plain && name.ends_with("app.log.1");
            let rotated = name.to_str().unwrap().contains(".log.");
            if rotated && !compressed && !written && !newest {
                drop(node);
                self.disk.compress(&name);
            }
        }
        self.note_losses();
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Rotate | Op::Reopen | Op::Compress | Op::RemoveOldest if self.copying => {}
            Op::Write { bytes, partial } => {
                if self.writer.is_none() {
                    self.open_writer();
                }
                let writer = self.writer.clone().unwrap();
                self.write(&writer, bytes, partial);
            }
            Op::Rotate => self.rotate(),
            Op::Reopen => {
                if self.disk.get(&self.live()).is_none() {
                    self.open_writer();
                }
            }
            Op::WriteLate { bytes } => {
                if let Some(before) = self.before.clone() {
                    let story = before.borrow().story;
                    let line_end = before.borrow().content.contains(&b'\n');
                    if line_end && self.disk.is_named(story) {
                        self.write(&before, bytes, false);
                    }
                }
            }
            Op::Restart if self.plain => {}
            Op::Restart => {
                self.restart += 1;
                self.open_writer();
                self.before = None;
                if let Some(old) = self.restart.checked_sub(2) {
                    let prefix = format!("{POD}/rsync/{old}.log");
                    for name in self.disk.names() {
                        if name.to_str().unwrap().starts_with(&prefix) {
                            self.disk.remove(&name);
                        }
                    }
                }
                self.note_losses();
            }
            Op::Copy { complete } => self.copy(complete),
            Op::Truncate => self.truncate(),
            Op::Compress => self.compress(),
            Op::RemoveOldest => {
                if let Some(oldest) = self.rotated(false).first() {
                    self.disk.remove(oldest);
                    self.note_losses();
                }
            }
            Op::Wait { millis } => self.wait(millis),
            Op::Poll { scan } => self.engine.as_mut().unwrap().poll(scan),
            Op::Step { count } => {
                for _ in 0..count {
                    self.step();
                }
            }
            Op::Crash { lost } => self.crash(lost),
        }
    }

    fn copy(&mut self, complete: bool) {
        let Some(live) = self.disk.get(&self.live()).filter(|_| self.plain) else {
            return;
        };
        let (story, content) = (live.borrow().story, live.borrow().content.clone());
        drop(live);
        let target = Path::new("/plain/app.log.1");
        if !std::mem::replace(&mut self.copying, true) {
            self.rename_siblings();
        }
        let part = if complete {
            content.len()
        } else {
            content.len() / 2
        };
        match self.disk.get(target) {
            Some(copy) => {
                let done = copy.borrow().content.len();
                self.disk.append(&copy, &content[done.min(part)..part]);
            }
            None => drop(self.disk.create(target, story, &content[..part])),
        }
        self.note_losses();
    }

    fn rename_siblings(&self) {
        self.disk.remove(Path::new("/plain/app.log.3.gz"));
        for number in (1..=2).rev() {
            for end in ["", ".gz"] {
                let from = PathBuf::from(format!("{PLAIN}.{number}{end}"));
                let to = PathBuf::from(format!("{PLAIN}.{}{end}", number + 1));
                self.disk.rename(&from, &to);
            }
        }
    }

    fn truncate(&mut self) {
        let Some(live) = self.disk.get(&self.live()) else {
            return;
        };
        let story = live.borrow().story;
        if self.plain {
            if !self.copying {
                return;
            }
            self.copy(true);
            self.copying = false;
        }
        let next = self.new_story();
        self.disk.truncate(&live, next);
        self.lost[story] |= !self.plain;
        self.note_losses();
    }

    fn wait(&mut self, millis: u64) {
        self.now.at += Duration::from_millis(millis);
        self.now.wall = self.now.wall.plus(millis * 1_000_000);
        self.disk.set_wall(self.now.wall);
    }

    /// Does one step; answers whether there is more to do.
    fn step(&mut self) -> bool {
        let engine = self.engine.as_mut().unwrap();
        let step = engine.step(self.now);
        engine.take_opened();
        let mut said = format!("{step:?}");
        said.truncate(300);
        self.steps.push(said);
        match step {
            Step::Wait(_) => return false,
            Step::Chunk(chunk) => {
                let bytes = engine.bytes(&chunk).to_vec();
                let from = self.covered.lock().unwrap().get(&chunk.file.key).copied();
                let got = self.collected.entry(chunk.file.key).or_default();
                let end = chunk.offset + bytes.len() as u64;
                if chunk.replayed {
                    assert!(end <= from.unwrap_or(0), "replayed beyond what is covered");
                    let range =
                        usize::try_from(chunk.offset).unwrap()..usize::try_from(end).unwrap();
                    let line = range.start == 0 || got[range.start - 1] == b'\n';
                    assert!(
                        line || self.replaying == Some(chunk.file.key),
                        "replay begins in a line"
                    );
                    assert_eq!(got[range], bytes, "replayed bytes differ");
                    self.replaying = Some(chunk.file.key);
                } else {
                    assert_eq!(chunk.offset, got.len() as u64, "gap or repetition");
                    if got.is_empty() && !self.begun.contains(&chunk.file.key) {
                        self.begun.push(chunk.file.key);
                    }
                    got.extend_from_slice(&bytes);
                }
            }
            Step::FileEnded(ended) => {
                assert_ne!(ended.reason, EndReason::Damaged);
                let got = self.collected.get(&ended.file.key).map_or(0, Vec::len);
                assert!(ended.end <= got as u64, "ended behind what was handed out");
            }
            Step::Trouble(trouble) => panic!("trouble: {trouble:?}"),
            _ => {}
        }
        true
    }

    fn drain(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 10_000, "the engine does not come to rest");
        }
    }

    fn crash(&mut self, lost: usize) {
        self.engine = None;
        self.replaying = None;
        let mut covered = self.covered.lock().unwrap();
        for (key, got) in &mut self.collected {
            // What was covered before stays covered.
            let before = covered.get(key).copied().unwrap_or(0);
            let keep = got
                .len()
                .saturating_sub(lost)
                .max(usize::try_from(before).unwrap());
            got.truncate(keep);
            covered.insert(*key, keep as u64);
        }
        drop(covered);
        self.note_losses();
        self.start();
    }

    /// Lets everything come to rest and compares.
    fn finish(&mut self) {
        if self.copying {
            self.apply(&Op::Truncate);
        }
        // A file without a complete first line has no key yet, and in the middle of a line there is no
        // going back to an older file.
        if let Some(writer) = self.writer.clone()
            && !writer.borrow().content.ends_with(b"\n")
        {
            self.write(&writer, 1, false);
        }
        self.note_losses();
        for _ in 0..12 {
            self.wait(300);
            self.engine.as_mut().unwrap().poll(true);
            self.drain();
        }
        let mut owners: Vec<Option<FileKey>> = vec![None; self.stories.len()];
        for (key, got) in &self.collected {
            if got.is_empty() {
                continue;
            }
            let number = std::str::from_utf8(&got[..got.len().min(8)]).unwrap();
            let story: Story = number.parse().unwrap();
            let story = if got.len() >= 8 { story } else { continue };
            assert_eq!(
                owners[story], None,
                "story {story} handed out under two keys"
            );
            owners[story] = Some(*key);
        }
        for (story, text) in self.stories.iter().enumerate() {
            let got = owners[story].map(|key| &self.collected[&key]);
            let got = got.map(Vec::as_slice).unwrap_or_default();
            if self.lost[story] {
                assert!(text.starts_with(got), "story {story}: something else");
            } else {
                assert_eq!(got.len(), text.len(), "story {story}: bytes");
                assert!(got == text, "story {story}: something else");
            }
        }
        let order: Vec<Option<Story>> = self
            .begun
            .iter()
            .map(|key| owners.iter().position(|owner| *owner == Some(*key)))
            .collect();
        assert!(
            order.iter().flatten().is_sorted(),
            "order of files: {order:?}"
        );
    }

    fn run(plain: bool, replay: Replay, ops: &[Op]) {
        let mut simulation = Self::new(plain, replay);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for op in ops {
                simulation.steps.push(format!("--- {op:?}"));
                simulation.apply(op);
                simulation.note_losses();
            }
            simulation.finish();
        }));
        if let Err(panic) = outcome {
            println!("files: {:?}", simulation.disk.names());
            println!(
                "lost: {:?}\n{}",
                simulation.lost,
                simulation.steps.join("\n")
            );
            std::panic::resume_unwind(panic);
        }
    }
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1_usize..400, 2 => 400_usize..5000, 1 => 60_000_usize..300_000]
}

fn common() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (size(), prop::bool::weighted(0.15))
            .prop_map(|(bytes, partial)| Op::Write { bytes, partial }),
        4 => any::<bool>().prop_map(|scan| Op::Poll { scan }),
        4 => (1_usize..8).prop_map(|count| Op::Step { count }),
        2 => (1_u64..1500).prop_map(|millis| Op::Wait { millis }),
        1 => prop_oneof![Just(0), 1_usize..500].prop_map(|lost| Op::Crash { lost }),
        2 => Just(Op::Rotate),
        3 => Just(Op::Reopen),
        1 => Just(Op::RemoveOldest),
        1 => Just(Op::Compress),
    ]
}

fn cri_ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => common(),
        1 => (1_usize..400).prop_map(|bytes| Op::WriteLate { bytes }),
        1 => Just(Op::Restart),
        1 => Just(Op::Truncate),
    ];
    prop::collection::vec(op, 1..60)
}

fn plain_ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => common(),
        2 => any::<bool>().prop_map(|complete| Op::Copy { complete }),
        2 => Just(Op::Truncate),
    ];
    prop::collection::vec(op, 1..60)
}

fn replay() -> impl Strategy<Value = Replay> {
    prop_oneof![
        2 => Just(Replay::None),
        1 => Just(Replay::All),
        1 => (0_u64..1000).prop_map(Replay::Bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_of_a_container_is_handed_out_exactly_once(ops in cri_ops(), replay in replay()) {
        Simulation::run(false, replay, &ops);
    }

    #[test]
    fn every_byte_of_a_plain_file_is_handed_out_exactly_once(ops in plain_ops(), replay in replay()) {
        Simulation::run(true, replay, &ops);
    }
}
