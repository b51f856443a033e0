//! What a recording holds while it is being made: lines, spans, access records and calls, each with
//! its time and its cause.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

/// The services that take part.
pub(super) const SERVICES: [&str; 5] = ["clm", "dcm", "ncm", "orchestrator", "rsync"];

/// Who caused what follows, and with which request.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) trace: String,
    pub(super) user: Option<String>,
    pub(super) request_id: Option<String>,
    /// Method and path of the request that started it all.
    pub(super) operation: String,
}

/// How a line came to be printed; the names are those of the truth files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Background,
    Http,
    Grpc,
    Event,
    Status,
}

/// A line as the process printed it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at_ns: u64,
    pub(super) is_stdout: bool,
    pub(super) text: String,
    pub(super) how: How,
    pub(super) origin: Option<Arc<Origin>>,
}

/// A finished span in Zipkin's JSON.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Span {
    pub(super) timestamp: u64,
    pub(super) duration: u64,
    #[serde(rename = "traceId")]
    pub(super) trace: String,
    pub(super) id: String,
    #[serde(rename = "parentId", skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<String>,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(rename = "localEndpoint")]
    pub(super) local: Endpoint,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<Annotation>,
    pub(super) tags: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Endpoint {
    #[serde(rename = "serviceName")]
    pub(super) name: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Annotation {
    pub(super) timestamp: u64,
    pub(super) value: String,
}

/// An access record of a proxy, with the moment it was written.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) end_ns: u64,
    pub(super) record: Value,
}

/// What a caller did.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Call {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) user: String,
    pub(super) source: String,
    pub(super) via: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) op: &'static str,
    pub(super) status: u16,
    pub(super) request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) b3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    pub(super) response: String,
}

/// A parentless span and whose it truly is.
#[derive(Clone, Debug)]
pub(super) struct RootSpan {
    pub(super) service: &'static str,
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) start_us: u64,
    /// `trace-span` of what started it; the exporter drops it.
    pub(super) links: Vec<String>,
    pub(super) origin: Option<Arc<Origin>>,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Recording {
    pub(super) lines: BTreeMap<&'static str, Vec<Line>>,
    pub(super) spans: BTreeMap<&'static str, Vec<Span>>,
    /// By proxy: a service, or `istio-ingressgateway`.
    pub(super) access: BTreeMap<&'static str, Vec<Access>>,
    pub(super) calls: Vec<Call>,
    pub(super) roots: Vec<RootSpan>,
}

impl Recording {
    pub(super) fn line(&mut self, service: &'static str, line: Line) {
        self.lines.entry(service).or_default().push(line);
    }

    pub(super) fn span(&mut self, service: &'static str, span: Span) {
        self.spans.entry(service).or_default().push(span);
    }

    pub(super) fn access(&mut self, proxy: &'static str, access: Access) {
        self.access.entry(proxy).or_default().push(access);
    }
}

/// Random hex ids of one seed; none comes twice in practice, and none is zero.
#[derive(Debug)]
pub(super) struct Ids(fastrand::Rng);

impl Ids {
    pub(super) const fn new(random: fastrand::Rng) -> Self {
        Self(random)
    }

    /// 16 hex digits.
    pub(super) fn span(&mut self) -> String {
        format!("{:016x}", self.0.u64(1..))
    }

    /// 32 hex digits.
    pub(super) fn trace(&mut self) -> String {
        format!("{:032x}", self.0.u128(1..))
    }

    /// A UUID with `nibble` in the place where Envoy packs its reason to trace.
    pub(super) fn request(&mut self, nibble: char) -> String {
        let hex = self.trace();
        let group = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{nibble}{}-a{}-{}",
            group(0, 8),
            group(8, 12),
            group(13, 16),
            group(17, 20),
            group(20, 32)
        )
    }

    /// An AppContext id: a positive number of 63 bits.
    pub(super) fn app_context(&mut self) -> String {
        self.0.u64(1 << 56..1 << 63).to_string()
    }

    /// The number in the name of a temporary directory.
    pub(super) fn temporary(&mut self) -> String {
        self.0.u32(100_000_000..).to_string()
    }

    /// Microseconds, in nanoseconds.
    pub(super) fn micros(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0.u64(range) * 1000 + self.0.u64(1..1000)
    }

    pub(super) fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.0
    }
}
