//! Envoy's JSON access log lines, in the key names that Istio's formats and ours use.

use model::evidence::{AccessFacts, Phase, ProxySide};
use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;

use crate::json::{self, Escapes, Kind, Member};

/// Reads one line; `None` if it is no access line (method, path and start are needed).
///
/// Numbers may be strings; `-` and `null` mean nothing. [`ProxySide::Gateway`] is never answered:
/// only the reader knows that the line is the gateway's.
pub fn access(text: &[u8]) -> Option<AccessFacts<'_>> {
    let text = text.trim_ascii_end();
    let mut members = Vec::with_capacity(40);
    if text.first() != Some(&b'{') || !json::object(text, 0, &mut members) {
        return None;
    }
    let line = Line {
        text,
        members: &members,
    };
    let phase = match line.first(&["access_log_type", "log_type"]) {
        Some("DownstreamStart") => Phase::Start,
        _ => Phase::End,
    };
    let (trace, span) = line.ids();
    Some(AccessFacts {
        side: match line.first(&["upstream_cluster"]) {
            Some(cluster) if cluster.starts_with("outbound|") => ProxySide::Outbound,
            _ => ProxySide::Inbound,
        },
        phase,
        trace,
        span,
        user: line.exact(&["user_jwt", "x_user_id", "user_hdr", "user_id", "user"]),
        method: line.first(&["method"])?,
        path: line.first(&["path"])?,
        status: line
            .number(&["response_code", "status"])
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0),
        request_id: line.exact(&["request_id", "x_request_id"]),
        start: UnixNanos::parse_rfc3339(line.first(&["start_time", "ts"])?.as_bytes())?,
        duration: match phase {
            Phase::Start => 0,
            Phase::End => {
                UnixNanos::from_millis(line.number(&["duration", "duration_ms"]).unwrap_or(0)).0
            }
        },
    })
}

struct Line<'t, 'm> {
    text: &'t [u8],
    members: &'m [Member],
}

impl<'t> Line<'t, '_> {
    /// The first of these keys that has a value; a JSON string's inside, escapes and all.
    fn first(&self, keys: &[&str]) -> Option<&'t str> {
        self.find(keys, |_| true)
    }

    /// As [`Self::first`], but nothing rather than a value that is spelled with escapes: people
    /// must not be confused.
    fn exact(&self, keys: &[&str]) -> Option<&'t str> {
        self.find(keys, |kind| kind == Kind::Text(Escapes::None))
    }

    fn find(&self, keys: &[&str], wanted: impl Fn(Kind) -> bool) -> Option<&'t str> {
        keys.iter().find_map(|key| {
            let member = self
                .members
                .iter()
                .find(|member| member.key.of(self.text) == key.as_bytes())?;
            if !matches!(member.kind, Kind::Text(_) | Kind::Number) {
                return None;
            }
            let value = std::str::from_utf8(member.value.of(self.text)).ok()?;
            (!matches!(value, "" | "-") && wanted(member.kind)).then_some(value)
        })
    }

    fn number(&self, keys: &[&str]) -> Option<u64> {
        self.first(keys)?.parse().ok()
    }

    /// Trace and span: from the `x-b3-*` headers, the single header, or Envoy's own trace id.
    fn ids(&self) -> (Option<TraceId>, Option<SpanId>) {
        let parse = |keys: &[&str]| TraceId::parse(self.first(keys)?.as_bytes());
        if let Some(trace) = parse(&["x_b3_traceid", "b3_traceid"]) {
            let span = self
                .first(&["x_b3_spanid", "b3_spanid"])
                .and_then(|span| SpanId::parse(span.as_bytes()));
            return (Some(trace), span);
        }
        if let Some(header) = self.first(&["b3"]) {
            let mut parts = header.split('-');
            let trace = parts.next().and_then(|hex| TraceId::parse(hex.as_bytes()));
            let span = parts.next().and_then(|hex| SpanId::parse(hex.as_bytes()));
            if trace.is_some() {
                return (trace, span);
            }
        }
        let span = self.first(&["span_id"]);
        (
            parse(&["trace_id"]),
            span.and_then(|span| SpanId::parse(span.as_bytes())),
        )
    }
}
