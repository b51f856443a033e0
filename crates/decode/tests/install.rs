//! The access log format that docs/install.md tells operators to set is the one that is read: its keys
//! are taken from the document, and lines as Envoy would write them are understood whole.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::BTreeMap;

use decode::envoy::access;
use model::evidence::{Phase, ProxySide};
use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../../docs/install.md");

/// Key and Envoy operator of each label in the document.
fn labels() -> BTreeMap<String, String> {
    let (_, labels) = DOCUMENT.split_once("        labels:\n").unwrap();
    let labels = labels
        .lines()
        .map_while(|line| line.strip_prefix("          "));
    let labels = labels.map(|line| {
        let (key, operator) = line.split_once(": ").unwrap();
        (key.to_owned(), operator.trim_matches('"').to_owned())
    });
    labels.collect()
}

/// What Envoy puts in the place of an operator.
fn value(operator: &str, kind: &str) -> Value {
    let ended = kind == "DownstreamEnd";
    match operator {
        "%START_TIME%" => json!("2026-01-02T03:04:05.678Z"),
        "%REQ(:METHOD)%" => json!("POST"),
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%" => json!("/v2/projects"),
        "%RESPONSE_CODE%" => json!(if ended { 201 } else { 0 }),
        "%DURATION%" => {
            if ended {
                json!(12)
            } else {
                Value::Null
            }
        }
        "%TRACE_ID%" | "%REQ(X-B3-TRACEID)%" => json!("0123456789abcdef0123456789abcdef"),
        "%REQ(X-B3-SPANID)%" => json!("fedcba9876543210"),
        "%REQ(X-REQUEST-ID)%" => json!("b6a1a1c2-0000-4000-8000-000000000000"),
        "%UPSTREAM_CLUSTER%" => json!("inbound|9015||"),
        "%ACCESS_LOG_TYPE%" => json!(kind),
        "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%" | "%REQ(X-USER-ID)%" => {
            json!("alice")
        }
        "%GRPC_STATUS_NUMBER%" | "%RESPONSE_FLAGS%" => Value::Null,
        other => unreachable!("docs/install.md names {other}, of which this test knows no value"),
    }
}

fn line(labels: &BTreeMap<String, String>, kind: &str) -> String {
    let line: BTreeMap<&str, Value> = labels
        .iter()
        .map(|(key, operator)| (key.as_str(), value(operator, kind)))
        .collect();
    json!(line).to_string()
}

#[test]
fn documented_access_lines_are_understood_whole() {
    let labels = labels();
    assert!(labels.len() >= 13, "{labels:?}");
    let text = line(&labels, "DownstreamEnd");
    let facts = access(text.as_bytes()).unwrap();
    assert_eq!((facts.side, facts.phase), (ProxySide::Inbound, Phase::End));
    assert_eq!(
        (facts.method, facts.path, facts.status),
        ("POST", "/v2/projects", 201)
    );
    assert_eq!(facts.user, Some("alice"));
    assert_eq!(
        facts.trace,
        TraceId::parse(b"0123456789abcdef0123456789abcdef")
    );
    assert_eq!(facts.span, SpanId::parse(b"fedcba9876543210"));
    assert!(facts.request_id.is_some());
    assert_eq!(facts.duration, UnixNanos::from_millis(12).0);
    let text = line(&labels, "DownstreamStart");
    assert_eq!(access(text.as_bytes()).unwrap().phase, Phase::Start);
}

#[test]
fn the_header_of_older_versions_names_the_person_too() {
    let mut labels = labels();
    labels.remove("user_jwt").unwrap();
    labels.insert("user_hdr".to_owned(), "%REQ(X-USER-ID)%".to_owned());
    let text = line(&labels, "DownstreamEnd");
    assert_eq!(access(text.as_bytes()).unwrap().user, Some("alice"));
}
