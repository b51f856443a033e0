//! Requests as service and proxy show them: access records, lines, spans.

use model::time::UnixNanos;
use serde_json::{Value, json};

use super::pod::{Container, now};
use super::until;

const MICROS: u64 = 1_000;
/// How long a request takes, in nanoseconds.
pub(crate) const TAKES: u64 = 20_000 * MICROS;

/// A line is written at most so long after it was printed.
pub(crate) const A_MOMENT: u64 = 100_000 * MICROS;

/// One request of the orchestrator's API.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) trace: String,
    /// When it began, nanoseconds since the epoch.
    pub(crate) start: u64,
    /// What its caller wrote into a header, proven by nobody.
    pub(crate) header: Option<&'static str>,
}

/// A trace id of that number.
pub(crate) fn trace(number: u64) -> String {
    format!("5af0c3d2b1e4f697{number:016x}")
}

const PATH: &str = "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/instantiate";

impl Request {
    pub(crate) fn new(number: u64, start: u64) -> Self {
        Self {
            trace: trace(number),
            start,
            header: None,
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        until("the request has ended", async || {
            (now() >= self.start + TAKES).then_some(())
        })
        .await;
    }

    fn span(&self, kind: char) -> String {
        format!("{kind}{}", &self.trace[17..])
    }

    /// The record of the proxy beside the service when the request ended.
    pub(crate) fn access(&self) -> String {
        self.record("DownstreamEnd", 202, TAKES / 1_000_000)
    }

    /// The record of the proxy when the request began.
    pub(crate) fn access_start(&self) -> String {
        self.record("DownstreamStart", 0, 0)
    }

    fn record(&self, kind: &str, status: u16, millis: u64) -> String {
        let start = UnixNanos(self.start).to_string();
        let record = json!({
            "access_log_type": kind, "authority": "emco.example.com", "bytes_sent": 0,
            "duration": millis, "method": "POST", "path": PATH, "protocol": "HTTP/1.1",
            "request_id": format!("9f0c5d5e-{}", &self.trace[20..]), "response_code": status,
            "start_time": format!("{}Z", &start[..23]), "upstream_cluster": "inbound|9015||",
            "x_b3_traceid": self.trace, "x_b3_spanid": self.span('a'), "x_b3_sampled": "1",
            "x_user_id": self.header,
        });
        record.to_string()
    }

    /// Writes the line that the handler prints, and answers its id.
    pub(crate) fn line(&self, service: &mut Container) -> String {
        let message = format!(":: Orchestrator Instantiate {} ::", &self.trace[28..]);
        service.at(self.start + TAKES / 2).logrus(&message)
    }

    /// The spans of the handler and of a query it made.
    pub(crate) fn spans(&self) -> Vec<Value> {
        let micros = self.start / MICROS;
        let endpoint = json!({"serviceName": "orchestrator.emco"});
        let handler = json!({
            "traceId": self.trace, "parentId": self.span('a'), "id": self.span('b'),
            "name": format!("post {PATH}"), "timestamp": micros + 500,
            "duration": TAKES / MICROS - 1_000, "localEndpoint": endpoint,
            "tags": {"otel.library.name": "orchestrator", "service.name": "orchestrator.emco"},
        });
        let query = json!({
            "traceId": self.trace, "parentId": self.span('b'), "id": self.span('c'),
            "kind": "CLIENT", "name": "resources.find", "timestamp": micros + 1_000,
            "duration": 2_000, "localEndpoint": endpoint,
            "tags": {"db.system": "mongodb", "service.name": "orchestrator.emco"},
        });
        vec![query, handler]
    }

    /// The spans as a body.
    pub(crate) fn body(&self) -> Vec<u8> {
        Value::from(self.spans()).to_string().into_bytes()
    }
}
