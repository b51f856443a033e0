//! The tailer on the real file system. The clock is paused, so waiting for a poll costs nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use in_tail::identity::file_key;
use in_tail::{
    EndReason, Event, FileSet, Metrics, PlainSettings, PodSettings, ReadError, Replay, Resume,
    Settings, Tailer,
};
use model::ids::FileKey;
use model::line::Extent;
use prometheus::Registry;
use tempfile::TempDir;

/// What a head would know.
#[derive(Default)]
struct Head {
    bytes: BTreeMap<FileKey, Vec<u8>>,
    order: Vec<FileKey>,
    replayed: usize,
    said: Vec<String>,
}

impl Head {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Chunk(chunk) => {
                let got = self.bytes.entry(chunk.file.key).or_default();
                if chunk.replayed {
                    self.replayed += chunk.bytes.len();
                } else {
                    assert_eq!(chunk.offset, got.len() as u64, "gap or repetition");
                    got.extend_from_slice(chunk.bytes);
                }
            }
            Event::FileOpened(opened) => {
                if !self.order.contains(&opened.file.key) {
                    self.order.push(opened.file.key);
                }
                let got = self.bytes.entry(opened.file.key).or_default();
                let from = usize::try_from(opened.from).unwrap();
                got.resize(got.len().max(from), b'?');
                self.said.push(format!("opened {}", opened.start));
            }
            Event::FileEnded(ended) => {
                self.said
                    .push(format!("ended {:?} {}", ended.reason, ended.end));
            }
            Event::RestartSeen { restart, .. } => self.said.push(format!("restart {restart}")),
            Event::ContainerFound { info, .. } => self.said.push(format!("found {}", info.name)),
            Event::ContainerEnded { .. } => self.said.push("container ended".to_owned()),
            Event::Trouble(trouble) => self.said.push(format!("trouble {}", trouble.error)),
            Event::Idle => {}
        }
    }

    /// In the order of opening.
    fn text(&self) -> String {
        let bytes = self.order.iter().flat_map(|key| &self.bytes[key]);
        String::from_utf8_lossy(&bytes.copied().collect::<Vec<u8>>()).into_owned()
    }

    fn only(&self) -> (FileKey, &[u8]) {
        assert_eq!(self.order.len(), 1, "{:?}", self.said);
        (self.order[0], &self.bytes[&self.order[0]])
    }

    fn covered(&self) -> BTreeMap<FileKey, u64> {
        let covered = self.bytes.iter();
        covered.map(|(key, got)| (*key, got.len() as u64)).collect()
    }
}

struct Pod {
    root: TempDir,
    registry: Registry,
    covered: Arc<Mutex<BTreeMap<FileKey, u64>>>,
    replay: Replay,
}

impl Pod {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            registry: Registry::new(),
            covered: Arc::default(),
            replay: Replay::None,
        }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("emco_rsync-0_uid")
    }

    fn plain(&self) -> PathBuf {
        self.root.path().join("app.log")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        append(&self.path(name), text.as_ref());
    }

    fn tailer_of(&self, settings: Settings) -> Tailer {
        let covered = Arc::clone(&self.covered);
        let resume = move |key: FileKey| Resume {
            from: covered.lock().unwrap().get(&key).copied().unwrap_or(0),
        };
        let metrics = Metrics::new(&self.registry).unwrap();
        Tailer::open(settings, resume, metrics).unwrap()
    }

    fn tailer(&self) -> Tailer {
        let pod = PodSettings {
            directory: self.directory(),
            replay: BTreeMap::from([("rsync".to_owned(), self.replay)]),
            ..PodSettings::default()
        };
        self.tailer_of(Settings {
            pods: vec![pod],
            ..Settings::default()
        })
    }

    fn plain_tailer(&self) -> Tailer {
        let plain = PlainSettings {
            path: self.plain(),
            ..PlainSettings::default()
        };
        self.tailer_of(Settings {
            files: vec![plain],
            state: Some(self.root.path().join("plain.json")),
            ..Settings::default()
        })
    }

    /// We are killed and start again, with what `head` has seen covered.
    fn restart_with(&mut self, head: &Head) {
        *self.covered.lock().unwrap() = head.covered();
        self.registry = Registry::new();
    }

    fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric().to_vec());
        let mut metrics = metrics.unwrap_or_default().into_iter();
        let found = metrics.find(|metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        });
        found.map_or(0.0, |metric| metric.get_counter().get_value())
    }
}

fn lines(count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|line| format!("line {line}\n")).collect();
    lines.concat()
}

fn append(path: &Path, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text).unwrap();
}

fn compress(path: &Path) {
    let target = PathBuf::from(format!("{}.gz", path.display()));
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(File::create(target).unwrap(), level);
    std::io::copy(&mut File::open(path).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(path).unwrap();
}

/// Takes events until `done`; the clock is paused, so a minute is an answer.
async fn until(tailer: &mut Tailer, head: &mut Head, what: &str, done: impl Fn(&Head) -> bool) {
    let wait = async {
        while !done(head) {
            let event = tailer.next().await;
            head.take(event);
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), wait).await;
    assert!(waited.is_ok(), "waiting for {what}: {:?}", head.said);
}

async fn until_text(tailer: &mut Tailer, head: &mut Head, text: &str) {
    until(tailer, head, text, |head| head.text() == text).await;
}

fn extent(offset: u64, bytes: usize) -> Extent {
    Extent {
        offset,
        bytes: u32::try_from(bytes).unwrap(),
    }
}

fn read(files: &FileSet, key: FileKey, offset: u64, bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut into = b"kept".to_vec();
    files.read(key, extent(offset, bytes), &mut into)?;
    Ok(into.split_off(4))
}

#[tokio::test(start_paused = true)]
async fn a_record_split_by_rotation_comes_in_order() {
    let pod = Pod::new();
    let part = "2026-01-31T10:00:00.1Z stderr P begin of \n";
    let rest = "2026-01-31T10:00:00.1Z stderr F a line\n";
    pod.write("rsync/0.log", part);
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, part).await;
    let rotated = pod.path("rsync/0.log.20260131-100000");
    fs::rename(pod.path("rsync/0.log"), &rotated).unwrap();
    // Between rename and reopen the runtime still writes to the renamed file.
    append(&rotated, b"late\n");
    pod.write("rsync/0.log", rest);
    until_text(&mut tailer, &mut head, &format!("{part}late\n{rest}")).await;
    assert!(
        head.said
            .contains(&format!("ended Rotated {}", part.len() + 5)),
        "{:?}",
        head.said
    );
    assert_eq!(head.order[0], file_key("uid", "rsync", 0, part.as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_container_is_read_after_its_end() {
    let pod = Pod::new();
    fs::create_dir(pod.directory()).unwrap();
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until(&mut tailer, &mut head, "rest", |_| true).await;
    pod.write("init/0.log", "a\n");
    pod.write("init/1.log", "b\n");
    pod.write("init/2.log", "c\n");
    until_text(&mut tailer, &mut head, "a\nb\nc\n").await;
    assert!(
        head.said.contains(&"restart 2".to_owned()),
        "{:?}",
        head.said
    );
}

#[tokio::test(start_paused = true)]
async fn a_directory_may_come_later() {
    let pod = Pod::new();
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    let early = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let event = tailer.next().await;
            head.take(event);
        }
    });
    early.await.unwrap_err();
    assert!(head.said.is_empty(), "{:?}", head.said);
    pod.write("rsync/0.log", "a\n");
    until_text(&mut tailer, &mut head, "a\n").await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_listed_is_said_once_and_tried_again() {
    let pod = Pod::new();
    append(&pod.directory(), b"a file in place of the directory");
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    let troubled = |head: &Head| {
        head.said
            .iter()
            .any(|said| said.starts_with("trouble listing"))
    };
    until(&mut tailer, &mut head, "trouble", troubled).await;
    fs::remove_file(pod.directory()).unwrap();
    pod.write("rsync/0.log", "a\n");
    until_text(&mut tailer, &mut head, "a\n").await;
    let troubles = head.said.iter().filter(|said| said.starts_with("trouble"));
    assert_eq!(troubles.count(), 1, "{:?}", head.said);
    assert!(pod.metric("emco_observer_tail_events_total", "unreadable") >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_partial_last_line_is_not_lost_by_our_restart() {
    let mut pod = Pod::new();
    pod.write("rsync/0.log", "first\nno newline y");
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, "first\nno newline y").await;
    drop(tailer);
    // Only whole lines are covered.
    head.bytes.values_mut().for_each(|got| got.truncate(6));
    pod.restart_with(&head);
    pod.write("rsync/0.log", "et\n");
    let mut tailer = pod.tailer();
    until_text(&mut tailer, &mut head, "first\nno newline yet\n").await;
    assert_eq!(head.replayed, 0);
}

#[tokio::test(start_paused = true)]
async fn evidence_is_read_again_and_marked() {
    let mut pod = Pod::new();
    pod.write("rsync/0.log.20260131-100000", "one\ntwo\n");
    pod.write("rsync/0.log", "three\n");
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, "one\ntwo\nthree\n").await;
    drop(tailer);
    pod.restart_with(&head);
    // Six bytes more than the live file: the last line of the file before, and half of a line that is
    // left out.
    pod.replay = Replay::Bytes(12);
    pod.write("rsync/0.log", "four\n");
    head.said.clear();
    let mut tailer = pod.tailer();
    until_text(&mut tailer, &mut head, "one\ntwo\nthree\nfour\n").await;
    assert_eq!(head.replayed, 10, "{:?}", head.said);
    assert!(
        head.said.contains(&"opened 4".to_owned()),
        "{:?}",
        head.said
    );
}

#[tokio::test(start_paused = true)]
async fn a_gzip_is_resumed_at_its_uncompressed_offset() {
    let mut pod = Pod::new();
    let text = lines(20_000);
    let (early, late) = text.split_at(100_000);
    pod.write("rsync/0.log", early);
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, early).await;
    drop(tailer);
    pod.restart_with(&head);
    // While we are down: the rest is written, and the file rotated and compressed.
    pod.write("rsync/0.log", late);
    let rotated = pod.path("rsync/0.log.20260131-100000");
    fs::rename(pod.path("rsync/0.log"), &rotated).unwrap();
    compress(&rotated);
    pod.write("rsync/0.log", "new\n");
    let mut tailer = pod.tailer();
    until_text(&mut tailer, &mut head, &format!("{text}new\n")).await;
    drop(tailer);
    // What is complete is not opened again.
    pod.restart_with(&head);
    head.said.clear();
    let mut tailer = pod.tailer();
    let event = tailer.next().await;
    head.take(event);
    until(&mut tailer, &mut head, "the live file", |head| {
        head.said.len() > 1
    })
    .await;
    assert_eq!(head.said, ["found rsync", "opened 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_gzip_ends_with_a_sentence_and_the_rest_goes_on() {
    let pod = Pod::new();
    let rotated = pod.path("rsync/0.log.20260131-100000");
    let text = lines(50_000);
    append(&rotated, text.as_bytes());
    compress(&rotated);
    let damaged = pod.path("rsync/0.log.20260131-100000.gz");
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    pod.write("rsync/0.log", "new\n");
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    let both = |head: &Head| head.order.len() == 2 && head.text().ends_with("new\n");
    until(&mut tailer, &mut head, "the live file", both).await;
    assert!(text.starts_with(head.text().strip_suffix("new\n").unwrap()));
    let damaged = format!("ended {:?}", EndReason::Damaged);
    assert!(
        head.said.iter().any(|said| said.starts_with(&damaged)),
        "{:?}",
        head.said
    );
    assert!(pod.metric("emco_observer_tail_events_total", "damaged") >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_read_to_its_end() {
    let pod = Pod::new();
    pod.write("rsync/0.log", "a\n");
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, "a\n").await;
    pod.write("rsync/0.log", "last words\n");
    fs::remove_dir_all(pod.directory()).unwrap();
    let ended = |head: &Head| head.said.contains(&"container ended".to_owned());
    until(&mut tailer, &mut head, "the end", ended).await;
    assert_eq!(head.text(), "a\nlast words\n");
    // Lanes that are behind still read it.
    let (key, text) = head.only();
    assert_eq!(read(&tailer.files(), key, 0, text.len()).unwrap(), text);
}

#[tokio::test(start_paused = true)]
async fn nul_bytes_and_a_line_longer_than_any_buffer_come_as_they_are() {
    let pod = Pod::new();
    let mut text = vec![0_u8; 3_000_000];
    text.iter_mut().step_by(7).for_each(|byte| *byte = b'x');
    text.extend_from_slice(b"\nend\n");
    pod.write("rsync/0.log", &text);
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    let all = |head: &Head| head.bytes.values().any(|got| got.len() == text.len());
    until(&mut tailer, &mut head, "all of it", all).await;
    let (key, got) = head.only();
    assert!(got == text);
    assert_eq!(key, file_key("uid", "rsync", 0, &text));
    assert!(read(&tailer.files(), key, 0, text.len()).unwrap() == text);
}

#[tokio::test(start_paused = true)]
async fn a_plain_file_is_followed_through_copytruncate_and_our_restart() {
    let mut pod = Pod::new();
    append(&pod.plain(), b"one\n");
    let (mut tailer, mut head) = (pod.plain_tailer(), Head::default());
    until_text(&mut tailer, &mut head, "one\n").await;
    // Not read yet when it is copied and truncated.
    append(&pod.plain(), b"two\n");
    fs::copy(pod.plain(), pod.root.path().join("app.log.1")).unwrap();
    fs::write(pod.plain(), b"").unwrap();
    append(&pod.plain(), b"three\n");
    until_text(&mut tailer, &mut head, "one\ntwo\nthree\n").await;
    // A lane that is behind gets the old bytes, not those at the same place now.
    let files = tailer.files();
    assert_eq!(read(&files, head.order[0], 0, 4).unwrap(), b"one\n");
    assert_eq!(read(&files, head.order[1], 0, 6).unwrap(), b"three\n");
    drop(tailer);
    pod.restart_with(&head);
    append(&pod.plain(), b"four\n");
    let mut tailer = pod.plain_tailer();
    until_text(&mut tailer, &mut head, "one\ntwo\nthree\nfour\n").await;
    let files = tailer.files();
    assert_eq!(read(&files, head.order[0], 4, 4).unwrap(), b"two\n");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_file_means_reading_plain_files_again() {
    let mut pod = Pod::new();
    append(&pod.plain(), b"one\n");
    let (mut tailer, mut head) = (pod.plain_tailer(), Head::default());
    until_text(&mut tailer, &mut head, "one\n").await;
    drop(tailer);
    pod.restart_with(&head);
    fs::write(pod.root.path().join("plain.json"), b"\0\0{").unwrap();
    let (mut tailer, mut again) = (pod.plain_tailer(), Head::default());
    until_text(&mut tailer, &mut again, "one\n").await;
    assert_ne!(again.order, head.order);
}

#[tokio::test(start_paused = true)]
async fn at_rest_the_tailer_wakes_every_five_seconds() {
    let pod = Pod::new();
    pod.write("rsync/0.log", "a\n");
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, "a\n").await;
    for settling in [true, false] {
        let before = pod.metric("emco_observer_tail_polls_total", "");
        let minute = tokio::time::timeout(Duration::from_mins(1), async {
            loop {
                let event = tailer.next().await;
                head.take(event);
            }
        });
        minute.await.unwrap_err();
        let polls = pod.metric("emco_observer_tail_polls_total", "") - before;
        assert!(
            settling || (11.0..=13.0).contains(&polls),
            "{polls} polls in a minute"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_nothing() {
    let pod = Pod::new();
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    let mut expected = String::new();
    for line in 0..50 {
        let text = format!("line {line}\n");
        pod.write("rsync/0.log", &text);
        expected.push_str(&text);
        for _ in 0..20 {
            let moment = Duration::from_millis(17);
            if let Ok(event) = tokio::time::timeout(moment, tailer.next()).await {
                head.take(event);
            }
        }
    }
    until_text(&mut tailer, &mut head, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn files_are_read_again_by_key_whatever_became_of_them() {
    let mut pod = Pod::new();
    let text = lines(30_000);
    pod.write("rsync/0.log", &text);
    let (mut tailer, mut head) = (pod.tailer(), Head::default());
    until_text(&mut tailer, &mut head, &text).await;
    let (key, _) = head.only();
    let all = |files: &FileSet| {
        let mut offset = 0;
        for line in text.lines() {
            let expected = format!("{line}\n");
            let got = read(files, key, offset, expected.len()).unwrap();
            assert_eq!(got, expected.as_bytes(), "at {offset}");
            offset += expected.len() as u64;
        }
    };
    all(&tailer.files());
    let rotated = pod.path("rsync/0.log.20260131-100000");
    fs::rename(pod.path("rsync/0.log"), &rotated).unwrap();
    all(&tailer.files());
    compress(&rotated);
    all(&tailer.files());
    drop(tailer);
    // After our restart nothing is open: it is found by its key, compressed.
    pod.restart_with(&head);
    let tailer = pod.tailer();
    all(&tailer.files());
    let behind = read(&tailer.files(), key, text.len() as u64, 1);
    assert!(matches!(behind, Err(ReadError::Gone { .. })), "{behind:?}");
    all(&tailer.files());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_said_to_be_gone() {
    let pod = Pod::new();
    let tailer = pod.tailer();
    let files = tailer.files();
    let mut into = b"kept".to_vec();
    for bytes in [10, 4_000_000_000] {
        let gone = files.read(FileKey([7; 16]), extent(0, bytes), &mut into);
        assert!(matches!(gone, Err(ReadError::Gone { .. })), "{gone:?}");
        assert_eq!(into, b"kept");
    }
    assert!(pod.metric("emco_observer_tail_events_total", "gone") >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn released_files_are_closed_and_the_bound_on_open_files_holds() {
    let pod = Pod::new();
    for restart in 0..8 {
        pod.write(
            &format!("rsync/{restart}.log"),
            format!("restart {restart}\n"),
        );
    }
    let settings = Settings {
        pods: vec![PodSettings {
            directory: pod.directory(),
            ..PodSettings::default()
        }],
        open_files_max: 3,
        ..Settings::default()
    };
    let (mut tailer, mut head) = (pod.tailer_of(settings), Head::default());
    until(&mut tailer, &mut head, "all", |head| head.order.len() == 8).await;
    until(&mut tailer, &mut head, "the last", |head| {
        head.text().ends_with("7\n")
    })
    .await;
    let files = tailer.files();
    for round in 0..2 {
        for (restart, key) in head.order.iter().enumerate() {
            let expected = format!("restart {restart}\n");
            let got = read(&files, *key, 0, expected.len()).unwrap();
            assert_eq!(got, expected.as_bytes(), "round {round}");
        }
    }
    let descriptors = || {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        let links = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links
            .filter(|link| link.starts_with(pod.directory()))
            .count()
    };
    // Three of the set, and the one that is followed (the same as one of the three or not).
    assert!(descriptors() <= 4, "{}", descriptors());
    files.retain(|_| false);
    assert_eq!(descriptors(), 1);
    files.release(head.order[7]);
    assert_eq!(read(&files, head.order[0], 0, 7).unwrap(), b"restart");
}

#[tokio::test(start_paused = true)]
async fn what_goes_first_goes_first() {
    let pod = Pod::new();
    let long = "x".repeat(600_000);
    pod.write("app/0.log", format!("{long}\n"));
    pod.write("proxy/0.log", format!("{long}\n"));
    let settings = Settings {
        pods: vec![PodSettings {
            directory: pod.directory(),
            first: vec!["proxy".to_owned()],
            exclude: vec!["other".to_owned()],
            ..PodSettings::default()
        }],
        ..Settings::default()
    };
    let (mut tailer, mut head) = (pod.tailer_of(settings), Head::default());
    until(&mut tailer, &mut head, "both", |head| {
        head.text().len() == 1_200_002
    })
    .await;
    assert_eq!(head.order[0], file_key("uid", "proxy", 0, long.as_bytes()));
}

#[test]
fn a_tailer_may_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    fn check(tailer: &mut Tailer) {
        is_send(tailer.files());
        is_send(tailer.next());
    }
    let _: fn(&mut Tailer) = check;
}

#[tokio::test]
async fn a_directory_without_identity_is_refused_with_what_to_do() {
    let settings = Settings {
        pods: vec![PodSettings {
            directory: PathBuf::from("/var/log/mine"),
            ..PodSettings::default()
        }],
        ..Settings::default()
    };
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let error = Tailer::open(settings, |_| Resume::default(), metrics)
        .err()
        .unwrap();
    assert!(error.to_string().contains("set `identity`"), "{error}");
}
