//! A whole recording before Jaeger and Prometheus, eight sidecars with their noise rules as they come:
//! Jaeger has what was kept, and finds it by whatever its operator knows; Prometheus' exemplars lead to
//! its traces; every service's page of metrics is read by the tools of others.
//!
//! ```text
//!                                    ┌─▶ Jaeger ◀── service, route, person, error, duration
//! recorded lines, records, spans ─▶ sidecars                  ▲
//!                                    └─▶ pages ◀── Prometheus ┘ exemplars
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use common::identity::Hub;
use common::openmetrics::{OPEN_METRICS, parsed};
use common::pod::now;
use common::recording::{self, Recording, SERVICES};
use common::sidecar::{Setup, Sidecar, targets};
use common::{http, until};
use serde_json::{Value, json};
use testkit::peers::{Jaeger, Prometheus, check_metrics, encoded};
use testkit::spans::SpanAccount;

const RECORDING: &str = "truth/traced";
const ORCHESTRATOR: &str = "orchestrator.emco";
/// The recording is played in so many parts, and so many times as fast as it was recorded at most: what
/// is known of a request is forgotten after half a minute of the recording.
const PARTS: usize = 24;
const FASTER: u64 = 4;
/// People and records are found within this time also on a machine with much to do.
const WAIT: &str = "4s";
/// More than any answer has.
const LIMIT: usize = 100_000;
/// Part of the recording that one question is about, in microseconds.
const WINDOW: u64 = 10_000_000;

/// These are asked for by route; one question brings all their traces.
const ASKED: [&str; 4] = ["instantiate", "terminate", "approve", "rollback"];
const NOISE: [&str; 4] = ["metrics_poll", "scrape", "etcd_poll", "etcd_read"];

type Traces = BTreeSet<String>;

/// What of the recording matters here, from the spans that came in.
#[derive(Default)]
struct Sent {
    account: SpanAccount,
    /// How many spans, by service.
    spans: BTreeMap<String, u64>,
    /// Requests over HTTP by service and operation: how long they took in microseconds, by trace.
    requests: BTreeMap<(String, String), BTreeMap<String, u64>>,
    /// Where a span failed, by service.
    failed: BTreeMap<String, Traces>,
    /// When the first and the last began, in microseconds.
    range: Option<(u64, u64)>,
}

impl Sent {
    fn body(&mut self, body: &[u8]) {
        self.account.send(body, true).unwrap();
        let spans: Vec<Value> = serde_json::from_slice(body).unwrap();
        for span in spans {
            let service = span["localEndpoint"]["serviceName"].as_str().unwrap();
            let trace = id(&span["traceId"]);
            *self.spans.entry(service.to_owned()).or_default() += 1;
            let start = span["timestamp"].as_u64().unwrap();
            let (first, last) = self.range.unwrap_or((start, start));
            self.range = Some((first.min(start), last.max(start)));
            if recording::shape_in(&span).1 {
                let failed = self.failed.entry(service.to_owned()).or_default();
                failed.insert(trace.clone());
            }
            let name = span["name"].as_str().unwrap();
            let is_request = span["kind"].is_null() && name != "get /metrics";
            if let Some((method, path)) = name.split_once(' ').filter(|_| is_request) {
                let method = method.to_uppercase();
                let operation = format!("{method} {}", recording::route(&method, path));
                let requests = self.requests.entry((service.to_owned(), operation));
                let took = span["duration"].as_u64().unwrap();
                requests.or_default().insert(trace, took);
            }
        }
    }

    /// Traces in which `service` served a request.
    fn served(&self, service: &str) -> Traces {
        let own = self.requests.iter().filter(|((of, _), _)| of == service);
        own.flat_map(|(_, requests)| requests.keys().cloned())
            .collect()
    }
}

/// Ids may be written without their zeros.
fn id(of: &Value) -> String {
    format!("{:0>32}", of.as_str().unwrap())
}

/// Jaeger, and the time that is asked about.
struct Asked {
    jaeger: Jaeger,
    range: (u64, u64),
}

impl Asked {
    fn traces(&self, service: &str, (from, to): (u64, u64), more: &str) -> Vec<Value> {
        let path =
            format!("/api/traces?service={service}&start={from}&end={to}&limit={LIMIT}&{more}");
        let answer = self.jaeger.ask(&path);
        let traces = answer["data"].as_array();
        traces.unwrap_or_else(|| panic!("{path}: {answer}")).clone()
    }

    /// The ids of what it finds.
    fn found(&self, service: &str, more: &str) -> Traces {
        let traces = self.traces(service, self.range, more);
        traces.iter().map(|trace| id(&trace["traceID"])).collect()
    }

    fn tagged(&self, service: &str, pairs: &Value) -> Traces {
        self.found(service, &format!("tags={}", encoded(&pairs.to_string())))
    }

    /// All that it has: spans by service, each with its trace.
    fn all(&self) -> BTreeMap<String, BTreeSet<(String, String)>> {
        let mut stored: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        for service in SERVICES.map(full) {
            let mut from = self.range.0;
            while from <= self.range.1 {
                let until = from + WINDOW - 1;
                for trace in self.traces(&service, (from, until), "") {
                    for span in trace["spans"].as_array().unwrap() {
                        let process = span["processID"].as_str().unwrap();
                        let process = &trace["processes"][process];
                        let service = process["serviceName"].as_str().unwrap();
                        let spans = stored.entry(service.to_owned()).or_default();
                        let span = span["spanID"].as_str().unwrap().to_owned();
                        spans.insert((id(&trace["traceID"]), span));
                    }
                }
                from = until + 1;
            }
        }
        stored
    }

    /// What it calls the operations of a service, by what they are without names of parameters.
    fn operations(&self, service: &str) -> HashMap<String, String> {
        let answer = self
            .jaeger
            .ask(&format!("/api/services/{service}/operations"));
        let names = answer["data"].as_array().unwrap().iter();
        let names = names.filter_map(|name| {
            let name = name.as_str().unwrap();
            let (method, route) = name.split_once(' ')?;
            let anonymous = format!("{method} {}", recording::anonymous(route));
            Some((anonymous, name.to_owned()))
        });
        names.collect()
    }
}

/// What a service calls itself in its spans.
fn full(service: &str) -> String {
    format!("{service}.emco")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recording_found_in_jaeger_and_prometheus() {
    let Some(folder) = recording::folder(RECORDING) else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let Some(jaeger) = Jaeger::start(data.path()) else {
        return;
    };
    let hub = Hub::start().await;
    let people = people(&folder);
    for (trace, (_, user)) in &people {
        hub.gateway_says(trace, user);
    }
    let setups = SERVICES.map(|service| {
        let setup = Setup::new().beside(service).hub(hub.address);
        let setup = setup.spans_bytes_max(256 << 20);
        let mut setup = setup.otlp(jaeger.otlp, "request_timeout: 30s");
        setup.wait = WAIT;
        setup
    });
    let targets = targets(&setups);
    let Some(prometheus) = Prometheus::start(data.path(), &targets) else {
        return;
    };
    let mut sidecars = Vec::new();
    for setup in &setups {
        sidecars.push(setup.start().await);
    }
    let recordings = SERVICES.map(|service| Recording::open(&folder, service));
    let mut sent = Sent::default();
    play(&recordings, &setups, &sidecars, &mut sent).await;
    for sidecar in &sidecars {
        until("no span waits", async || {
            let waiting = sidecar.metric("emco_observer_otlp_waiting_spans", &[]);
            (waiting.await == 0).then_some(())
        })
        .await;
    }
    let range = sent.range.unwrap();
    let asked = Asked { jaeger, range };
    let stored = asked.all();
    has_what_was_kept(&stored, &mut sent, &sidecars).await;
    finds_routes_and_durations(&asked, &sent);
    finds_people(&asked, &sent, &people);
    finds_errors(
        &asked,
        &sent,
        &recordings,
        &recording::objects(&folder.join("client.jsonl.gz")),
    );
    let spans = stored.values().flatten();
    let traces = spans.map(|(trace, _)| trace.clone()).collect();
    exemplars_lead_to_traces(&prometheus, &traces).await;
    for (setup, sidecar) in setups.iter().zip(&sidecars) {
        page_is_read_by_others(setup, sidecar).await;
    }
}

/// Spans by service: those that came in without those that a noise rule dropped, and which these are
/// follows from the spans alone.
async fn has_what_was_kept(
    stored: &BTreeMap<String, BTreeSet<(String, String)>>,
    sent: &mut Sent,
    sidecars: &[Sidecar],
) {
    let mut all_dropped = 0;
    for (service, sidecar) in SERVICES.map(full).iter().zip(sidecars) {
        let name = "emco_observer_otlp_dropped_spans_total";
        let mut dropped = 0;
        for rule in NOISE {
            let label = format!("reason=\"{rule}\"");
            dropped += sidecar.metric(name, &[&label]).await;
        }
        assert_eq!(sidecar.metric(name, &[]).await, dropped, "{service}");
        let kept = sent.spans[service] - dropped;
        assert_eq!(stored[service].len() as u64, kept, "{service}");
        all_dropped += dropped;
    }
    for (service, spans) in stored {
        for (trace, span) in spans {
            sent.account.store(service, trace, span);
        }
    }
    let report = sent.account.report();
    assert_eq!(
        (report.lost, report.unknown, report.left_out),
        (0, 0, all_dropped),
        "{report:?}"
    );
    assert!(all_dropped > 1_000, "{all_dropped} spans were noise");
}

/// Every route of the smaller services, those of the orchestrator that are asked for most, and of these
/// the slower half.
fn finds_routes_and_durations(asked: &Asked, sent: &Sent) {
    let mut routes = 0;
    for ((service, operation), requests) in &sent.requests {
        let verb = operation.rsplit('/').next().unwrap();
        if service == ORCHESTRATOR && !ASKED.contains(&verb) {
            continue;
        }
        routes += 1;
        let operations = asked.operations(service);
        let name = operations
            .get(operation)
            .unwrap_or_else(|| panic!("{service} has no {operation}: {operations:#?}"));
        let operation = format!("operation={}", encoded(name));
        let all: Traces = requests.keys().cloned().collect();
        assert_eq!(asked.found(service, &operation), all, "{service} {name}");
        if ASKED.contains(&verb) {
            let mut times: Vec<u64> = requests.values().copied().collect();
            times.sort_unstable();
            let median = times[times.len() / 2];
            let slower = requests.iter().filter(|(_, took)| **took >= median);
            let slower: Traces = slower.map(|(trace, _)| trace.clone()).collect();
            let more = format!("{operation}&minDuration={median}us");
            assert_eq!(asked.found(service, &more), slower, "{service} {name}");
        }
    }
    assert!(routes > 20, "{routes} routes");
}

/// A person's requests, and nobody else's.
fn finds_people(asked: &Asked, sent: &Sent, people: &HashMap<String, (String, String)>) {
    let users: BTreeSet<&String> = people.values().map(|(_, user)| user).collect();
    assert!(users.len() > 5, "{users:?}");
    for service in ["orchestrator", "dcm", "clm"] {
        let served = sent.served(&full(service));
        for user in &users {
            let own = |trace: &&String| people.get(*trace).is_some_and(|(_, by)| by == *user);
            let expected: Traces = served.iter().filter(own).cloned().collect();
            let found = asked.tagged(&full(service), &json!({"user.id": user}));
            assert_eq!(found, expected, "{service} {user}");
        }
    }
}

/// What failed by its span, or by the status that its proxy or its caller saw.
fn finds_errors(asked: &Asked, sent: &Sent, recordings: &[Recording], clients: &[Value]) {
    let mut errors = 0;
    for (service, recording) in SERVICES.iter().zip(recordings) {
        let records = recording.records.iter();
        let direct = clients.iter().filter(|client| client["via"] == *service);
        let seen = records.map(|record| (record, "response_code"));
        let seen = seen.chain(direct.map(|client| (client, "status")));
        let failed = seen.filter(|(by, status)| by[status].as_u64().unwrap() >= 500);
        let service = full(service);
        let served = sent.served(&service);
        let failed = failed.filter_map(|(by, _)| trace_of(by));
        let mut expected: Traces = failed.filter(|trace| served.contains(trace)).collect();
        expected.extend(sent.failed.get(&service).into_iter().flatten().cloned());
        let found = asked.tagged(&service, &json!({"error": "true"}));
        let differ: Vec<_> = found.symmetric_difference(&expected).collect();
        assert_eq!(differ, [""; 0], "{service}: found or expected, not both");
        errors += expected.len();
    }
    assert!(errors > 50, "{errors} errors");
}

/// The trace in what a proxy or a caller wrote down.
fn trace_of(record: &Value) -> Option<String> {
    let single = record["b3"].as_str().and_then(|b3| b3.split('-').next());
    let trace = record["x_b3_traceid"].as_str().or(single)?;
    Some(format!("{trace:0>32}"))
}

async fn exemplars_lead_to_traces(prometheus: &Prometheus, traces: &Traces) {
    let mut services = BTreeSet::new();
    for family in [
        "emco_requests_total",
        "emco_request_duration_seconds_bucket",
    ] {
        let found = until("Prometheus has exemplars", async || {
            let query = encoded(family);
            let all = format!("/api/v1/query_exemplars?query={query}&start=0&end=4102444800");
            let answer = prometheus.ask(&all);
            let series = answer["data"].as_array()?.clone();
            (!series.is_empty()).then_some(series)
        })
        .await;
        for series in found {
            for exemplar in series["exemplars"].as_array().unwrap() {
                let trace = id(&exemplar["labels"]["trace_id"]);
                assert!(
                    traces.contains(&trace),
                    "{trace} is not in Jaeger: {series}"
                );
                services.insert(
                    series["seriesLabels"]["service"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    let expected = ["clm", "dcm", "gac", "ncm", "orchestrator", "rsync"];
    assert_eq!(services, expected.map(str::to_owned).into());
}

/// promtool has nothing to say about the page, and the reference parser reads its other form.
async fn page_is_read_by_others(setup: &Setup, sidecar: &Sidecar) {
    let page = sidecar.page().await;
    assert!(page.contains("emco_requests_total{"), "{page}");
    if let Some(said) = check_metrics(page.as_bytes()) {
        assert_eq!(said, "", "{page}");
    }
    let page = http::get_as(setup.admin, "/metrics", OPEN_METRICS).await;
    let (status, page) = page.expect("it answers");
    assert_eq!(status, 200);
    let Some(families) = parsed(&page) else {
        return;
    };
    let has_samples = |name: &str| {
        let mut named = families.iter().filter(|family| family["name"] == name);
        named.any(|family| family["samples"].as_u64() > Some(0))
    };
    for name in [
        "emco_requests",
        "emco_request_duration_seconds",
        "emco_log_lines",
    ] {
        assert!(has_samples(name), "{name}: {page}");
    }
}

/// Who asked which service under which trace, as the gateway's records say it.
fn people(folder: &Path) -> HashMap<String, (String, String)> {
    let records = recording::objects(&folder.join("access/istio-ingressgateway.jsonl.gz"));
    let known = records.iter().filter_map(|record| {
        let text = |key: &str| record[key].as_str();
        let host = text("upstream_cluster")?.rsplit('|').next()?;
        let service = host.split('.').next()?.to_owned();
        let person = (service, text("x_user_id")?.to_owned());
        Some((text("x_b3_traceid")?.to_owned(), person))
    });
    known.collect()
}

/// Plays all services beside each other.
async fn play(recordings: &[Recording], setups: &[Setup], sidecars: &[Sidecar], sent: &mut Sent) {
    let (mut from, lines) = (0, &recordings[0].lines);
    let start = now();
    let records: Vec<_> = recordings.iter().map(Recording::proxy_lines).collect();
    for part in 1..=PARTS {
        let to = lines
            .get(lines.len() * part / PARTS)
            .map_or(u64::MAX, |(time, _)| *time);
        let due = start + (from.max(lines[0].0) - lines[0].0) / FASTER;
        until("the next part is due", async || {
            (now() >= due).then_some(())
        })
        .await;
        let is_now = |time: u64| (from..to).contains(&time);
        for (place, sidecar) in sidecars.iter().enumerate() {
            let (recording, setup) = (&recordings[place], &setups[place]);
            let mut proxy = setup.pod.container("istio-proxy");
            for (_, record) in records[place].iter().filter(|(at, _)| is_now(*at)) {
                proxy.raw(record);
            }
            for (_, body) in recording.bodies.iter().filter(|(at, _)| is_now(*at)) {
                assert_eq!(sidecar.post_spans(body).await.0, 202);
                sent.body(body);
            }
            let mut own = setup.service();
            for (_, line) in recording.lines.iter().filter(|(at, _)| is_now(*at)) {
                own.raw(line);
            }
        }
        from = to;
    }
}
