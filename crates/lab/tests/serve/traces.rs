use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::{Value, json};

use crate::lab::{Lab, id};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
const JSON: &str = "content-type: application/json\r\n";
const BOUND: Duration = Duration::from_secs(20);

/// A span of `service`; failed spans have status error.
fn span(number: u64, parent: u64, service: &str, failed: bool) -> (String, Value) {
    let start = 1_795_406_977_000_000_000 + number * 10_000_000;
    let text = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
    let span = json!({
        "traceId": TRACE, "spanId": format!("{number:016x}"),
        "parentSpanId": if parent == 0 { String::new() } else { format!("{parent:016x}") },
        "name": format!("span <b>{number}</b>"), "kind": 2,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 50_000_000).to_string(),
        "attributes": [text("user.id", "carol"), text("url.path", "<script>alert(1)</script>")],
        "status": {"code": if failed { 2 } else { 0 }},
    });
    (service.to_owned(), span)
}

fn request(spans: &[(String, Value)]) -> Value {
    let groups = spans.iter().map(|(service, span)| {
        json!({
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": service}},
            ]},
            "scopeSpans": [{"spans": [span]}],
        })
    });
    json!({"resourceSpans": groups.collect::<Vec<_>>()})
}

fn protobuf(request: &Value) -> Vec<u8> {
    let message: ExportTraceServiceRequest = serde_json::from_value(request.clone()).unwrap();
    message.encode_to_vec()
}

fn four() -> Vec<(String, Value)> {
    vec![
        span(1, 0, "orchestrator", false),
        span(2, 1, "rsync", true),
        span(3, 2, "rsync", false),
        span(4, 1, "clm", false),
    ]
}

#[test]
fn spans_are_kept_once_in_every_form() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let body = protobuf(&request(&four()));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&body).unwrap();
    let packed = encoder.finish().unwrap();
    let gzip = format!("{PROTOBUF}content-encoding: gzip\r\n");
    let json = request(&four()).to_string().into_bytes();
    for (headers, body) in [(PROTOBUF, &body), (gzip.as_str(), &packed), (JSON, &json)] {
        let reply = lab.request("POST", "/v1/traces", headers, body);
        assert_eq!(reply.status, 200, "{headers}");
        let kind = headers.split(['\r', ';']).next().unwrap();
        assert!(reply.head.contains(kind), "answered as it was asked");
    }
    let counts = lab.get("/api/v1/spans/counts").json();
    let expected = json!({
        "spans": 4, "traces": 1, "arrivals": 12, "conflicts": 0, "errors": 1, "with_user": 4,
        "by_service": {"orchestrator": 1, "rsync": 2, "clm": 1},
    });
    assert_eq!(counts, expected);
    let of = |what: &str| lab.get(&format!("/api/v1/spans/counts?{what}")).json();
    assert_eq!(of("service=rsync")["spans"], 2);
    assert_eq!(of(&format!("trace={}", TRACE.to_uppercase()))["spans"], 4);
    assert_eq!(of("trace=other")["spans"], 0);
    let created = lab.metric("emco_observer_lab_spans_total{outcome=\"created\"}");
    let again = lab.metric("emco_observer_lab_spans_total{outcome=\"duplicate\"}");
    assert_eq!((created, again), (4, 8));
    let lines = lab.get("/api/v1/spans?whole=true&limit=2");
    let lines: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["parent"], "0000000000000001");
    assert_eq!(lines[1]["status"], "error");
    assert_eq!(lines[1]["document"]["attributes"]["user.id"], "carol");
    let after = lab.get(&format!("/api/v1/spans?after={}", lines[1]["receipt"]));
    assert_eq!(after.text().lines().count(), 2);
}

#[test]
fn what_changed_and_what_has_no_id_is_counted() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let (service, first) = span(1, 0, "rsync", false);
    let mut second = first.clone();
    second["name"] = json!("another name");
    let mut without = first.clone();
    without["spanId"] = json!("");
    for (span, refused) in [(first, 0), (second, 0), (without, 1)] {
        let body = protobuf(&request(&[(service.clone(), span)]));
        let reply = lab.request("POST", "/v1/traces", PROTOBUF, &body);
        let answer = ExportTraceServiceResponse::decode(&*reply.body).unwrap();
        let partial = answer.partial_success.map(|partial| partial.rejected_spans);
        assert_eq!(partial.unwrap_or(0), refused);
    }
    let counts = lab.get("/api/v1/spans/counts").json();
    assert_eq!(
        (&counts["spans"], &counts["conflicts"]),
        (&json!(1), &json!(1))
    );
    let refused = lab.metric("emco_observer_lab_spans_total{outcome=\"refused\"}");
    assert_eq!(refused, 1);
}

#[test]
fn what_is_no_export_is_refused_by_its_reason() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    for (headers, body, status) in [
        ("content-type: text/plain\r\n", &b"x"[..], 415),
        ("", b"x", 415),
        (PROTOBUF, b"\xff\xff\xff", 400),
        (JSON, b"{\"resourceSpans\": 7}", 400),
        (
            "content-type: application/json\r\ncontent-encoding: br\r\n",
            b"{}",
            400,
        ),
    ] {
        let reply = lab.request("POST", "/v1/traces", headers, body);
        assert_eq!(reply.status, status, "{headers}");
        assert!(!reply.body.is_empty(), "it says why");
    }
    assert_eq!(lab.request("POST", "/v1/traces", JSON, b"{}").status, 200);
    assert_eq!(
        lab.request("POST", "/v1/tell", "", b"nonsense").status,
        400,
        "the hub's"
    );
}

#[test]
fn a_killed_lab_has_every_span_it_answered_for() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let body = protobuf(&request(&four()));
    assert_eq!(
        lab.request("POST", "/v1/traces", PROTOBUF, &body).status,
        200
    );
    lab.kill();
    let lab = Lab::start(data.path());
    assert_eq!(lab.get("/api/v1/spans/counts").json()["spans"], 4);
}

#[test]
fn a_request_shows_its_spans_as_a_tree_with_its_lines() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let body = protobuf(&request(&four()));
    lab.request("POST", "/v1/traces", PROTOBUF, &body);
    let alone = lab.page(&format!("/request/{TRACE}"));
    assert_eq!(alone.status, 200, "spans alone make a page");
    let document = json!({
        "@timestamp": "2026-11-23T04:09:37.5Z", "message": "Installing", "service.name": "rsync",
        "trace.id": TRACE, "span.id": format!("{:016x}", 2), "event.id": id(1),
    });
    let action = json!({"create": {"_index": "logs", "_id": id(1)}});
    lab.bulk(&format!("{action}\n{document}\n"));
    let page = lab.page(&format!("/request/{TRACE}"));
    let page = page.text();
    let place = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} in {page}"))
    };
    let order: Vec<_> = (1..=4)
        .map(|number| place(&format!("id=\"span-{number:016x}\"")))
        .collect();
    assert!(order.is_sorted(), "parents before children");
    assert_eq!(
        page.matches("<ol>").count(),
        page.matches("</ol>").count() - 2,
        "closed"
    );
    assert!(page.contains("4 spans") && page.contains("1 failed"));
    assert!(page.contains("<details class=\"span failed\">"));
    assert!(
        page.contains("href=\"#span-0000000000000002\""),
        "from the line to its span"
    );
    assert!(page.contains("id=\"said-0000000000000002\""), "and back");
    for bad in ["<script>alert", "<b>1</b>"] {
        assert!(!page.contains(bad), "whatever a span says stays text");
    }
}

#[test]
fn sidecars_are_scraped_and_their_services_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    // One request more with every scrape, every fourth of them failed.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while head.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            let number = count.fetch_add(1, Ordering::Relaxed);
            let body = format!(
                "emco_requests_total{{service=\"rsync\",status_class=\"2xx\"}} {}\n\
                 emco_requests_total{{service=\"rsync\",status_class=\"5xx\"}} {}\n\
                 emco_request_duration_seconds_bucket{{service=\"rsync\",le=\"0.5\"}} {number}\n\
                 emco_request_duration_seconds_bucket{{service=\"rsync\",le=\"+Inf\"}} {number}\n",
                number - number / 4,
                number / 4
            );
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let data = tempfile::tempdir().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let targets = [format!("rsync={address}"), format!("clm={gone}")];
    let lab = Lab::start_with(
        data.path(),
        &[
            "--scrape",
            &targets[0],
            "--scrape",
            &targets[1],
            "--scrape-interval",
            "1",
        ],
    );
    let end = Instant::now() + BOUND;
    let services = loop {
        let services = lab.get("/api/v1/services").json();
        let failed = services["services"]["rsync"]["errors"].as_f64();
        if failed.is_some_and(|errors| errors >= 1.0) {
            break services;
        }
        assert!(Instant::now() < end, "{services}");
        std::thread::park_timeout(Duration::from_millis(50));
    };
    assert!(services["scrapes"]["clm"].is_string(), "it says why");
    assert!(services["scrapes"]["rsync"].is_null());
    let page = lab.page("/services");
    let page = page.text();
    assert!(page.contains("rsync") && page.contains("<svg") && page.contains("class=\"failing\""));
    assert!(page.contains("Not reached"));
    assert!(asked.load(Ordering::Relaxed) >= 5, "again and again");
}

#[test]
fn who_else_wants_traces_has_them_before_the_answer() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let second = Lab::start(far.path());
    let address = format!("http://{}", second.http);
    let first = Lab::start_with(near.path(), &["--relay-traces", &address]);
    for (headers, body) in [
        (PROTOBUF, protobuf(&request(&four()))),
        (JSON, request(&four()).to_string().into_bytes()),
    ] {
        let reply = first.request("POST", "/v1/traces", headers, &body);
        assert_eq!(reply.status, 200);
    }
    for lab in [&first, &second] {
        let counts = lab.get("/api/v1/spans/counts").json();
        assert_eq!(
            (&counts["spans"], &counts["arrivals"]),
            (&json!(4), &json!(8))
        );
    }
    second.kill();
    let body = protobuf(&request(&[span(9, 0, "clm", false)]));
    let reply = first.request("POST", "/v1/traces", PROTOBUF, &body);
    assert_eq!(reply.status, 503, "sent again by whoever has it");
    assert!(reply.head.to_ascii_lowercase().contains("retry-after"));
    assert_eq!(
        first.get("/api/v1/spans/counts").json()["spans"],
        5,
        "stored all the same"
    );
}
