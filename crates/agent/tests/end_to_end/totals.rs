//! What is counted of requests, lines and calls: each once, whoever told of it, over restarts.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use model::time::UnixNanos;
use serde_json::Value;

use crate::common::bulk::Server;
use crate::common::mix::{Counts, LABELS, Mix, samples};
use crate::common::pod::now;
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::until;

const TOTAL: &str = "emco_requests_total";
const CALLS: &str = "emco_dependency_calls_total";
const RECORDED_BYTES_MAX: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);

/// Waits until the samples are these, and then for a while whether they stay so.
async fn has_exactly(sidecar: &Sidecar, name: &str, labels: &[&str], expected: &Counts) {
    let mut last = Counts::new();
    let equal = async {
        loop {
            last = samples(sidecar, name, labels).await;
            if last == *expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(30 * SECOND, equal).await.is_err() {
        let keys: std::collections::BTreeSet<_> = last.keys().chain(expected.keys()).collect();
        let differ = keys
            .iter()
            .filter(|key| last.get(**key) != expected.get(**key));
        let differ: Vec<_> = differ
            .map(|key| (key, last.get(*key), expected.get(*key)))
            .collect();
        panic!(
            "{name} {labels:?}: (what, counted, expected): {differ:#?}\n{}",
            sidecar.log()
        );
    }
}

/// After a restart, requests from before it are heard of again and wait for their lines: nothing may
/// have come of it when that is over.
async fn known_requests_have_waited() {
    let over = now() + 4_000_000_000;
    until("known requests have waited for their lines", async || {
        (now() > over).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_is_counted_once_whoever_tells_of_it() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let mix = Mix::new(&setup, 7);
    let sidecar = setup.start().await;
    for body in &mix.bodies {
        assert_eq!(sidecar.post_spans(body).await.0, 202);
    }
    has_exactly(&sidecar, TOTAL, &LABELS, &mix.expected).await;
    sidecar
        .counts("emco_request_duration_seconds_count", &["\"4xx\""], 7)
        .await;
    // what only an access line tells of took nobody knows how long
    let timed = sidecar
        .metric("emco_request_duration_seconds_count", &[])
        .await;
    assert_eq!(timed, 7 * 5);
    let queries = Counts::from([("mongo find ok".to_owned(), 7 * 3)]);
    has_exactly(&sidecar, CALLS, &["kind", "operation", "outcome"], &queries).await;
    // the document of a request around the proxy has the status of its access line
    until("the status is in the document", async || {
        let requests = elastic.store.requests();
        let status = |request: &&Value| request["http.response.status_code"] == 409;
        (requests.iter().filter(status).count() == 7).then_some(())
    })
    .await;
    let flying = sidecar
        .metric("emco_requests_in_flight", &["action=\"instantiate\""])
        .await;
    assert_eq!(flying, 7);
    // nothing is counted again after a restart, and nothing is forgotten
    sidecar.is_level().await;
    let labels = ["level"];
    let levels = samples(&sidecar, "emco_log_lines_total", &labels).await;
    assert_eq!(levels.values().sum::<u64>(), 1 + 7 * 5);
    sidecar.kill().await;
    let sidecar = setup.start().await;
    has_exactly(&sidecar, TOTAL, &LABELS, &mix.expected).await;
    assert_eq!(
        samples(&sidecar, "emco_log_lines_total", &labels).await,
        levels
    );
    known_requests_have_waited().await;
    has_exactly(&sidecar, TOTAL, &LABELS, &mix.expected).await;
    has_exactly(&sidecar, CALLS, &["kind", "operation", "outcome"], &queries).await;
    let again = sidecar
        .metric("emco_request_duration_seconds_count", &[])
        .await;
    assert_eq!(again, timed);
    assert_eq!(sidecar.metric("emco_requests_in_flight", &[]).await, flying);
}

/// What one service said in a recording: the lines of its container, its proxy's records, the bodies
/// of its spans.
struct Recording {
    lines: Vec<Vec<u8>>,
    records: Vec<Value>,
    /// With the times at which they came.
    bodies: Vec<(u64, Vec<u8>)>,
    expected: Counts,
    calls: Counts,
    remote: Counts,
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let unpacked = MultiGzDecoder::new(file).take(RECORDED_BYTES_MAX);
        BufReader::new(unpacked).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

fn objects(path: &Path) -> Vec<Value> {
    let bytes = unpacked(path);
    let lines = bytes.lines().map(Result::unwrap);
    lines
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

/// A recording beside the repository; `None`, and said, where there is none.
fn recorded(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = folder.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no recordings");
    eprintln!("SKIPPED, NOT TESTED: {} is missing", folder.display());
    None
}

impl Recording {
    fn open(folder: &Path, service: &str) -> Self {
        let lines = unpacked(&folder.join(format!("{service}.cri.log.gz")));
        let lines: Vec<Vec<u8>> = lines
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let bundle = format!("{service}.emco.bodies.gz");
        let bytes = unpacked(&folder.join("spans").join(&bundle));
        let bodies = objects(&folder.join("spans/headers.jsonl.gz"));
        let own = bodies
            .iter()
            .filter(|body| body["bundle"] == bundle.as_str());
        let place = |body: &Value, key: &str| usize::try_from(body[key].as_u64().unwrap()).unwrap();
        let bodies = own.map(|body| {
            let from = place(body, "offset");
            let body_bytes = bytes[from..from + place(body, "length")].to_vec();
            (body["arrival_ns"].as_u64().unwrap(), body_bytes)
        });
        let mut recording = Self {
            lines: lines.into_iter().filter(|line| !line.is_empty()).collect(),
            records: objects(&folder.join(format!("access/{service}.jsonl.gz"))),
            bodies: bodies.collect(),
            expected: Counts::new(),
            calls: Counts::new(),
            remote: Counts::new(),
        };
        recording.expect();
        recording
    }

    /// Counts by the rules of the documentation, without the product's code.
    fn expect(&mut self) {
        for line in &self.lines {
            let text = String::from_utf8_lossy(line);
            let fields: Vec<&str> = text.split(' ').collect();
            if fields[1] == "stdout" && fields.get(8).is_some_and(|field| field.starts_with('"')) {
                let key = format!("{} {}xx", fields[8].trim_matches('"'), &fields[11][..1]);
                *self.expected.entry(key).or_default() += 1;
            }
        }
        let spans = self.bodies.iter().flat_map(|(_, body)| {
            let spans: Vec<Value> = serde_json::from_slice(body).unwrap();
            spans
        });
        let outcome = |span: &Value| match span["tags"]["otel.status_code"].as_str() {
            Some("Error") => "error",
            _ => "ok",
        };
        let mut parents = std::collections::HashSet::new();
        for span in spans {
            let name = span["name"].as_str().unwrap();
            match span["kind"].as_str() {
                Some("CLIENT") => {
                    let key = format!("{} {}", called(name), outcome(&span));
                    *self.calls.entry(key).or_default() += 1;
                }
                Some("SERVER") => {
                    let method = span["tags"]["rpc.method"].as_str().unwrap();
                    let key = format!("{method} {}", outcome(&span));
                    *self.remote.entry(key).or_default() += 1;
                    parents.extend(span["parentId"].as_str().map(str::to_owned));
                }
                _ => {}
            }
        }
        for record in self
            .records
            .iter()
            .filter(|record| record["grpc_status"].is_string())
        {
            let proxy = record["b3"].as_str().unwrap().split('-').nth(1).unwrap();
            if !parents.contains(proxy) {
                let method = record["path"].as_str().unwrap().rsplit('/').next().unwrap();
                let outcome = if record["grpc_status"] == "OK" {
                    "ok"
                } else {
                    "error"
                };
                let key = format!("{method} {outcome}");
                *self.remote.entry(key).or_default() += 1;
            }
        }
        let counted: u64 = self.expected.values().chain(self.remote.values()).sum();
        assert!(counted > 10, "{counted} requests were recorded");
        assert!(!self.calls.is_empty(), "no calls were recorded");
    }

    /// The records as the runtime writes them, in the order of their times.
    fn proxy_lines(&self) -> Vec<(u64, Vec<u8>)> {
        let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
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

    /// The lines of the service with their times.
    fn timed_lines(&self) -> Vec<(u64, Vec<u8>)> {
        let time = |line: &[u8]| {
            let stamp = line.split(|byte| *byte == b' ').next().unwrap();
            UnixNanos::parse_rfc3339(stamp).unwrap().0
        };
        self.lines
            .iter()
            .map(|line| (time(line), line.clone()))
            .collect()
    }
}

/// Kind and operation by the name of a client span.
fn called(name: &str) -> String {
    match name.split_once('/') {
        Some(("etcdserverpb.kv" | "etcdserverpb.auth", method)) => format!("etcd {method}"),
        Some(_) => format!("grpc {name}"),
        None => format!("mongo {}", name.rsplit('.').next().unwrap()),
    }
}

fn lower(counts: Counts) -> Counts {
    let lower = |(key, count): (String, u64)| (key.to_lowercase(), count);
    counts.into_iter().map(lower).collect()
}

/// Requests over HTTP by method and class; those over gRPC by method and outcome.
async fn requests(sidecar: &Sidecar) -> (Counts, Counts) {
    let all = samples(sidecar, TOTAL, &["action", "method", "status_class"]).await;
    let (mut http, mut remote) = (Counts::new(), Counts::new());
    for (key, count) in all {
        let fields: Vec<&str> = key.split(' ').collect();
        let (counts, key) = match fields[2] {
            "ok" | "error" => (&mut remote, format!("{} {}", fields[0], fields[2])),
            class => (&mut http, format!("{} {class}", fields[1])),
        };
        *counts.entry(key).or_default() += count;
    }
    (http, remote)
}

#[tokio::test]
async fn recorded_requests_are_counted_once_over_kills() {
    // another recording without faults can be named
    let name = std::env::var("EMCO_TEST_RECORDING").unwrap_or("truth/calm".to_owned());
    let Some(folder) = recorded(&name) else {
        return;
    };
    for service in ["orchestrator", "rsync"] {
        let recording = Recording::open(&folder, service);
        let elastic = Server::start().await;
        let setup = Setup::new().beside(service).elastic(elastic.address);
        let (mut own, mut proxy) = (setup.service(), setup.pod.container("istio-proxy"));
        let (lines, records) = (recording.timed_lines(), recording.proxy_lines());
        let steps = 6;
        let ends = (1..steps).map(|step| lines[lines.len() * step / steps].0);
        let ends: Vec<u64> = ends.chain([u64::MAX]).collect();
        let mut sidecar = setup.start().await;
        let (mut before, mut from) = (Counts::new(), 0);
        for (step, to) in ends.into_iter().enumerate() {
            let now = |(time, _): &&(u64, Vec<u8>)| (from..to).contains(time);
            for (_, record) in records.iter().filter(now) {
                proxy.raw(record);
            }
            for (_, body) in recording.bodies.iter().filter(now) {
                assert_eq!(sidecar.post_spans(body).await.0, 202);
            }
            for (_, line) in lines.iter().filter(now) {
                own.raw(line);
            }
            from = to;
            // not before it reads, and at no particular moment after
            sidecar
                .counts("emco_observer_head_read_records_total", &[], step * 20)
                .await;
            let shown = samples(&sidecar, TOTAL, &LABELS).await;
            for (key, count) in &before {
                assert!(shown.get(key) >= Some(count), "{key} went back");
            }
            before = shown;
            sidecar.kill().await;
            sidecar = setup.start().await;
        }
        let mut last = (Counts::new(), Counts::new());
        let expected = (recording.expected.clone(), recording.remote.clone());
        let started = now();
        while last != expected && now() < started + 30_000_000_000 {
            last = requests(&sidecar).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(last, expected, "{service}: {}", sidecar.log());
        let calls = samples(&sidecar, CALLS, &["kind", "operation", "outcome"]).await;
        assert_eq!(lower(calls), recording.calls, "{service}");
        sidecar.is_level().await;
        known_requests_have_waited().await;
        assert_eq!(requests(&sidecar).await, expected, "{service} later");
        let lines = sidecar.metric("emco_log_lines_total", &[]).await;
        let decided = sidecar
            .metric("emco_observer_ledger_lines_total", &[])
            .await;
        assert!(
            lines <= recording.lines.len() as u64 && decided >= lines,
            "{lines} {decided}"
        );
    }
}
