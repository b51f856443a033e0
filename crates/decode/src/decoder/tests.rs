use std::fmt::Write;

use super::*;
use crate::{FactBuf, facts};
use model::document::{Body, Constants, Document, Visitor};
use model::ids::{DocumentId, FileKey};
use model::record::Run;
use model::time::Day;
use model::verdict::Verdict;
use proptest::prelude::*;

/// Writes a document as JSON, a member a line.
#[derive(Default)]
struct Json {
    text: String,
    indent: usize,
}

impl Json {
    fn name(&mut self, key: &str) {
        if !self.text.is_empty() && !self.text.ends_with('{') {
            self.text.push(',');
        }
        let key = serde_json::to_string(key).unwrap();
        let indent = " ".repeat(self.indent);
        write!(self.text, "\n{indent}{key}: ").unwrap();
    }
}

impl Visitor for Json {
    fn key(&mut self, key: &'static str) {
        self.name(key);
    }
    fn free_key(&mut self, key: Run<'_>) {
        self.name(std::str::from_utf8(key.bytes()).unwrap());
    }
    fn string(&mut self, value: &str) {
        self.text.push_str(&serde_json::to_string(value).unwrap());
    }
    fn clean(&mut self, value: Run<'_>) {
        let value = std::str::from_utf8(value.bytes()).unwrap();
        let inside = format!("\"{value}\"");
        assert_eq!(serde_json::to_string(value).unwrap(), inside);
        self.text.push_str(&inside);
    }
    fn escaped(&mut self, value: &[u8]) {
        write!(self.text, "\"{}\"", std::str::from_utf8(value).unwrap()).unwrap();
    }
    fn number(&mut self, value: &[u8]) {
        self.text.push_str(std::str::from_utf8(value).unwrap());
    }
    fn unsigned(&mut self, value: u64) {
        write!(self.text, "{value}").unwrap();
    }
    fn boolean(&mut self, value: bool) {
        write!(self.text, "{value}").unwrap();
    }
    fn null(&mut self) {
        self.text.push_str("null");
    }
    fn strings(&mut self, _: &[String]) {}
    fn begin(&mut self) {
        self.text.push('{');
        self.indent += 2;
    }
    fn end(&mut self) {
        self.indent -= 2;
        self.text.push_str("\n}");
    }
}

fn now() -> UnixNanos {
    UnixNanos::parse_rfc3339(b"2026-11-23T04:09:37.672424268Z").unwrap()
}

fn decoded(text: &[u8]) -> Record {
    let mut record = Record::default();
    Decoder::default().decode(text, now(), Stream::Stderr, 0, &mut record);
    record
}

fn json(record: &Record, text: &[u8]) -> String {
    let mut json = Json::default();
    Document {
        id: DocumentId::Line(FileKey::default(), 0),
        home: Day(0),
        time: record.time,
        sequence: 0,
        body: Body::Line(record, text),
        verdict: &Verdict::default(),
        constants: &Constants::default(),
    }
    .visit(&mut json);
    format!("{{{}\n}}", json.text)
}

/// The facts as text, a line each.
fn told(record: &Record, text: &[u8]) -> String {
    let mut buffer = FactBuf::default();
    let facts = facts(record, text, now(), &mut buffer);
    let mut out = format!("time {} own {}\n", facts.time, facts.own_time);
    if let Some(site) = facts.site {
        writeln!(out, "site {}:{} {}", site.file, site.line, site.function).unwrap();
    }
    for name in facts.names {
        writeln!(out, "{:?} {}", name.key, name.value).unwrap();
    }
    if let Some(access) = facts.access {
        writeln!(out, "{access:?}").unwrap();
    }
    out
}

/// One line of each kind, of our own making in the shape that EMCO prints.
const LINES: &[(&str, &str)] = &[
    (
        "logrus",
        r#"{".Cluster":"edge7","Error":null,"SOURCE":"file[work.go:42] func[module.(*Worker).Run]","appContextID":"1234567890123456789","cluster":"prov+edge7","compositeApp":"shop","conn":{"a":1},"i":3,"level":"warning","msg":"step \u003cone\u003e done","project":"p1","ready":true,"time":"2026-11-23T05:09:37.5+01:00","version":"v1"}"#,
    ),
    (
        "logrus_error_with_parameters",
        r#"{"Error":"no \"x\" in /context/1234567890123456789/app/web/","Module":{"spec":{"password":"hunter2","n":1}},"Parameters":{"compositeApp":"shop","compositeAppVersion":"v2","project":"p1"},"SOURCE":"file[fail.go:7] func[api.Fail]","level":"error","msg":"Error :: ","time":"2026-11-23T04:09:37.1Z"}"#,
    ),
    (
        "logrus_secrets",
        r#"{"SOURCE":"file[a.go:1] func[b.c]","accessToken":"abc","adminPassword":"pw","fields.level":"0","gs":["eA=="],"kvpair":{"gitToken":"t"},"level":"info","msg":"with Bearer abcdefgh.ijk","req":"POST / HTTP/1.1\r\nAuthorization: Bearer zzzz\r\n\r\n{\"user\":\"u\",\"secret\":\"ssh\"}","time":"2026-11-23T04:09:37Z","value":null}"#,
    ),
    (
        "logrus_paths_and_labels",
        r#"{"Dir: ":"/tmp/k8s-ext-29421/","OutPutDirectory ":"/tmp/helm-tmpl-1816907225","SOURCE":"file[a.go:1] func[b.c]","SortedTemplate":[{"FilePath":"/tmp/helm-tmpl-1816907225/web/cm.yaml"}],"ToAppContext":"222222222222","id":"1234567890123456789-web","level":"info","msg":"","resource":"web+Deployment","time":"2026-11-23T04:09:37.000001Z"}"#,
    ),
    (
        "logrus_of_a_poller",
        r#"{"SOURCE":"file[controller.go:70] func[metrics.do]","level":"error","msg":"db Find error","project":"left-over","time":"2026-11-23T04:09:37.2Z"}"#,
    ),
    (
        "logrus_reference_names",
        r#"{"SOURCE":"file[client.go:162] func[module.checkAppContext]","cluster":"a-reference","level":"info","msg":"x","time":"2026-11-23T04:09:37.2Z"}"#,
    ),
    (
        "logrus_of_a_migration",
        r#"{"CompositeApp":"shop","DeploymentIntentGroup":"target","Project":"p1","SOURCE":"file[appContextMaker.go:74] func[module.(*Instantiator).makeAppContextForCompositeApp]","Version":"v2","level":"info","msg":"x","time":"2026-11-23T04:09:37.2Z"}"#,
    ),
    (
        "zap",
        r#"{"level":"warn","ts":"2026-11-23T05:09:37.123+0100","logger":"etcd-client","caller":"v3@v3.5.5/retry.go:62","msg":"retrying","target":"etcd://0xc0/emco-etcd:2379","attempt":0,"error":"context canceled"}"#,
    ),
    (
        "common_log",
        r#"10.1.2.3 - - [23/Nov/2026:05:09:36 +0100] "GET /v2/projects/p1?access_token=abc&x=1 HTTP/1.1" 503 18"#,
    ),
    (
        "go_log",
        r#"2026/11/23 04:09:37 GRPC Server received UpdateAppRequest:  {"update_from_appContext":"1111111111111","update_to_appContext":"2222222222222"}"#,
    ),
    (
        "go_log_failure",
        "2026/11/23 04:09:37 Instantiation failed: no such id ",
    ),
    (
        "klog",
        "W1123 04:09:37.223456       1 warnings.go:70] v1beta1 is deprecated",
    ),
    (
        "go_panic",
        "2026/11/23 04:09:37 http: panic serving 127.0.0.6:1: boom\ngoroutine 7 [running]:\nmain.main()\n\t/src/main.go:1 +0x1",
    ),
    (
        "go_fatal",
        "fatal error: concurrent map writes\n\ngoroutine 7 [running]:",
    ),
    (
        "envoy",
        r#"{"authority":"emco.example","bytes_sent":29,"duration":40,"method":"GET","path":"/v2/projects","request_id":"r-1","response_code":200,"start_time":"2026-11-23T04:09:37.321Z","upstream_cluster":"inbound|9015||","x_user_id":"somebody"}"#,
    ),
    (
        "glued",
        r#"Warning: apply should be used on resource created by applyWarning: apply should be used on resource created by apply{"SOURCE":"file[a.go:1] func[b.c]","level":"info","msg":"m","time":"2026-11-23T04:09:37.2Z"}"#,
    ),
    (
        "glued_go_log",
        "Warning: apply should be used on resource created by apply2026/11/23 04:09:37 Pod is not ready: default/x",
    ),
    (
        "logrus_failure",
        "Failed to obtain reader, failed to marshal fields to JSON, json: unsupported value: NaN",
    ),
    (
        "other_json",
        r#"{"message":"from grpc","severity":"ERROR"}"#,
    ),
    ("text", "&{0xc000 <nil> false}\r"),
];

#[test]
fn dialects() {
    for (name, line) in LINES {
        let record = decoded(line.as_bytes());
        let text = json(&record, line.as_bytes());
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let facts = told(&record, line.as_bytes());
        insta::assert_snapshot!(*name, format!("{line}\n\n{text}\n\n{facts}"));
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let line = b"\xff\xfe tail";
    let record = decoded(line);
    assert!(json(&record, line).contains("\"\u{fffd}\u{fffd} tail\""));
    let line = b"{\"SOURCE\":\"file[a.go:1] func[b]\",\"k\":\"\xff\",\"level\":\"info\",\"msg\":\"\xc3x\",\"time\":\"2026-11-23T04:09:37.2Z\"}";
    let record = decoded(line);
    assert_eq!(record.dialect, Dialect::Logrus);
    let text = json(&record, line);
    assert!(text.contains("\"message\": \"\u{fffd}x\"") && text.contains("\"k\": \"\u{fffd}\""));
}

#[test]
fn an_object_with_too_many_members_is_shipped_as_text() {
    let members: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n},")).collect();
    let members = members.concat();
    let line = format!("{{{members}\"level\":\"info\",\"msg\":\"m\",\"time\":\"\"}}");
    let record = decoded(line.as_bytes());
    assert_eq!(record.dialect, Dialect::Unknown);
    assert!(json(&record, line.as_bytes()).contains("k99999"));
}

/// Pieces of lines, to be put together in any order.
fn fragment() -> impl Strategy<Value = String> {
    let lines = LINES.iter().map(|(_, line)| *line).collect::<Vec<_>>();
    prop_oneof![
        prop::sample::select(lines.clone()).prop_map(str::to_owned),
        (prop::sample::select(lines), any::<prop::sample::Index>()).prop_map(|(line, at)| {
            let cut = at.index(line.len() + 1);
            line.get(..line.floor_char_boundary(cut)).unwrap_or(line).to_owned()
        }),
        "[\\PC\n\t\"\\\\{}:,]{0,30}",
        Just(r#"{"level":"info","msg":"m","time":"","A b":1,"a-b":2,".a.b ":3,"secret":"s\ud800","msg":2}"#.to_owned()),
        Just("password=\\\"\\\\".to_owned()),
        Just("eyJhbGciOiJSUzI1NiJ9.eyJ".to_owned()),
        Just("\"kind\":\"Secret\",\"data\":".to_owned()),
    ]
}

/// The document as JSON; fails if it is none or has a key twice.
fn unique(text: &str) -> Result<(), TestCaseError> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
    let free = value.get("emco.fields").and_then(|free| free.as_object());
    let members = value.as_object().map_or(0, serde_json::Map::len);
    let written = text.lines().filter(|line| line.starts_with('"')).count();
    let inner = text.lines().filter(|line| line.starts_with("  \"")).count();
    prop_assert_eq!(written, members, "a key comes twice: {}", text);
    prop_assert_eq!(
        inner,
        free.map_or(0, serde_json::Map::len),
        "a key comes twice: {}",
        text
    );
    Ok(())
}

proptest! {
    /// Whatever comes, the record renders to JSON in which no key comes twice.
    #[test]
    fn any_text_becomes_a_valid_document(parts in prop::collection::vec(fragment(), 1..4)) {
        let text = parts.concat();
        let record = decoded(text.as_bytes());
        unique(&json(&record, text.as_bytes()))?;
        told(&record, text.as_bytes());
        crate::envoy::access(text.as_bytes());
    }

    #[test]
    fn any_bytes_become_a_valid_document(mut bytes in prop::collection::vec(any::<u8>(), 0..200), line in 0..LINES.len(), at in 0_usize..300) {
        unique(&json(&decoded(&bytes), &bytes))?;
        // A known line with bytes overwritten.
        let mut text = LINES[line].1.as_bytes().to_vec();
        let at = at.min(text.len());
        bytes.truncate((text.len() - at).min(3));
        text[at..at + bytes.len()].copy_from_slice(&bytes);
        let record = decoded(&text);
        unique(&json(&record, &text))?;
        told(&record, &text);
    }
}
