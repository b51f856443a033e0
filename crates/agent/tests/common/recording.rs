//! What EMCO and those around it said in a recording, with the times at which they did.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use model::time::UnixNanos;
use serde_json::Value;

const RECORDED_BYTES_MAX: u64 = 1 << 30;

/// The services of a recording.
pub(crate) const SERVICES: [&str; 8] = [
    "orchestrator",
    "rsync",
    "clm",
    "dcm",
    "ncm",
    "gac",
    "dtc",
    "ovnaction",
];

/// Bytes with the time at which they came, in nanoseconds since the epoch.
pub(crate) type Timed = (u64, Vec<u8>);

/// What one service said: the lines of its container, its proxy's records, the bodies of its spans.
pub(crate) struct Recording {
    /// As the runtime wrote them.
    pub(crate) lines: Vec<Timed>,
    pub(crate) records: Vec<Value>,
    pub(crate) bodies: Vec<Timed>,
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let unpacked = MultiGzDecoder::new(file).take(RECORDED_BYTES_MAX);
        BufReader::new(unpacked).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// A file of JSON lines; nothing if it is not there.
pub(crate) fn objects(path: &Path) -> Vec<Value> {
    let bytes = unpacked(path);
    let lines = bytes.lines().map(Result::unwrap);
    lines
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

/// A recording beside the repository; `None`, and said, where there is none.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = folder.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no recordings");
    eprintln!("SKIPPED, NOT TESTED: {} is missing", folder.display());
    None
}

/// The bodies of spans that `sender` sent, in the order in which they came.
pub(crate) fn bodies(folder: &Path, sender: &str) -> Vec<Timed> {
    let bundle = format!("{sender}.bodies.gz");
    let bytes = unpacked(&folder.join("spans").join(&bundle));
    let headers = objects(&folder.join("spans/headers.jsonl.gz"));
    let own = headers
        .iter()
        .filter(|header| header["bundle"] == bundle.as_str());
    let place = |header: &Value, key: &str| usize::try_from(header[key].as_u64().unwrap()).unwrap();
    own.map(|header| {
        let from = place(header, "offset");
        let body = bytes[from..from + place(header, "length")].to_vec();
        (header["arrival_ns"].as_u64().unwrap(), body)
    })
    .collect()
}

/// The spans of these bodies.
pub(crate) fn spans(bodies: &[Timed]) -> impl Iterator<Item = Value> {
    bodies.iter().flat_map(|(_, body)| {
        let spans: Vec<Value> = serde_json::from_slice(body).unwrap();
        spans
    })
}

impl Recording {
    pub(crate) fn open(folder: &Path, service: &str) -> Self {
        let lines = unpacked(&folder.join(format!("{service}.cri.log.gz")));
        let lines = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let lines = lines.map(|line| {
            let stamp = line.split(|byte| *byte == b' ').next().unwrap();
            (UnixNanos::parse_rfc3339(stamp).unwrap().0, line.to_vec())
        });
        Self {
            lines: lines.collect(),
            records: objects(&folder.join(format!("access/{service}.jsonl.gz"))),
            bodies: bodies(folder, &format!("{service}.emco")),
        }
    }

    /// The proxy's records as the runtime writes them, in the order of their times.
    pub(crate) fn proxy_lines(&self) -> Vec<Timed> {
        let mut lines: Vec<Timed> = Vec::new();
        for record in &self.records {
            let start = record["start_time"].as_str().unwrap();
            let start = UnixNanos::parse_rfc3339(start.as_bytes()).unwrap();
            let end = start.plus(record["duration"].as_u64().unwrap_or(0) * 1_000_000);
            let line = format!("{end} stdout F {record}");
            lines.push((end.0, line.into_bytes()));
        }
        lines.sort();
        lines
    }

    /// The spans.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Value> {
        spans(&self.bodies)
    }

    /// gRPC calls that were served, by method and outcome: those that a server span tells of, and the
    /// proxy's records whose call no span tells of.
    pub(crate) fn remote_calls(&self) -> Vec<(String, &'static str)> {
        let mut calls = Vec::new();
        let mut parents = std::collections::HashSet::new();
        for span in self.spans().filter(|span| span["kind"] == "SERVER") {
            let method = span["tags"]["rpc.method"].as_str().unwrap();
            calls.push((method.to_owned(), outcome(&span)));
            parents.extend(span["parentId"].as_str().map(str::to_owned));
        }
        let remote = |record: &&Value| record["grpc_status"].is_string();
        for record in self.records.iter().filter(remote) {
            let proxy = record["b3"].as_str().unwrap().split('-').nth(1).unwrap();
            if !parents.contains(proxy) {
                let method = record["path"].as_str().unwrap().rsplit('/').next().unwrap();
                let worked = record["grpc_status"] == "OK";
                calls.push((method.to_owned(), if worked { "ok" } else { "error" }));
            }
        }
        calls
    }
}

/// Whether a span says that what it did worked.
pub(crate) fn outcome(span: &Value) -> &'static str {
    match span["tags"]["otel.status_code"].as_str() {
        Some("Error") => "error",
        _ => "ok",
    }
}

/// Kind and status as the documentation has them, without the product's code: who served a request over
/// HTTP is a server; what says that it failed has failed, and so has a request whose status says so.
pub(crate) fn shape_in(span: &Value) -> (u64, bool, String) {
    let name = span["name"].as_str().unwrap();
    let tag = |key: &str| span["tags"][key].as_str();
    let kind = match span["kind"].as_str() {
        Some("CLIENT") => 3,
        Some("SERVER") => 2,
        _ if name.contains(" /") => 2,
        _ => 1,
    };
    let annotations = span["annotations"].as_array().into_iter().flatten();
    let panicked = annotations
        .filter_map(|note| note["value"].as_str())
        .any(|note| note.starts_with("exception"));
    let number = |key: &str| tag(key).map_or(0, |code| code.parse::<u32>().unwrap());
    let http = number("http.status_code");
    let failed = panicked
        || tag("error").is_some_and(|said| said != "false")
        || tag("otel.status_code") == Some("Error")
        || http >= 500
        || (kind != 2 && http >= 400)
        || (kind != 2 && number("rpc.grpc.status_code") != 0);
    let said = tag("error").filter(|said| failed && *said != "true");
    (kind, failed, said.unwrap_or_default().to_owned())
}

/// The route that EMCO's router takes: names of collections, each followed by the name of one thing
/// (a composite application by its version, too) or by nothing.
pub(crate) fn route(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap();
    // the router answers these by itself
    if method == "PATCH" || path.contains("//") || path.ends_with('/') {
        return "unmatched".to_owned();
    }
    let mut parts = path.strip_prefix("/v2/").expect("EMCO's API").split('/');
    let mut route = "/v2".to_owned();
    while let Some(collection) = parts.next() {
        route = route + "/" + collection;
        let names = if collection == "composite-apps" { 2 } else { 1 };
        for _ in 0..names {
            if parts.next().is_some() {
                route += "/{}";
            }
        }
    }
    route
}

/// What the product calls a route, without the names it gives to its parameters; of a gRPC method its
/// own name.
pub(crate) fn anonymous(route: &str) -> String {
    if let Some((_, method)) = route
        .split_once('/')
        .filter(|(service, _)| !service.is_empty())
    {
        return method.to_owned();
    }
    let parts = route
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
