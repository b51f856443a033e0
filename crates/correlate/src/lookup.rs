//! What the ledger knows about one span, for those who ship spans.

use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;
use model::verdict::User;

use crate::callmap::PathName;
use crate::ledger::Ledger;
use crate::origin::Kind;
use crate::origins::poll_roots;

/// What access records say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// HTTP status; 0 if not known.
    pub status: u16,
    /// Path with query in its original case, where a record gave it.
    pub path: Option<&'a str>,
}

impl Ledger {
    /// The person who made the request of which something on `trace` from `from` to `to` is a part, if
    /// proven and not contradicted: every request of the trace that was at work here then.
    pub fn person(&self, trace: TraceId, from: UnixNanos, to: UnixNanos) -> Option<User> {
        let state = self.state();
        if !state.people.knows(trace) {
            return None;
        }
        let mut person = None;
        for (_, origin) in state.origins.of_trace(trace) {
            let request = matches!(origin.kind, Kind::Request { .. } | Kind::Unknown);
            if request && origin.start <= to.0 && from.0 <= origin.end {
                person = Some(state.people.of(trace, origin.start, origin.end)?);
            }
        }
        // what is forgotten here may still wait there
        person
            .or_else(|| state.people.of(trace, from.0, to.0))
            .cloned()
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

    /// Whether the trace is a pass of the metrics poller: its root span says so, or it is the only one
    /// that began when a pass had to begin.
    pub fn is_poll(&self, trace: TraceId) -> bool {
        let state = self.state();
        let poll = || state.map.as_ref().map_or(0, poll_roots);
        let mut rows = state.origins.of_trace(trace);
        rows.any(|(_, origin)| match origin.kind {
            Kind::Root(roots) => roots != 0 && roots == poll(),
            _ => false,
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
    use model::verdict::UserSource;

    use super::*;
    use crate::settings::Settings;

    const TRACE: TraceId = TraceId([7; 16]);
    const PROXY: SpanId = SpanId([1; 8]);
    const SPAN: SpanId = SpanId([2; 8]);
    const AT: UnixNanos = UnixNanos(1_795_406_976_000_000_000);

    fn root(name: &str, trace: u8, start: UnixNanos) -> SpanFacts<'_> {
        SpanFacts {
            trace: TraceId([trace; 16]),
            span: SpanId([trace; 8]),
            parent: None,
            kind: SpanKind::Unset,
            name,
            rpc_method: None,
            rpc_service: None,
            service: "orchestrator.emco",
            statement: None,
            start,
            duration: 1_000_000,
            failed: false,
        }
    }

    #[test]
    fn a_pass_of_the_poller_is_known_by_its_root_or_by_its_time() {
        let mut ledger = Ledger::new(Settings::of("orchestrator"));
        let second = 1_000_000_000;
        let at = |seconds: u64| AT.plus(seconds * second);
        ledger.span(&root("get-metrics", 1, at(0)), at(1));
        ledger.span(&root("get-metrics", 2, at(15)), at(16));
        ledger.span(&root("readrefschema", 3, at(15)), at(16));
        let poll = |ledger: &Ledger, trace| ledger.is_poll(TraceId([trace; 16]));
        assert!(poll(&ledger, 1) && poll(&ledger, 2) && !poll(&ledger, 3));
        let call = |trace, start| SpanFacts {
            kind: SpanKind::Client,
            parent: Some(SpanId([9; 8])),
            ..root("resources.find", trace, start)
        };
        ledger.span(&call(4, at(22)), at(23));
        ledger.span(&call(5, at(30).plus(2_000_000)), at(31));
        assert!(!poll(&ledger, 4), "no pass begins then");
        assert!(poll(&ledger, 5), "its root span comes later");
    }

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
            grpc_status: None,
            cut_short: false,
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

        let person = |ledger: &Ledger| ledger.person(TRACE, AT, AT.plus(500_000));
        assert_eq!(person(&ledger), None);
        let user = User {
            id: "alice".into(),
            source: UserSource::Gateway,
        };
        ledger.fact(&Fact::TraceUser(TraceUser {
            trace: TRACE,
            user: user.clone(),
            at: AT.minus(2_000_000),
            until: AT.plus(5_000_000),
            exclusive: true,
        }));
        assert_eq!(person(&ledger), Some(user));
        let later = AT.plus(1_000_000_000);
        assert_eq!(ledger.person(TRACE, later, later), None, "not the request");
    }
}
