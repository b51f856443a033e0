//! Spans and access records as the ledger sees them: who was at work, from when to when.

use crate::ids::{SpanId, TraceId};
use crate::time::UnixNanos;

/// Which side of a call a span describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// EMCO's HTTP request spans and background roots say nothing.
    #[default]
    Unset,
    /// The process waits for somebody (mongo, etcd, gRPC).
    Client,
    /// The process works for somebody (gRPC server).
    Server,
}

/// The part of a Zipkin span that is evidence. Borrowed from the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanFacts<'a> {
    /// Its trace.
    pub trace: TraceId,
    /// Its own id.
    pub span: SpanId,
    /// Its parent; roots have none.
    pub parent: Option<SpanId>,
    /// Which side of a call.
    pub kind: SpanKind,
    /// Lower-cased by the exporter: `post /v2/projects`, `installapp/installapp`, `get-metrics`.
    pub name: &'a str,
    /// `rpc.method` in its original case, where the tag is there.
    pub rpc_method: Option<&'a str>,
    /// `rpc.service`, where the tag is there.
    pub rpc_service: Option<&'a str>,
    /// `localEndpoint.serviceName`.
    pub service: &'a str,
    /// `db.statement`, where the tag is there; may hold secrets and is never kept.
    pub statement: Option<&'a str>,
    /// Start.
    pub start: UnixNanos,
    /// Duration in nanoseconds; 0 if the span has none.
    pub duration: u64,
    /// Whether the span says it failed.
    pub failed: bool,
}

impl SpanFacts<'_> {
    /// When the work ended.
    pub const fn end(&self) -> UnixNanos {
        self.start.plus(self.duration)
    }
}

/// Whether an access record was written when the request began or when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Envoy's `DownstreamStart`: duration and status are not known yet.
    Start,
    /// Envoy's `DownstreamEnd`, and every record that does not say.
    #[default]
    End,
}

/// Where the proxy that wrote an access record stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxySide {
    /// In front of this pod's application.
    #[default]
    Inbound,
    /// Behind it: the application called somebody.
    Outbound,
    /// The ingress gateway.
    Gateway,
}

/// One access record of an Envoy proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessFacts<'a> {
    /// Where the proxy stands.
    pub side: ProxySide,
    /// Begin or end of the request.
    pub phase: Phase,
    /// From `x-b3-traceid`, the `b3` header or Envoy's own trace id.
    pub trace: Option<TraceId>,
    /// The proxy's own span, from the same headers: the application's server span is its child.
    pub span: Option<SpanId>,
    /// The user header as logged. Proven only where the writer of the record is trusted to prove it.
    pub user: Option<&'a str>,
    /// HTTP method.
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// HTTP status; 0 if none.
    pub status: u16,
    /// Code of a gRPC call's answer, from its trailers; of any other request it says nothing.
    pub grpc_status: Option<u16>,
    /// Whether the proxy says that the answer is not whole, or not the service's.
    pub cut_short: bool,
    /// `x-request-id`.
    pub request_id: Option<&'a str>,
    /// When the proxy received the request (1 ms resolution).
    pub start: UnixNanos,
    /// Duration in nanoseconds; 0 in start records.
    pub duration: u64,
}

impl AccessFacts<'_> {
    /// Whether the request failed if it is a gRPC call. Its HTTP status is 200 either way, as a rule.
    pub fn call_failed(&self) -> bool {
        self.status >= 400 || self.grpc_status.map_or(self.cut_short, |code| code != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_fails_by_its_code_and_without_one_by_what_the_proxy_saw() {
        for (status, grpc_status, cut_short, failed) in [
            (200, Some(0), false, false),
            (200, None, false, false),
            (200, Some(14), false, true),
            (200, None, true, true),
            // the answer was whole before the connection went
            (200, Some(0), true, false),
            (503, None, false, true),
            (503, Some(0), false, true),
        ] {
            let call = AccessFacts {
                side: ProxySide::Inbound,
                phase: Phase::End,
                trace: None,
                span: None,
                user: None,
                method: "POST",
                path: "/installapp/InstallApp",
                status,
                grpc_status,
                cut_short,
                request_id: None,
                start: UnixNanos(0),
                duration: 0,
            };
            assert_eq!(call.call_failed(), failed, "{call:?}");
        }
    }
}
