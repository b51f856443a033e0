//! Every line of the recorded EMCO output decodes to what it is, and no secret of it survives.
//!
//! Needs the corpus beside the repository; skipped, loudly, where there is none.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test: it fails loudly"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use decode::{Decoder, FactBuf, Format, Framer, FramerSettings, facts, rejoin};
use model::document::{Body, Constants, Document, Visitor};
use model::ids::{DocumentId, FileKey};
use model::line::{Dialect, Extent, Name, NameKey, Stream};
use model::record::{Record, Run};
use model::time::{Day, UnixNanos};
use model::verdict::Verdict;
use serde_json::Value;

/// Made-up secrets that callers sent while the corpus was recorded.
const SECRETS: [&str; 2] = ["s3cret", "eyJzdWIiOi"];

#[derive(Default)]
struct Strings {
    key: String,
    found: Vec<(String, String)>,
}

impl Visitor for Strings {
    fn key(&mut self, key: &'static str) {
        key.clone_into(&mut self.key);
    }
    fn free_key(&mut self, key: Run<'_>) {
        self.key = String::from_utf8(key.bytes().to_vec()).expect("UTF-8");
    }
    fn string(&mut self, value: &str) {
        self.found.push((self.key.clone(), value.to_owned()));
    }
    fn clean(&mut self, value: Run<'_>) {
        let value = std::str::from_utf8(value.bytes()).expect("UTF-8");
        let text = serde_json::to_string(value).expect("a string");
        assert_eq!(text, format!("\"{value}\""), "reads the same in JSON");
        self.string(value);
    }
    fn escaped(&mut self, value: &[u8]) {
        let text = [b"\"", value, b"\""].concat();
        let text: String = serde_json::from_slice(&text).expect("valid escapes");
        self.string(&text);
    }
    fn number(&mut self, value: &[u8]) {
        self.string(std::str::from_utf8(value).expect("ASCII"));
    }
    fn unsigned(&mut self, value: u64) {
        self.string(&value.to_string());
    }
    fn boolean(&mut self, _: bool) {}
    fn null(&mut self) {}
    fn strings(&mut self, _: &[String]) {}
    fn begin(&mut self) {}
    fn end(&mut self) {}
}

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let found = folder.join("README.md").try_exists().unwrap_or(false);
    assert!(
        found || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "the corpus is missing"
    );
    if !found {
        eprintln!("SKIPPED: there is no corpus at {}", folder.display());
    }
    found.then_some(folder)
}

fn recordings(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder of the corpus");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let sets = [list(&folder.join("emco")), list(&folder.join("truth"))].concat();
    let mut files: Vec<PathBuf> = sets.iter().flat_map(|set| list(set)).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

fn read(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).expect("a recording");
    let mut bytes = Vec::new();
    flate2::bufread::MultiGzDecoder::new(std::io::BufReader::new(file))
        .take(1 << 30)
        .read_to_end(&mut bytes)
        .expect("gzip");
    bytes
}

fn rendered(record: &Record, text: &[u8]) -> Vec<(String, String)> {
    let mut strings = Strings::default();
    Document {
        id: DocumentId::Line(FileKey::default(), 0),
        home: Day(0),
        time: record.time,
        sequence: 0,
        body: Body::Line(record, text),
        verdict: &Verdict::default(),
        constants: &Constants::default(),
    }
    .visit(&mut strings);
    strings.found
}

/// What a line is, told by other means than the decoder's.
fn expected(text: &str) -> Dialect {
    let start = text.find("{\"").filter(|_| text.ends_with('}'));
    let object = start.and_then(|at| serde_json::from_str::<Value>(&text[at..]).ok());
    let date = text.get(..20).is_some_and(|date| {
        date.char_indices().all(|(at, char)| match at {
            4 | 7 => char == '/',
            13 | 16 => char == ':',
            10 | 19 => char == ' ',
            _ => char.is_ascii_digit(),
        })
    });
    let head: String = text.chars().take(5).collect();
    match object {
        _ if text.contains("goroutine ") && text.contains('\n') => Dialect::GoPanic,
        Some(object) if object.get("msg").is_some() && object.get("ts").is_some() => Dialect::Zap,
        Some(object) if object.get("msg").is_some() => Dialect::Logrus,
        _ if date => Dialect::GoLog,
        _ if text.contains(" - - [") && text.contains(" HTTP/") => Dialect::CommonLog,
        _ if text.contains(".go:") && head[1..].parse::<u32>().is_ok() => Dialect::Klog,
        _ => Dialect::Unknown,
    }
}

#[test]
fn every_recorded_line_is_understood() {
    let Some(folder) = corpus() else { return };
    let (mut decoder, mut record) = (Decoder::default(), Record::default());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut check = |text: &[u8], time: UnixNanos, stream: Stream| {
        decoder.decode(text, time, stream, 0, &mut record);
        let line = String::from_utf8_lossy(text);
        let dialect = expected(&line);
        assert_eq!(record.dialect, dialect, "{line}");
        *counts.entry(dialect.name().to_owned()).or_default() += 1;
        let fields = rendered(&record, text);
        let mut keys: Vec<&str> = fields.iter().map(|(key, _)| &**key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), fields.len(), "a key comes twice: {line}");
        for (key, value) in &fields {
            for secret in SECRETS {
                assert!(!value.contains(secret), "{key} of {line}");
            }
        }
        if matches!(dialect, Dialect::Logrus | Dialect::Zap) {
            let object: Value = serde_json::from_str(&line[line.find("{\"").unwrap()..]).unwrap();
            let message = fields.iter().find(|(key, _)| key == "message").unwrap();
            assert_eq!(object["msg"].as_str(), Some(&*message.1), "{line}");
        }
        let mut buffer = FactBuf::default();
        let facts = facts(&record, text, time, &mut buffer);
        assert_eq!(facts.access.is_some(), dialect == Dialect::CommonLog);
        if dialect == Dialect::Logrus {
            assert!(facts.own_time && facts.site.is_some(), "{line}");
        }
    };
    for path in recordings(&folder, ".cri.log.gz") {
        let bytes = read(&path);
        let mut framer = Framer::new(FramerSettings::default());
        let (mut covered, mut buffer) = (0, Vec::new());
        let mut sink = |framed: decode::Framed<'_>| {
            let runs: Vec<&[u8]> = framed
                .extents
                .iter()
                .map(|(_, run)| slice(&bytes, *run))
                .collect();
            covered += runs.iter().map(|run| run.len()).sum::<usize>();
            let again = rejoin(Format::Cri, framed.time, framed.split, &runs, &mut buffer);
            assert!(
                again == framed.text,
                "re-reading differs in {}",
                path.display()
            );
            check(framed.text, framed.time, framed.stream);
        };
        for (index, chunk) in bytes.chunks(65_536).enumerate() {
            framer.push(0, index as u64 * 65_536, chunk, UnixNanos(1), &mut sink);
        }
        framer.end_of_container(UnixNanos(1), &mut sink);
        assert_eq!(covered, bytes.len(), "{}", path.display());
    }
    eprintln!("{counts:?}");
    assert!(counts["logrus"] > 50_000 && counts["common_log"] > 5_000 && counts["go_log"] > 1_000);
    assert_eq!(counts.get("unknown"), None);
}

fn slice(bytes: &[u8], run: Extent) -> &[u8] {
    let range = usize::try_from(run.offset).unwrap()..usize::try_from(run.end()).unwrap();
    &bytes[range]
}

#[test]
fn every_access_record_is_read() {
    let Some(folder) = corpus() else { return };
    let folders = recordings(&folder, "access");
    let mut lines = 0;
    for path in folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
    {
        let bytes = read(&path.unwrap().path());
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let object: Value = serde_json::from_slice(line).unwrap();
            let facts = decode::envoy::access(line).expect("an access line");
            assert_eq!(
                object["user"].as_str().or(object["x_user_id"].as_str()),
                facts.user
            );
            assert_eq!(object["response_code"], u64::from(facts.status));
            // Without a route Envoy makes no trace.
            let traced = object["x_b3_traceid"].is_string() || object["b3"].is_string();
            let known = facts.trace.is_some() && facts.span.is_some();
            assert_eq!(known, traced, "{object}");
            assert!(facts.start > UnixNanos(0));
            lines += 1;
        }
    }
    assert!(lines > 10_000, "{lines} lines");
}

/// The name that the path of a request gives to this kind of thing.
fn in_path(path: &str, key: NameKey) -> Option<&str> {
    let (collection, further) = match key {
        NameKey::Project => ("projects", 1),
        NameKey::CompositeApp => ("composite-apps", 1),
        NameKey::CompositeAppVersion => ("composite-apps", 2),
        NameKey::DeploymentIntentGroup => ("deployment-intent-groups", 1),
        NameKey::LogicalCloud => ("logical-clouds", 1),
        NameKey::ClusterProvider => ("cluster-providers", 1),
        NameKey::Cluster => ("clusters", 1),
        NameKey::Controller => ("controllers", 1),
        NameKey::App => ("apps", 1),
        _ => return None,
    };
    let mut parts = path.split(['/', '?']);
    parts.find(|part| *part == collection)?;
    parts.nth(further - 1).filter(|part| !part.is_empty())
}

#[test]
fn no_name_contradicts_the_request_that_printed_the_line() {
    let Some(folder) = corpus() else { return };
    let (mut decoder, mut record) = (Decoder::default(), Record::default());
    let mut agreeing = 0;
    for path in recordings(&folder, ".truth.jsonl.gz") {
        let lines = path.to_string_lossy().replace(".truth.", ".stderr.");
        let Ok(true) = Path::new(&lines).try_exists() else {
            continue;
        };
        let (truth, lines) = (read(&path), read(Path::new(&lines)));
        let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        for owner in truth
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let owner: Value = serde_json::from_slice(owner).unwrap();
            let (Some(operation), "stderr") = (
                owner["_true_op"].as_str(),
                owner["stream"].as_str().unwrap(),
            ) else {
                continue;
            };
            let text = lines[usize::try_from(owner["line"].as_u64().unwrap()).unwrap() - 1];
            decoder.decode(text, UnixNanos(1), Stream::Stderr, 0, &mut record);
            let mut buffer = FactBuf::default();
            for Name { key, value } in facts(&record, text, UnixNanos(1), &mut buffer).names {
                let Some(named) = in_path(operation, *key) else {
                    continue;
                };
                let bare = value.rsplit('+').next();
                assert!(
                    *value == named || bare == Some(named),
                    "{value} for {operation}: {}",
                    String::from_utf8_lossy(text)
                );
                agreeing += 1;
            }
        }
    }
    assert!(agreeing > 3000, "{agreeing} names");
}
