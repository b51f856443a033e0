//! A request on its way: caller, gateway, the pod's proxy, the handler, and back.
//!
//! ```text
//! caller ─▶ gateway (access record, begins the trace) ─▶ proxy (access record) ─▶ handler (root span, CLF line)
//! caller inside the mesh, own b3 ──────────────────────▶ proxy ─▶ handler      70 %
//! caller inside the mesh, own b3 ───────────────────────────────▶ handler      30 %, no access record at all
//! ```

use std::sync::Arc;

use model::time::UnixNanos;
use serde_json::{Value, json};

use super::flow::{Flow, Stage};
use super::recording::{Access, Call, How, Origin};

/// Percent of requests that come from callers inside the mesh.
const IN_MESH_PERCENT: u8 = 8;
/// Percent of those that bypass the pod's proxy.
const STRAIGHT_PERCENT: u8 = 30;
/// Percent of requests that the gateway samples.
const SAMPLED_PERCENT: u8 = 90;
/// Percent of in-mesh requests whose caller samples them.
const SAMPLED_IN_MESH_PERCENT: u8 = 85;
const GATEWAY: &str = "istio-ingressgateway";

/// What is asked of which service.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) service: &'static str,
    pub(super) method: &'static str,
    pub(super) path: String,
    /// What it is meant to be, for the calls file.
    pub(super) op: &'static str,
    pub(super) user: String,
}

/// What the handler answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) bytes: usize,
}

/// The way a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Gateway,
    Proxy,
    Straight,
}

/// What the proxies write into the headers.
struct Headers {
    way: Way,
    sampled: &'static str,
    trace: String,
    /// The caller's span: the gateway's, or the in-mesh caller's.
    caller: String,
    /// The pod's proxy's span.
    proxy: String,
    /// As the caller sent it, and as the service received it.
    request_ids: [String; 2],
}

impl Request {
    /// Sends the request at `at_ns` and lets `handle` do the work; answers when the caller has the
    /// answer.
    pub(super) fn send(
        self,
        stage: &mut Stage,
        at_ns: u64,
        handle: impl FnOnce(&mut Stage, &mut Flow) -> Answer,
    ) -> u64 {
        let headers = Headers::new(stage);
        let origin = Arc::new(Origin {
            trace: headers.trace.clone(),
            user: Some(self.user.clone()),
            request_id: headers.request_ids.last().cloned(),
            operation: format!("{} {}", self.method, self.path),
        });
        let gateway_ns = at_ns + stage.ids.micros(100..700);
        let proxy_ns = gateway_ns + stage.ids.micros(100..700);
        let handler_ns = proxy_ns + stage.ids.micros(150..600);
        let parent = match headers.way {
            Way::Straight => headers.caller.clone(),
            Way::Gateway | Way::Proxy => headers.proxy.clone(),
        };
        let place = (headers.trace.clone(), Some(parent));
        let mut flow = Flow::begin(
            stage,
            self.service,
            handler_ns,
            How::Http,
            Some(origin),
            place,
        );
        flow.work(stage, 20..200);
        let answer = handle(stage, &mut flow);
        flow.work(stage, 20..200);
        let mut after = flow.fork();
        let path = self.path.split('?').next().unwrap_or_default();
        let name = format!("{} {path}", self.method);
        after.at_ns = flow.end(stage, &name) + stage.ids.micros(5..30);
        let peer = if headers.way == Way::Straight {
            "127.0.0.1"
        } else {
            "127.0.0.6"
        };
        let line = (peer, self.method, self.path.as_str());
        after.common_log(stage, line, (answer.status, answer.bytes));
        let proxy_end = after.at_ns + stage.ids.micros(100..500);
        let gateway_end = proxy_end + stage.ids.micros(100..500);
        if headers.way != Way::Straight {
            self.access(stage, &headers, (proxy_ns, proxy_end), answer, false);
        }
        if headers.way == Way::Gateway {
            self.access(stage, &headers, (gateway_ns, gateway_end), answer, true);
        }
        let end = gateway_end + stage.ids.micros(100..400);
        stage
            .recording
            .calls
            .push(self.call(headers, (at_ns, end), answer));
        end
    }

    fn access(
        &self,
        stage: &mut Stage,
        headers: &Headers,
        (start, end): (u64, u64),
        answer: Answer,
        is_gateway: bool,
    ) {
        let port = port(self.service);
        let [span, parent] = match (headers.way, is_gateway) {
            (Way::Gateway, true) => [Some(&headers.caller), None],
            (Way::Gateway, false) => [Some(&headers.proxy), Some(&headers.caller)],
            _ => [None, None],
        };
        let single = (headers.way == Way::Proxy).then(|| {
            let Headers {
                trace,
                proxy,
                sampled,
                caller,
                ..
            } = headers;
            format!("{trace}-{proxy}-{sampled}-{caller}")
        });
        let cluster = if is_gateway {
            format!("outbound|{port}||{}.emco.svc.cluster.local", self.service)
        } else {
            format!("inbound|{port}||")
        };
        let mut record = access_record(start, end);
        let from_gateway = headers.way == Way::Gateway;
        let members = json!({
            "authority": "emco.example.com", "method": self.method, "path": self.path,
            "protocol": "HTTP/1.1", "user_agent": "emcoctl/22.09",
            "b3": single,
            "bytes_sent": answer.bytes, "response_code": answer.status,
            "request_id": headers.request_ids.last(),
            "upstream_cluster": cluster,
            "x_b3_traceid": from_gateway.then_some(&headers.trace),
            "x_b3_spanid": span, "x_b3_parentspanid": parent,
            "x_b3_sampled": from_gateway.then_some(headers.sampled),
            "x_user_id": self.user,
            "route_name": if is_gateway { self.service } else { "default" },
        });
        merge(&mut record, members);
        let proxy = if is_gateway { GATEWAY } else { self.service };
        stage.recording.access(
            proxy,
            Access {
                end_ns: end,
                record,
            },
        );
    }

    fn call(self, headers: Headers, (start_ns, end_ns): (u64, u64), answer: Answer) -> Call {
        let in_mesh = headers.way != Way::Gateway;
        let port = port(self.service);
        let [sent, _] = headers.request_ids;
        Call {
            start_ns,
            end_ns,
            source: "127.0.1.11".to_owned(),
            via: if in_mesh { self.service } else { "gateway" }.to_owned(),
            b3: in_mesh
                .then(|| format!("{}-{}-{}", headers.trace, headers.caller, headers.sampled)),
            port: match headers.way {
                Way::Gateway => None,
                Way::Proxy => Some(port + 10_000),
                Way::Straight => Some(port),
            },
            user: self.user,
            method: self.method,
            path: self.path,
            op: self.op,
            status: answer.status,
            request_id: sent,
            response: String::new(),
        }
    }
}

impl Headers {
    fn new(stage: &mut Stage) -> Self {
        let percent = |stage: &mut Stage, percent: u8| stage.ids.random().u8(0..100) < percent;
        let way = if !percent(stage, IN_MESH_PERCENT) {
            Way::Gateway
        } else if percent(stage, STRAIGHT_PERCENT) {
            Way::Straight
        } else {
            Way::Proxy
        };
        let sampled = if way == Way::Gateway {
            SAMPLED_PERCENT
        } else {
            SAMPLED_IN_MESH_PERCENT
        };
        let is_sampled = percent(stage, sampled);
        let caller = stage.ids.span();
        let mut trace = stage.ids.trace();
        if way == Way::Gateway {
            // Envoy's trace ids end in the id of the root span.
            trace.replace_range(16.., &caller);
        }
        let sent = stage.ids.request('4');
        let mut received = sent.clone();
        if is_sampled && way != Way::Straight {
            received.replace_range(14..15, "9");
        }
        let seen = if way == Way::Gateway {
            received.clone()
        } else {
            sent
        };
        Self {
            way,
            sampled: if is_sampled { "1" } else { "0" },
            trace,
            caller,
            proxy: stage.ids.span(),
            request_ids: [seen, received],
        }
    }
}

/// A record with every member of the mesh's format, those alike for all requests filled in.
pub(super) fn access_record(start_ns: u64, end_ns: u64) -> Value {
    let start_ms = start_ns / 1_000_000;
    let time = UnixNanos::from_millis(start_ms).to_string();
    let milliseconds = time.get(..23).unwrap_or_default();
    let duration = (end_ns - start_ns) / 1_000_000;
    json!({
        "authority": null, "b3": null, "bytes_received": 0, "bytes_sent": 0,
        "connection_termination_details": null,
        "downstream_local_address": "127.0.0.1:19015", "downstream_remote_address": "127.0.1.11:0",
        "duration": duration, "grpc_status": null, "method": null, "path": null,
        "protocol": null, "request_id": null, "requested_server_name": null,
        "response_code": 200, "response_code_details": "via_upstream", "response_flags": "-",
        "route_name": "default", "start_time": format!("{milliseconds}Z"),
        "upstream_cluster": null, "upstream_host": "127.0.0.1:9015",
        "upstream_local_address": "127.0.0.6:40000",
        "upstream_service_time": duration.to_string(),
        "upstream_transport_failure_reason": null, "user_agent": null,
        "x_b3_parentspanid": null, "x_b3_sampled": null, "x_b3_spanid": null,
        "x_b3_traceid": null, "x_forwarded_for": null, "x_user_id": null,
    })
}

/// Puts the members of `from` over those of `record`.
pub(super) fn merge(record: &mut Value, from: Value) {
    if let (Value::Object(record), Value::Object(from)) = (record, from) {
        record.extend(from);
    }
}

const fn port(service: &str) -> u16 {
    match service.as_bytes() {
        b"clm" => 9061,
        b"dcm" => 9077,
        b"ncm" => 9081,
        _ => 9015,
    }
}
