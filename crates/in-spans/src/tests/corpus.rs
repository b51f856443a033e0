//! Recorded bodies, where the recordings lie beside the checkout. With `CI` set they must.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use http::StatusCode;
use model::evidence::SpanKind;
use serde_json::Value;

use super::server::Running;
use super::{Seen, emco_body};
use crate::settings::Settings;

fn recordings() -> Option<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let present = corpus.try_exists().unwrap();
    assert!(
        present || std::env::var_os("CI").is_none(),
        "the recorded corpus is missing"
    );
    if !present {
        println!("skipped: no recorded corpus beside the checkout");
    }
    present.then_some(corpus)
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(File::open(path).unwrap())
        .take(256 << 20)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Every body of a recording that has bodies of all senders, proxies included.
fn bodies(folder: &Path) -> Vec<Vec<u8>> {
    let spans = folder.join("spans");
    let headers = gunzip(&spans.join("headers.jsonl.gz"));
    let mut bundles = std::collections::HashMap::new();
    let mut bodies = Vec::new();
    for line in headers
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let header: Value = serde_json::from_slice(line).unwrap();
        let name = header["bundle"].as_str().unwrap();
        let path = spans.join(name);
        let bundle = bundles
            .entry(name.to_owned())
            .or_insert_with(|| gunzip(&path));
        let number = |key: &str| usize::try_from(header[key].as_u64().unwrap()).unwrap();
        let (offset, length) = (number("offset"), number("length"));
        bodies.push(bundle[offset..offset + length].to_vec());
    }
    bodies
}

/// The bodies of a recording, or made ones where there is none.
pub(super) fn recorded_bodies() -> Vec<Vec<u8>> {
    recordings().map_or_else(
        || vec![emco_body(0..400).into_bytes()],
        |corpus| bodies(&corpus.join("truth/calm")),
    )
}

/// What a span says, by way of a whole parse.
fn parsed(span: &Value) -> Seen {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let tags = &span["tags"];
    let id = |value: &Value, width: usize| value.as_str().map(|id| format!("{id:0>width$}"));
    let panicked = span["annotations"].as_array().is_some_and(|annotations| {
        annotations.iter().any(|one| {
            one["value"]
                .as_str()
                .is_some_and(|value| value.starts_with("exception"))
        })
    });
    Seen {
        trace: id(&span["traceId"], 32).unwrap(),
        span: id(&span["id"], 16).unwrap(),
        parent: id(&span["parentId"], 16),
        kind: match span["kind"].as_str() {
            Some("CLIENT") => SpanKind::Client,
            Some("SERVER") => SpanKind::Server,
            _ => SpanKind::Unset,
        },
        name: text(&span["name"]).unwrap_or_default(),
        rpc_method: text(&tags["rpc.method"]),
        rpc_service: text(&tags["rpc.service"]),
        service: text(&span["localEndpoint"]["serviceName"]).unwrap_or_default(),
        statement: text(&tags["db.statement"]),
        start: span["timestamp"].as_u64().unwrap_or(0) * 1000,
        duration: span["duration"].as_u64().unwrap_or(0) * 1000,
        failed: panicked
            || tags["otel.status_code"] == "Error"
            || ["rpc.grpc.status_code", "grpc.status_code"]
                .iter()
                .any(|key| tags[key].as_str().is_some_and(|code| code != "0"))
            || tags.get("error").is_some_and(|error| error != "false"),
    }
}

#[tokio::test]
async fn recorded_bodies_give_what_a_whole_parse_gives() {
    let Some(corpus) = recordings() else { return };
    let server = Running::start(Settings::default()).await;
    let mut spans = 0;
    for folder in ["emco/debug", "truth/calm"] {
        for body in bodies(&corpus.join(folder)) {
            let array: Vec<Value> = serde_json::from_slice(&body).unwrap();
            let expected: Vec<Seen> = array.iter().map(parsed).collect();
            let reply = server.post(body, None).await;
            assert_eq!(reply.status, StatusCode::ACCEPTED);
            assert_eq!(server.log.spans(), expected);
            server.log.events.lock().unwrap().clear();
            spans += expected.len();
        }
    }
    assert!(spans > 5000, "{spans}");
}
