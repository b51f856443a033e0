//! What the ledger knows about one span, for those who ship spans.

use model::ids::{SpanId, TraceId};
use model::verdict::User;

use crate::callmap::PathName;
use crate::ledger::Ledger;

/// What access records say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// HTTP status; 0 if not known.
    pub status: u16,
    /// Path with query in its original case, where a record gave it.
    pub path: Option<&'a str>,
}

impl Ledger {
    /// The person behind `trace`, if proven and not contradicted.
    pub fn person(&self, trace: TraceId) -> Option<User> {
        self.state().people.of(trace)
    }

    /// The request over HTTP whose server span is `span`, if it is remembered.
    pub fn served(&self, trace: TraceId, span: SpanId) -> Option<Served<'_>> {
        let mut rows = self.state().origins.of_trace(trace);
        let (_, origin) = rows.find(|(_, origin)| origin.span == Some(span))?;
        let request = origin.request.as_deref()?;
        (!request.grpc).then_some(Served {
            status: request.status,
            path: request.path_exact.then_some(request.path.as_str()),
        })
    }

    /// The template of the route that serves `method` on `path` (any case, query ignored), with the
    /// names that the path gives.
    pub fn route<'a>(
        &self,
        method: &str,
        path: &'a str,
    ) -> Option<(&'static str, Vec<PathName<'a>>)> {
        let map = self.state().map.as_ref()?;
        let (entry, names) = map.route(method, path)?;
        Some((map.entry(entry)?.template(), names))
    }
}

#[cfg(test)]
mod tests {
    use model::evidence::{AccessFacts, Phase, ProxySide, SpanFacts, SpanKind};
    use model::fact::{Fact, TraceUser};
    use model::time::UnixNanos;
    use model::verdict::UserSource;

    use super::*;
    use crate::settings::Settings;

    const TRACE: TraceId = TraceId([7; 16]);
    const PROXY: SpanId = SpanId([1; 8]);
    const SPAN: SpanId = SpanId([2; 8]);
    const AT: UnixNanos = UnixNanos(1_795_406_976_000_000_000);

    #[test]
    fn a_span_is_found_with_its_request_and_its_person() {
        let mut ledger = Ledger::new(Settings::of("orchestrator"));
        let span = SpanFacts {
            trace: TRACE,
            span: SPAN,
            parent: Some(PROXY),
            kind: SpanKind::Unset,
            name: "get /v2/projects/p1",
            rpc_method: None,
            rpc_service: None,
            service: "orchestrator.emco",
            statement: None,
            start: AT,
            duration: 1_000_000,
            failed: false,
        };
        ledger.span(&span, AT.plus(2_000_000));
        let early = ledger.served(TRACE, SPAN).unwrap();
        assert_eq!((early.status, early.path), (0, None));
        let access = AccessFacts {
            side: ProxySide::Inbound,
            phase: Phase::End,
            trace: Some(TRACE),
            span: Some(PROXY),
            user: None,
            method: "GET",
            path: "/v2/projects/P1?a=b",
            status: 404,
            request_id: None,
            start: AT.minus(1_000_000),
            duration: 3_000_000,
        };
        ledger.access(&access, AT.plus(3_000_000));
        let served = ledger.served(TRACE, SPAN).unwrap();
        assert_eq!(served.status, 404);
        assert_eq!(served.path, Some("/v2/projects/P1?a=b"));
        assert_eq!(ledger.served(TRACE, PROXY), None);
        let (template, names) = ledger.route("get", "/v2/projects/P1?a=b").unwrap();
        assert_eq!(template, "/v2/projects/{project}");
        assert_eq!(names, [("project", "P1")]);

        assert_eq!(ledger.person(TRACE), None);
        let user = User {
            id: "alice".into(),
            source: UserSource::Gateway,
        };
        ledger.fact(&Fact::TraceUser(TraceUser {
            trace: TRACE,
            user: user.clone(),
            at: AT,
        }));
        assert_eq!(ledger.person(TRACE), Some(user));
    }
}
