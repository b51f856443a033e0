//! Envoy's JSON access log lines, in the key names that Istio's formats and ours use.

use model::evidence::{AccessFacts, Phase, ProxySide};
use model::grpc;
use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;

use crate::json::{self, Escapes, Kind, Member};
use crate::marks::Marks;

/// Reads one line; `None` if it is no access line (method, path and start are needed).
///
/// Numbers may be strings; `-` and `null` mean nothing. [`ProxySide::Gateway`] is never answered:
/// only the reader knows that the line is the gateway's.
pub fn access(text: &[u8]) -> Option<AccessFacts<'_>> {
    let text = text.trim_ascii_end();
    let mut members = Vec::with_capacity(40);
    if text.first() != Some(&b'{') || !json::object(text, 0, &Marks::of(text), &mut members) {
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
        grpc_status: line
            .first(&["grpc_status", "grpc_status_number"])
            .and_then(grpc::code),
        cut_short: line
            .first(&["response_flags", "flags"])
            .is_some_and(cut_short),
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

/// Whether one of Envoy's flags says that the answer is not whole or not the service's: all but those
/// for an answer that came late on purpose or from a cache.
fn cut_short(flags: &str) -> bool {
    let mut flags = flags.split(',').map(str::trim);
    flags.any(|flag| !matches!(flag, "" | "-" | "DI" | "RFCF"))
}

struct Line<'t, 'm> {
    text: &'t [u8],
    members: &'m [Member],
}

impl<'t> Line<'t, '_> {
    /// The first of these keys that has a value; a JSON string's inside, escapes and all.
    fn first(&self, keys: &[&str]) -> Option<&'t str> {
        self.find(keys).map(|(_, value)| value)
    }

    /// As [`Self::first`], but nothing if the value is spelled with escapes: people must not be
    /// confused.
    fn exact(&self, keys: &[&str]) -> Option<&'t str> {
        self.find(keys)
            .filter(|(kind, _)| *kind == Kind::Text(Escapes::None))
            .map(|(_, value)| value)
    }

    fn find(&self, keys: &[&str]) -> Option<(Kind, &'t str)> {
        keys.iter().find_map(|key| {
            let mut members = self.members.iter();
            let member = members.find(|member| member.key.of(self.text) == key.as_bytes())?;
            if !matches!(member.kind, Kind::Text(_) | Kind::Number) {
                return None;
            }
            let value = std::str::from_utf8(member.value.of(self.text)).ok()?;
            (!matches!(value, "" | "-")).then_some((member.kind, value))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_istio_names_and_ours() {
        let ends = br#"{"b3":null,"duration":4748,"method":"POST","path":"/v2/x?a=1","request_id":"r","response_code":202,"start_time":"2026-11-23T04:09:37.698Z","upstream_cluster":"outbound|9015||o.emco","x_b3_spanid":"bb76c7149fa98b1c","x_b3_traceid":"c841501f3c8ef4f5bb76c7149fa98b1c","x_user_id":"someone"}"#;
        let facts = access(ends).unwrap();
        assert_eq!((facts.side, facts.phase), (ProxySide::Outbound, Phase::End));
        assert_eq!((facts.method, facts.path), ("POST", "/v2/x?a=1"));
        assert_eq!((facts.status, facts.duration), (202, 4_748_000_000));
        assert_eq!(facts.user, Some("someone"));
        assert_eq!(
            facts.trace.unwrap().to_string(),
            "c841501f3c8ef4f5bb76c7149fa98b1c"
        );
        assert_eq!(facts.span.unwrap().to_string(), "bb76c7149fa98b1c");
        let starts = br#"{"ts":"2026-11-23T04:09:37.698Z","method":"GET","path":"/","status":"0","duration_ms":"-","log_type":"DownstreamStart","trace_id":"6053feba479fea34b08db6e13db75b13","b3_traceid":"-","user_jwt":"-","user_hdr":"someone"}"#;
        let facts = access(starts).unwrap();
        assert_eq!(
            (facts.side, facts.phase),
            (ProxySide::Inbound, Phase::Start)
        );
        assert_eq!((facts.status, facts.duration), (0, 0));
        assert_eq!((facts.user, facts.span), (Some("someone"), None));
        assert!(facts.trace.is_some());
    }

    #[test]
    fn the_single_header_has_trace_and_span() {
        let line = br#"{"b3":"6053feba479fea34b08db6e13db75b13-db058dcb5c7215fb-0-63087bb280e0ebb4","method":"GET","path":"/","start_time":"2026-11-23T04:09:37Z","x_b3_traceid":null}"#;
        let facts = access(line).unwrap();
        assert_eq!(
            facts.trace.unwrap().to_string(),
            "6053feba479fea34b08db6e13db75b13"
        );
        assert_eq!(facts.span.unwrap().to_string(), "db058dcb5c7215fb");
    }

    #[test]
    fn a_call_says_how_it_ended_in_any_of_the_formats_of_envoy() {
        for (said, code, cut_short) in [
            (r#""grpc_status":"OK","response_flags":"-""#, Some(0), false),
            (
                r#""grpc_status":"Unavailable","response_flags":"UF,URX""#,
                Some(14),
                true,
            ),
            (
                r#""grpc_status":"DEADLINE_EXCEEDED","flags":"DI""#,
                Some(4),
                false,
            ),
            (r#""grpc_status":13"#, Some(13), false),
            (r#""grpc_status_number":"14""#, Some(14), false),
            (r#""grpc_status":null,"response_flags":null"#, None, false),
            (r#""grpc_status":"-","flags":"UC""#, None, true),
            (r#""grpc_status":"Splendid","flags":"RFCF""#, None, false),
        ] {
            let line = format!(
                r#"{{"method":"POST","path":"/installapp/InstallApp","start_time":"2026-11-23T04:09:37Z",{said}}}"#
            );
            let facts = access(line.as_bytes()).unwrap();
            assert_eq!(
                (facts.grpc_status, facts.cut_short),
                (code, cut_short),
                "{said}"
            );
        }
    }

    #[test]
    fn a_user_with_escapes_is_nobody() {
        let line = br#"{"method":"GET","path":"/","start_time":"2026-11-23T04:09:37Z","x_user_id":"a\u0062"}"#;
        assert_eq!(access(line).unwrap().user, None);
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "text",
            "{}",
            r#"{"method":"GET","path":"/"}"#,
            r#"{"method":"GET","path":"/","start_time":"yesterday"}"#,
        ] {
            assert_eq!(access(line.as_bytes()), None, "{line}");
        }
    }
}
