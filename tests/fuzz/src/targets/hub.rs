//! Requests to the hub.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hub::{Ask, Authority, EngineSettings, HubServer, Judgement, Role, ServerMetrics};
use model::ids::TraceId;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::input::Input;
use crate::targets::runtime;

struct Always(Role);

impl Authority for Always {
    fn role<'a>(&'a self, _: Option<&'a [u8]>) -> Judgement<'a> {
        Box::pin(std::future::ready(Ok(Some(self.0))))
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let role = input.one_of(&[Role::Gateway, Role::Sidecar]);
    let path = input.one_of(&["/v1/tell", "/v1/ask", "/v1/access-log"]);
    let body = input.rest();
    let hub = hub(role);
    let (status, answer) = post(&hub, path, body);
    let parsed: Result<Value, _> = serde_json::from_slice(&answer);
    let answer = parsed.expect("an answer is JSON");
    assert_eq!(answer["version"], 1);
    let request: Option<Value> = serde_json::from_slice(body).ok();
    match path {
        "/v1/tell" if status == StatusCode::OK => {
            let request = request.expect("what is taken is JSON");
            assert_counts(&answer, facts(&request));
            if role == Role::Sidecar {
                assert_tells_no_person(&hub, &request);
            }
        }
        "/v1/access-log" if role == Role::Sidecar => assert_eq!(status, StatusCode::FORBIDDEN),
        "/v1/access-log" => assert_records(&hub, body, &answer),
        _ => assert!(matches!(
            status,
            StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE
        )),
    }
    // Whatever was said, it goes on.
    let (status, _) = post(&hub, "/v1/ask", br#"{"version":1,"traces":["7"]}"#);
    assert_eq!(status, StatusCode::OK);
}

fn hub(role: Role) -> Arc<HubServer> {
    let metrics = ServerMetrics::new(&prometheus::Registry::new()).unwrap();
    let stop = CancellationToken::new();
    // Nobody waits for an answer.
    stop.cancel();
    HubServer::new(EngineSettings::default(), Always(role), metrics, stop)
}

fn post(hub: &HubServer, path: &str, body: &[u8]) -> (StatusCode, Bytes) {
    let request = Request::post(path)
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap();
    runtime::run(async {
        let (head, mut body) = hub.handle(request).await.into_parts();
        let frame = body.frame().await.expect("an answer has a body").unwrap();
        (head.status, frame.into_data().unwrap())
    })
}

fn facts(request: &Value) -> &[Value] {
    let facts = request.get("facts").and_then(Value::as_array);
    facts.map(Vec::as_slice).expect("what is taken has facts")
}

/// Every fact is counted once.
fn assert_counts(receipt: &Value, facts: &[Value]) {
    let counts = ["new", "known", "conflicts", "refused", "ignored"];
    let sum: u64 = counts
        .iter()
        .map(|count| receipt[*count].as_u64().expect("a count"))
        .sum();
    assert_eq!(sum, facts.len() as u64, "{receipt}");
}

/// A sidecar may not say whose a trace is.
fn assert_tells_no_person(hub: &HubServer, request: &Value) {
    let traces = facts(request)
        .iter()
        .filter_map(|fact| TraceId::parse(fact.get("trace")?.as_str()?.as_bytes()));
    let ask = Ask {
        traces: traces.collect(),
        ..Ask::default()
    };
    assert!(hub.known(&ask).is_empty(), "a sidecar named a person");
}

/// Every line that is no JSON object is unreadable; every other is counted otherwise.
fn assert_records(hub: &HubServer, body: &[u8], receipt: &Value) {
    let lines = || {
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
    };
    let summary = hub.tell_access_log(body);
    let claims = summary.new + summary.known + summary.conflicts;
    let counted = claims + summary.without_claim + summary.unreadable;
    assert_eq!(counted, lines().count() as u64);
    let no_objects = lines().filter(|line| {
        // What is stepped over need not be text.
        let parsed: Result<Value, _> = serde_json::from_str(&String::from_utf8_lossy(line));
        !parsed.is_ok_and(|value| value.is_object())
    });
    assert!(summary.unreadable >= no_objects.count() as u64);
    // The second time nothing is new.
    assert_eq!(summary.new, 0, "{receipt}");
}
