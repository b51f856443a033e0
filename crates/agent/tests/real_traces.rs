//! The real binary into receivers of traces that somebody else wrote: Jaeger and the OpenTelemetry
//! Collector, both installed by `cargo xtask peers`. Without them these tests fail where `CI=true` and
//! say so elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::identity::Hub;
use common::pod::now;
use common::recording;
use common::requests::{Request, TAKES};
use common::sidecar::{Setup, Sidecar};
use common::until;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use testkit::peers::{Collector, Jaeger, encoded};

const SERVICE: &str = "orchestrator.emco";
const ROUTE: &str = "/v2/projects/{project}/composite-apps/{compositeApp}/{compositeAppVersion}\
                     /deployment-intent-groups/{deploymentIntentGroup}/instantiate";
const REQUESTS: u64 = 30;
/// Everything is exported.
const NO_NOISE: &str = "noise: {metrics_polls: 1, scrapes: 1, etcd_polls: 1}";
/// Spans of a recording that are played of each service, at least.
const RECORDED_SPANS: usize = 3_000;
const BUNDLE_BYTES_MAX: u64 = 256 << 20;

async fn is_through(sidecar: &Sidecar, spans: usize) {
    sidecar
        .counts("emco_observer_otlp_exported_spans_total", &[], spans)
        .await;
    let dropped = "emco_observer_otlp_dropped_spans_total";
    assert_eq!(sidecar.metric(dropped, &[]).await, 0);
}

/// Traces that Jaeger finds for these parameters.
fn found(jaeger: &Jaeger, parameters: &str) -> Vec<Value> {
    let path = format!("/api/traces?service={SERVICE}&lookback=1h&limit=1000&{parameters}");
    let answer = jaeger.ask(&path);
    answer["data"].as_array().cloned().unwrap_or_default()
}

fn tags(pairs: &Value) -> String {
    format!("tags={}", encoded(&pairs.to_string()))
}

/// A request is found by whatever its operator knows of it.
#[tokio::test]
async fn jaeger_finds_requests_by_service_route_person_error_and_duration() {
    let folder = tempfile::tempdir().unwrap();
    let Some(jaeger) = Jaeger::start(folder.path()) else {
        return;
    };
    let hub = Hub::start().await;
    let mut setup = Setup::new().hub(hub.address).otlp(jaeger.otlp, NO_NOISE);
    // people and records are found within this time also on a machine with much to do
    setup.wait = "3s";
    let mut service = setup.service();
    service.ago(Duration::from_mins(2)).logrus("started");
    let mut proxy = setup.pod.container("istio-proxy");
    let sidecar = setup.start().await;
    // zeros are no span id, and number 0 would have them
    for number in 1..=REQUESTS {
        let request = Request::new(number, now() - TAKES);
        let person = if number % 3 == 0 { "alice" } else { "bob" };
        hub.gateway_says(&request.trace, person);
        proxy.at(request.start + TAKES).says(&request.access(), "");
        let mut spans = request.spans();
        if number % 5 == 0 {
            spans[0]["tags"]["error"] = "connection refused".into();
        }
        if number == 7 {
            spans[1]["duration"] = 9_000_000.into();
        }
        let body = Value::from(spans).to_string();
        let (status, said) = sidecar.post_spans(body.as_bytes()).await;
        assert_eq!(status, 202, "{said}");
    }
    let requests = usize::try_from(REQUESTS).unwrap();
    is_through(&sidecar, 2 * requests).await;
    let all = until("Jaeger has all traces", async || {
        Some(found(&jaeger, "")).filter(|traces| traces.len() == requests)
    })
    .await;
    let spans: usize = all
        .iter()
        .map(|trace| trace["spans"].as_array().unwrap().len())
        .sum();
    assert_eq!(spans, 2 * requests);
    let services = jaeger.ask("/api/services");
    assert_eq!(services["data"], json!([SERVICE]));
    let operation = format!("operation={}", encoded(&format!("POST {ROUTE}")));
    for (what, parameters, traces) in [
        ("route", operation, 30),
        ("route as a tag", tags(&json!({"http.route": ROUTE})), 30),
        ("alice", tags(&json!({"user.id": "alice"})), 10),
        ("bob", tags(&json!({"user.id": "bob"})), 20),
        ("nobody", tags(&json!({"user.id": "carol"})), 0),
        (
            "person and source",
            tags(&json!({"user.id": "bob", "emco.user.source": "gateway"})),
            20,
        ),
        ("project", tags(&json!({"emco.project": "p1"})), 30),
        (
            "status",
            tags(&json!({"http.response.status_code": "202"})),
            30,
        ),
        ("type of error", tags(&json!({"error.type": "_OTHER"})), 6),
        ("error", tags(&json!({"error": "true"})), 6),
        (
            "error of a person",
            tags(&json!({"error": "true", "user.id": "alice"})),
            2,
        ),
        (
            "error of nobody",
            tags(&json!({"error": "true", "user.id": "carol"})),
            0,
        ),
        ("duration", "minDuration=5s".to_owned(), 1),
        (
            "duration and error",
            format!("minDuration=5s&{}", tags(&json!({"error": "true"}))),
            0,
        ),
    ] {
        assert_eq!(found(&jaeger, &parameters).len(), traces, "{what}");
    }
    // what failed is marked, and nothing else
    for trace in &all {
        let spans = trace["spans"].as_array().unwrap().iter();
        for span in spans {
            let has = |key: &str, value: Value| {
                let mut tags = span["tags"].as_array().unwrap().iter();
                tags.any(|tag| tag["key"] == key && tag["value"] == value)
            };
            let refused = has("otel.status_description", "connection refused".into());
            assert_eq!(has("error", true.into()), refused, "{span}");
        }
    }
}

/// The bodies that a service of the recording sent, so many that they hold enough spans.
fn recorded(service: &str) -> Option<Vec<Vec<u8>>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/truth/traced");
    if !corpus.is_dir() {
        let missing = format!("{} is missing: no recording is played", corpus.display());
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}");
        eprintln!("SKIPPED, NOT TESTED: {missing}");
        return None;
    }
    let open = |path: PathBuf| BufReader::new(MultiGzDecoder::new(File::open(path).unwrap()));
    let bundle = format!("{service}.bodies.gz");
    let mut all = Vec::new();
    let file = open(corpus.join("spans").join(&bundle));
    file.take(BUNDLE_BYTES_MAX).read_to_end(&mut all).unwrap();
    let mut bodies = Vec::new();
    let mut spans = 0;
    for line in open(corpus.join("spans/headers.jsonl.gz")).lines() {
        let header: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if header["bundle"] != bundle.as_str() || spans >= RECORDED_SPANS {
            continue;
        }
        let number = |key: &str| usize::try_from(header[key].as_u64().unwrap()).unwrap();
        let body = all[number("offset")..number("offset") + number("length")].to_vec();
        let parsed: Vec<Value> = serde_json::from_slice(&body).unwrap();
        spans += parsed.len();
        bodies.push(body);
    }
    Some(bodies)
}

fn shape_out(span: &Value) -> (u64, bool, String) {
    let status = &span["status"];
    let said = status["message"].as_str().unwrap_or_default();
    let kind = span["kind"].as_u64().unwrap();
    (kind, status["code"] == 2, said.to_owned())
}

/// Whether that is the method and path with names in place of some of its parts.
fn is_route_of(name: &str, request: &str) -> bool {
    let Some((method, route)) = name.split_once(' ') else {
        return name.eq_ignore_ascii_case(request.split(' ').next().unwrap());
    };
    let (verb, path) = request.split_once(' ').unwrap();
    let path = path.split('?').next().unwrap();
    let (parts, wanted): (Vec<&str>, Vec<&str>) =
        (path.split('/').collect(), route.split('/').collect());
    method.eq_ignore_ascii_case(verb)
        && parts.len() == wanted.len()
        && parts
            .iter()
            .zip(&wanted)
            .all(|(part, wanted)| wanted.starts_with('{') || part.eq_ignore_ascii_case(wanted))
}

/// What has to be the same in a span that came in and one that went out: ids, parent, times, and the
/// moments of its events.
fn essence_in(span: &Value) -> Value {
    let micros = |value: &Value| value.as_u64().unwrap_or(0) * 1_000;
    let events: Vec<String> = span["annotations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|note| {
            let name = note["value"].as_str().unwrap().split(": {").next().unwrap();
            format!("{name} {}", micros(&note["timestamp"]))
        })
        .collect();
    let trace = span["traceId"].as_str().unwrap();
    json!({
        "trace": format!("{trace:0>32}"), "span": span["id"],
        "parent": span["parentId"].as_str().unwrap_or_default(),
        "start": micros(&span["timestamp"]),
        "end": micros(&span["timestamp"]) + micros(&span["duration"]),
        "events": events, "service": span["localEndpoint"]["serviceName"],
    })
}

fn essence_out(span: &Value) -> Value {
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let events: Vec<String> = span["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| {
            let name = event["name"].as_str().unwrap();
            format!("{name} {}", number(&event["timeUnixNano"]))
        })
        .collect();
    let attributes = span["resource"]["attributes"].as_array().unwrap();
    let service = attributes.iter().find(|pair| pair["key"] == "service.name");
    json!({
        "trace": span["traceId"], "span": span["spanId"],
        "parent": span["parentSpanId"].as_str().unwrap_or_default(),
        "start": number(&span["startTimeUnixNano"]), "end": number(&span["endTimeUnixNano"]),
        "events": events, "service": service.unwrap()["value"]["stringValue"],
    })
}

/// Every span once, with its ids, times, parent and events.
#[tokio::test]
async fn the_collector_gets_a_recording_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let Some(collector) = Collector::to_file(folder.path()) else {
        return;
    };
    let setup = Setup::new().otlp(collector.otlp, NO_NOISE);
    let sidecar = setup.start().await;
    let mut sent: BTreeMap<String, Value> = BTreeMap::new();
    let mut inputs: BTreeMap<String, Value> = BTreeMap::new();
    for service in [
        "orchestrator.emco",
        "rsync.emco",
        "dcm.emco",
        "clm.emco",
        "envoy-clm.emco",
    ] {
        let Some(bodies) = recorded(service) else {
            return;
        };
        for body in bodies {
            let (status, said) = sidecar.post_spans(&body).await;
            assert_eq!(status, 202, "{said}");
            let spans: Vec<Value> = serde_json::from_slice(&body).unwrap();
            for span in spans {
                let essence = essence_in(&span);
                let id = format!("{}{}", essence["trace"], essence["span"]);
                inputs.insert(id.clone(), span);
                assert_eq!(sent.insert(id, essence), None, "an id is the span's own");
            }
        }
    }
    assert!(sent.len() > 6_000, "{}", sent.len());
    is_through(&sidecar, sent.len()).await;
    let written = until("the Collector has written all", async || {
        Some(collector.spans()).filter(|spans| spans.len() >= sent.len())
    })
    .await;
    assert_eq!(written.len(), sent.len());
    let (mut raw, mut routes) = (BTreeSet::new(), BTreeSet::new());
    let mut shapes: BTreeMap<(u64, bool), usize> = BTreeMap::new();
    for span in &written {
        let essence = essence_out(span);
        let id = format!("{}{}", essence["trace"], essence["span"]);
        assert_eq!(sent.remove(&id), Some(essence));
        let input = &inputs[&id];
        let shape = shape_out(span);
        assert_eq!(shape, recording::shape_in(input), "{input}");
        *shapes.entry((shape.0, shape.1)).or_default() += 1;
        let (before, name) = (
            input["name"].as_str().unwrap(),
            span["name"].as_str().unwrap(),
        );
        if before.contains(" /") || before.ends_with("/*") {
            let method = input["tags"]["http.method"].as_str();
            let request = method.map_or(before.to_owned(), |method| {
                let url = input["tags"]["http.url"].as_str().unwrap();
                let behind = url.split_once("://").unwrap().1;
                format!("{method} {}", &behind[behind.find('/').unwrap()..])
            });
            assert!(is_route_of(name, &request), "{name} of {request}");
            raw.insert(before);
            routes.insert(name);
        } else {
            assert_eq!(name.to_lowercase(), before);
        }
    }
    assert!(raw.len() > 100 && routes.len() < 50, "{routes:#?}");
    assert!(
        routes.contains(format!("POST {ROUTE}").as_str()),
        "{routes:#?}"
    );
    for (kind, failed) in [(1, false), (2, false), (3, false), (3, true)] {
        assert!(shapes.contains_key(&(kind, failed)), "{shapes:?}");
    }
    assert!(sent.is_empty(), "{} are missing", sent.len());
}
