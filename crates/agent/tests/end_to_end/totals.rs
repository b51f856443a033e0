//! What is counted of requests, lines and calls: each once, whoever told of it, over restarts.

use std::time::Duration;

use serde_json::Value;

use crate::common::bulk::Server;
use crate::common::mix::{Counts, LABELS, Mix, samples};
use crate::common::pod::now;
use crate::common::recording::{self, Recording};
use crate::common::requests::Request;
use crate::common::sidecar::{Setup, Sidecar, free_addresses};
use crate::common::until;

const TOTAL: &str = "emco_requests_total";
const CALLS: &str = "emco_dependency_calls_total";
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

/// The proxy answered by itself and nobody traces: its record says so, and no access line will.
#[tokio::test]
async fn a_request_that_only_a_record_tells_of_is_counted_once_over_a_kill() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let (mut service, mut proxy) = (setup.service(), setup.pod.container("istio-proxy"));
    service.ago(Duration::from_mins(2)).logrus("started");
    let sidecar = setup.start().await;
    let request = Request::new(1, now() - 30_000_000);
    let mut record: Value = serde_json::from_str(&request.access()).unwrap();
    record["response_code"] = 503.into();
    for traced in ["x_b3_traceid", "x_b3_spanid", "x_b3_sampled"] {
        record[traced] = Value::Null;
    }
    proxy.at(now()).says(&record.to_string(), "");
    let read = "emco_observer_head_read_records_total";
    sidecar.counts(read, &[], 2).await;
    // longer than it takes to write a line, and shorter than it takes to know that no other comes
    let over = now() + 1_000_000_000;
    until("the record was read", async || (now() > over).then_some(())).await;
    sidecar.kill().await;
    let sidecar = setup.start().await;
    let route = "/v2/projects/{project}/composite-apps/{compositeApp}/{compositeAppVersion}\
                 /deployment-intent-groups/{deploymentIntentGroup}/instantiate";
    let once = Counts::from([(format!("{route} instantiate POST 5xx"), 1)]);
    for _ in 0..2 {
        has_exactly(&sidecar, TOTAL, &LABELS, &once).await;
        known_requests_have_waited().await;
    }
    sidecar.is_level().await;
    service.written.append(&mut proxy.written);
    elastic.store.has_ids(&service.written).await;
}

/// Nobody takes documents, the log is full, and spans go on telling of requests.
#[tokio::test]
async fn requests_without_room_are_counted_all_the_same() {
    const REQUESTS: u64 = 12_000;
    let [address] = free_addresses();
    let log = "  disk_bytes_max: 262144\n";
    let setup = Setup::new().elastic(address).with_lanes(log);
    setup.service().logrus("started");
    let sidecar = setup.start().await;
    for first in (1..=REQUESTS).step_by(500) {
        let spans = (first..first + 500).flat_map(|number| Request::new(number, now()).spans());
        let handlers = spans.filter(|span| span["kind"].is_null());
        let body = handlers.collect::<Value>().to_string();
        assert_eq!(sidecar.post_spans(body.as_bytes()).await.0, 202);
    }
    let dropped = "emco_observer_head_dropped_requests_total";
    sidecar.counts(dropped, &[], 1).await;
    sidecar
        .says(&["verdict log is full: requests go without their documents"])
        .await;
    let elastic = Server::at(address).await;
    // a small log takes its time
    for some in 1..=4 {
        let some = usize::try_from(REQUESTS / 4 * some).unwrap();
        sidecar.counts(TOTAL, &[], some).await;
    }
    sidecar.is_level().await;
    assert_eq!(sidecar.metric(TOTAL, &[]).await, REQUESTS);
    let dropped = sidecar.metric(dropped, &[]).await;
    let documents = elastic.store.requests().len() as u64;
    assert_eq!(documents + dropped, REQUESTS, "{dropped} were dropped");
}

/// What is to be counted of a recording.
struct Expected {
    http: Counts,
    calls: Counts,
    remote: Counts,
}

impl Expected {
    /// Counts by the rules of the documentation, without the product's code.
    fn of(recording: &Recording) -> Self {
        let (mut http, mut calls, mut remote) = (Counts::new(), Counts::new(), Counts::new());
        for (_, line) in &recording.lines {
            let text = String::from_utf8_lossy(line);
            let fields: Vec<&str> = text.split(' ').collect();
            if fields[1] == "stdout" && fields.get(8).is_some_and(|field| field.starts_with('"')) {
                let key = format!("{} {}xx", fields[8].trim_matches('"'), &fields[11][..1]);
                *http.entry(key).or_default() += 1;
            }
        }
        for span in recording.spans().filter(|span| span["kind"] == "CLIENT") {
            let name = span["name"].as_str().unwrap();
            let key = format!("{} {}", called(name), recording::outcome(&span));
            *calls.entry(key).or_default() += 1;
        }
        for (method, outcome) in recording.remote_calls() {
            *remote.entry(format!("{method} {outcome}")).or_default() += 1;
        }
        let counted: u64 = http.values().chain(remote.values()).sum();
        assert!(counted > 10, "{counted} requests were recorded");
        assert!(!calls.is_empty(), "no calls were recorded");
        Self {
            http,
            calls,
            remote,
        }
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
    let Some(folder) = recording::folder(&name) else {
        return;
    };
    for service in ["orchestrator", "rsync"] {
        let recording = Recording::open(&folder, service);
        let counts = Expected::of(&recording);
        let elastic = Server::start().await;
        let setup = Setup::new().beside(service).elastic(elastic.address);
        let (mut own, mut proxy) = (setup.service(), setup.pod.container("istio-proxy"));
        let (lines, records) = (&recording.lines, recording.proxy_lines());
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
        let expected = (counts.http, counts.remote);
        let started = now();
        while last != expected && now() < started + 30_000_000_000 {
            last = requests(&sidecar).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(last, expected, "{service}: {}", sidecar.log());
        let calls = samples(&sidecar, CALLS, &["kind", "operation", "outcome"]).await;
        assert_eq!(lower(calls), counts.calls, "{service}");
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
