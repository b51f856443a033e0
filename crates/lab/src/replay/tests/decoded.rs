//! The product's own decoder on the logs of a replay, judged by the oracle: what it makes of every
//! dialect must be what was written, or the oracle would cry wolf.

use decode::{Decoder, Framed, Framer, FramerSettings};
use model::document::{Body, Constants, Document, Visitor};
use model::ids::{DocumentId, FileKey};
use model::record::{Record, Run};
use model::time::UnixNanos;
use model::verdict::Verdict;
use serde_json::{Map, Value};
use testkit::oracle::{Lane, Report};
use testkit::stored::StoredLine;

use super::*;

/// A document as a store would hold it.
#[derive(Default)]
struct Stored {
    key: String,
    fields: Map<String, Value>,
}

impl Stored {
    fn put(&mut self, value: impl Into<Value>) {
        self.fields.insert(self.key.clone(), value.into());
    }
}

impl Visitor for Stored {
    fn key(&mut self, key: &'static str) {
        key.clone_into(&mut self.key);
    }
    fn free_key(&mut self, key: Run<'_>) {
        self.key = String::from_utf8(key.bytes().to_vec()).unwrap();
    }
    fn string(&mut self, value: &str) {
        self.put(value);
    }
    fn escaped(&mut self, value: &[u8]) {
        let text = [b"\"", value, b"\""].concat();
        self.put(serde_json::from_slice::<Value>(&text).unwrap());
    }
    fn number(&mut self, _: &[u8]) {}
    fn unsigned(&mut self, value: u64) {
        self.put(value);
    }
    fn boolean(&mut self, value: bool) {
        self.put(value);
    }
    fn null(&mut self) {}
    fn strings(&mut self, _: &[String]) {}
    fn begin(&mut self) {}
    fn end(&mut self) {}
}

/// The files of a container in the order in which they were written.
fn files(container: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<String> = std::fs::read_dir(container)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // `0.log.<time>` before `0.log`, which is the newest of its restart.
    names.sort_by_key(|name| {
        let restart: u32 = name.split('.').next().unwrap().parse().unwrap();
        (
            restart,
            name.len() == format!("{restart}.log").len(),
            name.clone(),
        )
    });
    let read = |name: String| (name.clone(), read(&container.join(name)));
    names.into_iter().map(read).collect()
}

/// Decodes a container's log and gives the lane every document.
fn deliver(lane: &mut Lane<'_>, service: &str, container: &Path, uid: &str) {
    let constants = Constants {
        revision: 1,
        fields: vec![("service.name", service.to_owned())],
    };
    let files = files(container);
    let keys: Vec<FileKey> = files
        .iter()
        .map(|(name, bytes)| {
            let first = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let restart = name.split('.').next().unwrap();
            let name = container.file_name().unwrap().to_str().unwrap();
            let identity = [format!("{uid}\0{name}\0{restart}\0").as_bytes(), first].concat();
            FileKey(XxHash3_128::oneshot(&identity).to_be_bytes())
        })
        .collect();
    let (mut framer, mut decoder) = (Framer::new(FramerSettings::default()), Decoder::default());
    let mut record = Record::default();
    let mut sink = |line: Framed<'_>| {
        let (file, extent) = line.extents[0];
        decoder.decode(line.text, line.time, line.stream, 0, &mut record);
        let document = Document {
            id: DocumentId::Line(keys[file as usize], extent.offset),
            home: line.time.day(),
            time: record.time,
            sequence: extent.offset,
            body: Body::Line(&record, line.text),
            verdict: &Verdict::default(),
            constants: &constants,
        };
        let mut stored = Stored::default();
        document.visit(&mut stored);
        lane.receive(&StoredLine::from_document(&Value::Object(stored.fields)).unwrap());
    };
    for (number, (_, bytes)) in files.iter().enumerate() {
        let file = u32::try_from(number).unwrap();
        framer.push(file, 0, bytes, UnixNanos(1), &mut sink);
        framer.end_of_file(file, UnixNanos(1), &mut sink);
    }
    framer.end_of_container(UnixNanos(1), &mut sink);
}

/// Replays a recording and decodes what was written.
async fn judge(corpus: &Path, out: &Path) -> Report {
    let args = Args {
        speed: 100_000.0,
        ..args(corpus, out)
    };
    play(args, CancellationToken::new()).await.unwrap();
    let expected = manifest(out);
    let mut lane = Lane::new(&expected);
    for pod in expected.pods() {
        for container in std::fs::read_dir(&pod.directory).unwrap() {
            deliver(
                &mut lane,
                &pod.service,
                &container.unwrap().path(),
                &pod.uid,
            );
        }
    }
    lane.report()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_recording_is_decoded_line_for_line() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    generate(&corpus, 8);
    let report = judge(&corpus, dir.path()).await;
    assert!(
        report.is_clean() && report.lines.delivered == report.lines.written,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rare_lines_are_decoded_line_for_line() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    let texts = [
        r#"{"level":"info","msg":"a \"quoted\" <tag> and\nsecond line","time":"2026-11-23T04:09:37.1Z"}"#,
        r#"{"level":"warn","ts":"2026-11-23T04:09:37.672Z","logger":"etcd-client","msg":"retrying of unary invoker failed"}"#,
        r#"Warning: apply should be used{"level":"info","msg":"glued","time":"2026-11-23T04:09:37.2Z"}"#,
        "2026/11/23 04:09:37 Added Cluster: edge02 ",
        "W1123 04:09:37.558597   13473 reflector.go:324] watch of *v1.Pod ended",
        "2026/11/23 04:09:38 http: panic serving 127.0.0.6:4242: runtime error: invalid memory address",
        "goroutine 42 [running]:",
        "net/http.(*conn).serve.func1()",
        "\t/usr/local/go/src/net/http/server.go:1947 +0xbe",
        r#"{"level":"info","msg":"life goes on","time":"2026-11-23T04:09:38.3Z"}"#,
        "SIGQUIT: quit",
        "PC=0x492861 m=0 sigcode=0",
        "",
        "goroutine 1 gp=0xc000002380 m=nil [chan receive]:",
        "main.main()",
        "\t/src/main.go:70 +0x1b3",
        "",
        "rax    0x0",
        "text that no dialect claims",
    ];
    let framed = |(number, text): (usize, &&str)| {
        format!("2026-11-23T04:09:38.{number:09}Z stderr F {text}\n")
    };
    let log: Vec<String> = texts.iter().enumerate().map(framed).collect();
    gzip(&corpus.join("clm.cri.log.gz"), &log.concat());
    let report = judge(&corpus, dir.path()).await;
    assert!(
        report.is_clean() && report.lines.delivered == report.lines.written,
        "{report:?}"
    );
}

/// Where the recordings of real output are, if they are beside the repository.
fn recordings() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    folder
        .join("README.md")
        .try_exists()
        .unwrap_or(false)
        .then_some(folder)
}

/// Judges one of the recordings; there is nothing to judge where there are none.
async fn judge_recording(name: &str) {
    let Some(folder) = recordings() else {
        eprintln!("SKIPPED: there are no recordings");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let report = judge(&folder.join(name), dir.path()).await;
    assert!(
        report.is_clean() && report.lines.delivered == report.lines.written,
        "{report:#?}"
    );
    assert!(report.lines.written > 500, "{report:?}");
}

/// The oracle does not cry wolf on anything that EMCO was seen to print.
macro_rules! recorded {
    ($($test:ident $name:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            judge_recording($name).await;
        })*
    };
}

recorded! {
    lines_at_warn_are_decoded_line_for_line "emco/warn";
    lines_at_info_are_decoded_line_for_line "emco/info";
    lines_at_debug_are_decoded_line_for_line "emco/debug";
    extra_lines_are_decoded_line_for_line "emco/extras";
    true_lines_at_info_are_decoded_line_for_line "truth/info";
    true_lines_at_warn_are_decoded_line_for_line "truth/warn";
    calm_lines_are_decoded_line_for_line "truth/calm";
    traced_lines_are_decoded_line_for_line "truth/traced";
    shared_lines_are_decoded_line_for_line "truth/shared";
}
