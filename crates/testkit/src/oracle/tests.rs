//! The oracle on trial: small shippers, sound and with one bug each, in a world that kills them at
//! random moments. The sound one must come out clean, every bug must be seen.

use super::*;

const LINES: usize = 600;
const ROTATE: usize = 100;
/// Characters of a message that a buffer too small has room for.
const SHORT: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The receiver says "got it" before it has it.
    AckBeforeCommit,
    /// The checkpoint is written when lines are read, not when they are acknowledged.
    CheckpointAheadOfAck,
    /// Positions are kept by inode number, and the system gives numbers out again.
    IdentityByInode,
    /// A line's id depends on when it was read.
    IdFromReadTime,
    /// A line that is long for its buffer loses its end.
    TextTruncated,
    /// A line loses its beginning.
    HeadLost,
}

/// A log file; its key comes from its content, its inode number from the system.
struct LogFile {
    key: String,
    inode: usize,
    lines: Vec<String>,
    /// What a document of each line says.
    messages: Vec<String>,
}

/// Stores a document once per id, like `create` of the bulk interface.
#[derive(Default)]
struct Store {
    ids: HashSet<String>,
    documents: Vec<StoredLine>,
}

struct Shipper {
    bug: Bug,
    random: fastrand::Rng,
    clock: usize,
    /// Next line, by the identity of the file.
    checkpoint: HashMap<String, usize>,
    store: Store,
}

/// Line `n` in one of the dialects, and its message.
fn line(n: usize) -> (String, String) {
    let text = format!("line {n}");
    match n % 6 {
        0 => (format!("2026/11/23 04:09:37 {text}"), text),
        1 => (
            format!("W1123 04:09:37.558597   13473 reflector.go:324] {text}"),
            text,
        ),
        2 => {
            let request = format!("GET /v2/{n} HTTP/1.1");
            let date = "23/Nov/2026:04:09:37 +0000";
            (format!("::1 - - [{date}] \"{request}\" 200 2"), request)
        }
        3 => (
            format!(r#"{{"level":"info","msg":"{text}","time":"2026-11-23T04:09:37Z"}}"#),
            text,
        ),
        4 => {
            let broken = format!(r#"{{"level":"info","msg":"{text}","ti"#);
            (broken.clone(), broken)
        }
        _ => (text.clone(), text),
    }
}

fn world() -> (Vec<LogFile>, Expected) {
    let (mut files, mut expected) = (Vec::new(), Expected::default());
    for (number, start) in (0..LINES).step_by(ROTATE).enumerate() {
        let key = format!("{number:032x}");
        let (lines, messages): (Vec<String>, Vec<String>) =
            (start..LINES.min(start + ROTATE)).map(line).unzip();
        for (place, text) in lines.iter().enumerate() {
            expected.push(Record {
                service: "rsync".into(),
                id: format!("{key}-{place:x}"),
                text: text.clone(),
                text_digest: digest(text.as_bytes()),
                ..Record::default()
            });
        }
        files.push(LogFile {
            key,
            inode: number % 2,
            lines,
            messages,
        });
    }
    (files, expected)
}

impl Store {
    fn commit(&mut self, batch: &[StoredLine]) {
        for line in batch {
            if self.ids.insert(line.id.clone()) {
                self.documents.push(line.clone());
            }
        }
    }
}

impl Shipper {
    fn new(bug: Bug, seed: u64) -> Self {
        Self {
            bug,
            random: fastrand::Rng::with_seed(seed),
            clock: 0,
            checkpoint: HashMap::new(),
            store: Store::default(),
        }
    }

    /// Ships a file to its end, dying and starting again at random.
    fn ship(&mut self, file: &LogFile) {
        let identity = match self.bug {
            Bug::IdentityByInode => format!("inode {}", file.inode),
            _ => file.key.clone(),
        };
        loop {
            let from = self.checkpoint.get(&identity).copied().unwrap_or(0);
            let to = file.lines.len().min(from + self.random.usize(1..8));
            if from >= to {
                return;
            }
            let batch: Vec<StoredLine> = (from..to).map(|place| self.read(file, place)).collect();
            if self.bug == Bug::CheckpointAheadOfAck {
                self.checkpoint.insert(identity.clone(), to);
            }
            let killed_at = self.random.usize(0..6);
            if killed_at == 0 {
                continue; // before sending
            }
            let is_committed = !(self.bug == Bug::AckBeforeCommit && killed_at == 1);
            if is_committed {
                self.store.commit(&batch);
            }
            if killed_at == 2 {
                continue; // before the acknowledgement came
            }
            self.checkpoint.insert(identity.clone(), to);
        }
    }

    fn read(&mut self, file: &LogFile, place: usize) -> StoredLine {
        self.clock += 1;
        let id = match self.bug {
            Bug::IdFromReadTime => format!("{}-t{}", file.key, self.clock),
            _ => format!("{}-{place:x}", file.key),
        };
        let whole = &file.messages[place];
        let message = match self.bug {
            Bug::TextTruncated => whole.chars().take(SHORT).collect(),
            Bug::HeadLost => whole.chars().skip(1).collect(),
            _ => whole.clone(),
        };
        StoredLine {
            id,
            service: "rsync".into(),
            message,
            ..StoredLine::default()
        }
    }
}

fn run(bug: Bug, seed: u64) -> Report {
    let (files, expected) = world();
    let mut shipper = Shipper::new(bug, seed);
    for file in &files {
        shipper.ship(file);
    }
    let mut lane = Lane::new(&expected);
    shipper
        .store
        .documents
        .iter()
        .for_each(|line| lane.receive(line));
    lane.report()
}

#[test]
fn a_sound_shipper_is_clean_however_often_it_dies() {
    for seed in 0..50 {
        let report = run(Bug::None, seed);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.lines.delivered, LINES as u64);
    }
}

#[test]
fn an_acknowledgement_before_the_commit_loses_lines() {
    assert!((0..50).all(|seed| run(Bug::AckBeforeCommit, seed).lines.lost > 0));
}

#[test]
fn a_checkpoint_ahead_of_the_acknowledgement_loses_lines() {
    assert!((0..50).all(|seed| run(Bug::CheckpointAheadOfAck, seed).lines.lost > 0));
}

#[test]
fn identity_by_inode_loses_the_file_that_gets_the_number_again() {
    for seed in 0..50 {
        let report = run(Bug::IdentityByInode, seed);
        assert!(report.lines.lost >= ROTATE as u64, "{report:?}");
    }
}

#[test]
fn ids_from_the_time_of_reading_are_seen_by_content() {
    for seed in 0..50 {
        let report = run(Bug::IdFromReadTime, seed);
        assert!(report.lines.stored_twice > 0, "{report:?}");
        assert_eq!(report.unexpected, 0, "the content tells whose they are");
    }
}

/// A message of which a part is missing is not delivered, whichever its dialect.
#[test]
fn a_text_that_is_cut_is_altered_in_every_dialect() {
    for bug in [Bug::TextTruncated, Bug::HeadLost] {
        for seed in 0..50 {
            let report = run(bug, seed);
            let lines = (report.altered, report.lines.lost, report.lines.delivered);
            assert_eq!(
                lines,
                (LINES as u64, LINES as u64, 0),
                "{bug:?}: {report:?}"
            );
        }
    }
}

#[test]
fn one_letter_is_no_panic_and_a_stack_trace_has_every_line() {
    let text = "panic: assignment to entry in nil map";
    for (message, trace, altered) in [
        (text, None, 0),
        ("p", None, 1),
        (text, Some(text), 0),
        (text, Some("panic"), 1),
        ("p", Some(text), 1),
    ] {
        let mut expected = Expected::default();
        expected.push(record("k-0", text));
        let mut lane = Lane::new(&expected);
        lane.receive(&StoredLine {
            stack_trace: trace.map(str::to_owned),
            ..stored("k-0", message)
        });
        assert_eq!(lane.report().altered, altered, "{message} {trace:?}");
    }
}

#[test]
fn what_is_masked_is_compared_around_the_mask() {
    for (message, masked, altered) in [
        ("login of alice with password=[REDACTED] done", true, 0),
        ("login of alice with password=[REDACTED] done", false, 1),
        ("login of al", true, 1),
        ("login of alice with password=[REDACTED] d", true, 1),
    ] {
        let mut expected = Expected::default();
        let text = "2026/11/23 04:09:37 login of alice with password=x done";
        expected.push(record("k-0", text));
        let mut lane = Lane::new(&expected);
        lane.receive(&StoredLine {
            masked,
            ..stored("k-0", message)
        });
        assert_eq!(lane.report().altered, altered, "{message}");
    }
}

#[test]
fn a_text_too_long_to_be_quoted_is_known_by_digest_or_by_beginning_and_length() {
    let long = format!("2026/11/23 04:09:37 {}", "word ".repeat(TEXT_MAX / 4));
    let message = &long[20..];
    for (shown, altered) in [
        (&*long, 0),
        (message, 0),
        ("word word", 1),
        (&message[..9000], 1),
    ] {
        let mut expected = Expected::default();
        expected.push(Record {
            text: long[..TEXT_MAX].to_owned(),
            text_digest: digest(long.as_bytes()),
            ..record("k-0", "")
        });
        let mut lane = Lane::new(&expected);
        lane.receive(&stored("k-0", shown));
        assert_eq!(lane.report().altered, altered, "{shown:.20}");
    }
}

fn record(id: &str, text: &str) -> Record {
    Record {
        service: "dcm".into(),
        id: id.into(),
        text: text.into(),
        text_digest: digest(text.as_bytes()),
        ..Record::default()
    }
}

fn stored(id: &str, message: &str) -> StoredLine {
    StoredLine {
        id: id.into(),
        service: "dcm".into(),
        message: message.into(),
        ..StoredLine::default()
    }
}

#[test]
fn a_document_of_many_lines_delivers_all_of_them() {
    let mut expected = Expected::default();
    let texts = [
        "SIGQUIT: quit",
        "",
        "another goroutine says",
        "goroutine 1 [running]:",
        "after",
    ];
    for (place, text) in texts.iter().enumerate() {
        expected.push(record(&format!("k-{place}"), text));
    }
    let mut lane = Lane::new(&expected);
    let dump = "SIGQUIT: quit\n\ngoroutine 1 [running]:";
    lane.receive(&StoredLine {
        stack_trace: Some(dump.into()),
        ..stored("k-0", "SIGQUIT: quit")
    });
    assert_eq!(lane.arrived(), 3);
    assert!(lane.is_joined("k-3") && !lane.is_joined("k-0"));
    lane.receive(&stored("k-2", "another goroutine says"));
    let lines = lane.report().lines;
    assert_eq!(
        (lines.delivered, lines.lost, lane.report().altered),
        (4, 1, 0)
    );
}

#[test]
fn a_document_that_claims_more_lines_than_were_written_is_altered() {
    let mut expected = Expected::default();
    expected.push(record("k-0", "panic: no"));
    let mut lane = Lane::new(&expected);
    lane.receive(&stored("k-0", "panic: no\ngoroutine 1 [running]:"));
    let report = lane.report();
    assert_eq!(
        (report.altered, report.lines.lost, report.lines.delivered),
        (1, 1, 0)
    );
    assert_eq!(lane.arrived(), 1, "nothing more is waited for");
}

#[test]
fn each_dialect_may_leave_its_prefix_out() {
    for (text, message) in [
        (
            "2026/11/23 04:09:37 Added Cluster: edge02 ",
            "Added Cluster: edge02",
        ),
        (
            "127.0.0.6 - - [23/Nov/2026:04:09:37 +0000] \"GET /v2 HTTP/1.1\" 200 2",
            "GET /v2 HTTP/1.1",
        ),
        (
            "W1123 04:09:37.558597   13473 reflector.go:324] watch ended",
            "watch ended",
        ),
        (
            "Warning: apply{\"level\":\"info\",\"msg\":\"glued\",\"ts\":1}",
            "glued",
        ),
    ] {
        let mut expected = Expected::default();
        expected.push(record("k-0", text));
        let mut lane = Lane::new(&expected);
        lane.receive(&stored("k-0", message));
        assert_eq!(lane.report().altered, 0, "{text}");
        lane.receive(&stored("other", message));
        assert_eq!(lane.report().lines.stored_twice, 1, "{text}");
    }
}

#[test]
fn the_same_id_twice_and_the_same_id_with_other_content_are_seen() {
    let mut expected = Expected::default();
    expected.push(record("k-0", "2026/11/23 04:09:37 Added Cluster"));
    expected.push(record("k-1", "exact"));
    let mut lane = Lane::new(&expected);
    lane.receive(&stored("k-0", "Added Cluster"));
    lane.receive(&stored("k-0", "Added Cluster"));
    lane.receive(&stored("k-1", "something else"));
    lane.receive(&stored("k-9", "nobody wrote this"));
    let report = lane.report();
    assert_eq!(
        (
            report.lines.stored_twice,
            report.altered,
            report.unexpected,
            report.lines.lost
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(report.samples.len(), 3);
}

#[test]
fn a_dead_letter_is_not_lost() {
    let mut expected = Expected::default();
    expected.push(record("k-0", "a"));
    expected.push(record("k-1", "b"));
    let mut lane = Lane::new(&expected);
    lane.dead_letter("k-0");
    lane.receive(&stored("k-1", "b"));
    lane.dead_letter("k-1");
    let lines = lane.report().lines;
    assert_eq!(
        (lines.dead_lettered, lines.delivered, lines.lost),
        (1, 1, 0)
    );
}
