//! Scenes with a known truth: what may be concluded, and what must not.

use std::sync::Arc;

use model::evidence::{AccessFacts, Phase, ProxySide, SpanFacts, SpanKind};
use model::fact::{Fact, TraceUser};
use model::ids::{SpanId, TraceId};
use model::line::{AccessLine, Dialect, LineFacts, Name, NameKey, Severity, Site, Stream};
use model::time::UnixNanos;
use model::verdict::{Outcome, Rule, User, UserSource, Verdict};
use proptest::prelude::*;

use crate::{Ledger, Settings, Ticket};

pub(super) const MS: u64 = 1_000_000;
/// Scenes begin here, long after the epoch.
pub(super) const T0: u64 = 1_800_000_000_000_000_000;
pub(super) const DIG: &str = "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1";
/// A statement that instantiate and update reach, without names.
pub(super) const RESOURCES: Site<'_> = Site {
    file: "instantiation_appcontext_helper.go",
    line: 100,
    function: "module.getResources",
};
/// A statement that status queries and the metrics poller of dcm reach.
pub(super) const STATUS: Site<'_> = Site {
    file: "status_helper.go",
    line: 842,
    function: "status.prepareStatusResult",
};

pub(super) struct Scene {
    pub(super) ledger: Ledger,
    /// How long spans are under way.
    pub(super) delay: u64,
    /// What records of the proxy say.
    pub(super) method: &'static str,
    tickets: u64,
}

impl Scene {
    pub(super) fn of(service: &str) -> Self {
        Self::with(Settings::of(service))
    }

    pub(super) fn with(settings: Settings) -> Self {
        let ledger = Ledger::new(settings);
        Self {
            ledger,
            delay: 0,
            method: "GET",
            tickets: 0,
        }
    }

    pub(super) fn request(&mut self, trace: u8, method: &str, path: &str, from: u64, to: u64) {
        let name = format!("{} {path}", method.to_lowercase());
        self.span(trace, trace, None, SpanKind::Unset, &name, from, to);
    }

    pub(super) fn call(&mut self, trace: u8, span: u8, from: u64, to: u64) {
        self.span(
            trace,
            span,
            Some(trace),
            SpanKind::Client,
            "resources.find",
            from,
            to,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "a span has that many")]
    pub(super) fn span(
        &mut self,
        trace: u8,
        span: u8,
        parent: Option<u8>,
        kind: SpanKind,
        name: &str,
        from: u64,
        to: u64,
    ) {
        let facts = SpanFacts {
            trace: TraceId([trace; 16]),
            span: SpanId([span; 8]),
            parent: parent.map(|parent| SpanId([parent; 8])),
            kind,
            name,
            rpc_method: None,
            rpc_service: None,
            service: "",
            statement: None,
            start: UnixNanos(T0 + from * MS),
            duration: (to - from) * MS,
            failed: false,
        };
        let now = UnixNanos(T0 + (to + self.delay) * MS);
        self.ledger.span(&facts, now);
    }

    pub(super) fn access(&mut self, trace: u8, path: &str, from: u64, to: u64) {
        self.record(trace, path, from, Some(to));
    }

    pub(super) fn began(&mut self, trace: u8, path: &str, at: u64) {
        self.record(trace, path, at, None);
    }

    fn record(&mut self, trace: u8, path: &str, from: u64, to: Option<u64>) {
        let facts = AccessFacts {
            side: ProxySide::Inbound,
            phase: to.map_or(Phase::Start, |_| Phase::End),
            trace: Some(TraceId([trace; 16])),
            span: Some(SpanId([0xf0 ^ trace; 8])),
            user: Some("mallory"),
            method: self.method,
            path,
            status: to.map_or(0, |_| 200),
            grpc_status: None,
            cut_short: false,
            request_id: None,
            start: UnixNanos(T0 + from * MS),
            duration: to.map_or(0, |to| to - from) * MS,
        };
        self.ledger
            .access(&facts, UnixNanos(T0 + to.unwrap_or(from) * MS));
    }

    /// The proxy tells of requests when they begin, too.
    pub(super) fn proxy_tells_of_starts(&mut self) {
        let facts = AccessFacts {
            side: ProxySide::Inbound,
            phase: Phase::Start,
            trace: Some(TraceId([0xee; 16])),
            span: Some(SpanId([0xee; 8])),
            user: None,
            method: "GET",
            path: "/",
            status: 0,
            grpc_status: None,
            cut_short: false,
            request_id: None,
            start: UnixNanos(T0),
            duration: 0,
        };
        self.ledger.access(&facts, UnixNanos(T0));
    }

    /// The gateway names who makes what runs on the trace.
    pub(super) fn person(&mut self, trace: u8, user: &str) {
        self.gateway(trace, user, 0, None);
    }

    /// The gateway's record of a request: of its beginning, or of its end.
    pub(super) fn gateway(&mut self, trace: u8, user: &str, from: u64, to: Option<u64>) {
        let user = User {
            id: Arc::from(user),
            source: UserSource::Gateway,
        };
        let fact = TraceUser {
            trace: TraceId([trace; 16]),
            user,
            at: UnixNanos(T0 + from * MS),
            until: to.map_or(TraceUser::RUNS, |to| UnixNanos(T0 + to * MS)),
            exclusive: to.is_none(),
        };
        self.ledger.fact(&Fact::TraceUser(fact));
    }

    pub(super) fn line(
        &mut self,
        at: u64,
        site: Option<Site<'_>>,
        message: &str,
        names: &[(NameKey, &str)],
    ) -> Ticket {
        let names: Vec<Name<'_>> = names
            .iter()
            .map(|(key, value)| Name { key: *key, value })
            .collect();
        self.facts(
            at,
            &LineFacts {
                time: UnixNanos(T0 + at * MS),
                own_time: true,
                arrival: UnixNanos(T0 + at * MS),
                dialect: Dialect::Logrus,
                stream: Stream::Stderr,
                severity: Severity::Info,
                site,
                message,
                names: &names,
                access: None,
            },
        )
    }

    pub(super) fn access_line(&mut self, at: u64, path: &str) -> Ticket {
        let started = UnixNanos((T0 + at * MS) / 1_000_000_000 * 1_000_000_000);
        self.facts(
            at,
            &LineFacts {
                time: UnixNanos(T0 + at * MS),
                own_time: false,
                arrival: UnixNanos(T0 + at * MS),
                dialect: Dialect::CommonLog,
                stream: Stream::Stdout,
                severity: Severity::Info,
                site: None,
                message: "",
                names: &[],
                access: Some(AccessLine {
                    method: "GET",
                    path,
                    status: 200,
                    bytes: 2,
                    started,
                }),
            },
        )
    }

    pub(super) fn facts(&mut self, at: u64, facts: &LineFacts<'_>) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.ledger.line(ticket, facts, UnixNanos(T0 + at * MS));
        ticket
    }

    pub(super) fn verdicts(&mut self) -> Vec<Verdict> {
        self.verdicts_at(3_600_000)
    }

    /// The verdicts that are taken until then.
    pub(super) fn verdicts_at(&mut self, at: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let now = UnixNanos(T0 + at * MS);
        self.ledger
            .poll(now, &mut |_, verdict| verdicts.push(verdict));
        verdicts
    }

    /// The statuses of all requests that ended.
    fn requests(&mut self) -> Vec<u16> {
        let mut statuses = Vec::new();
        let later = UnixNanos(T0 + 3_600_000 * MS);
        self.ledger
            .poll_requests(later, &mut |ended| statuses.push(ended.summary.status));
        statuses
    }

    /// The verdict of the only line.
    pub(super) fn verdict(&mut self) -> Verdict {
        let mut verdicts = self.verdicts();
        assert_eq!(verdicts.len(), 1);
        verdicts.remove(0)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "verdicts hold it so")]
pub(super) fn trace(of: u8) -> Option<TraceId> {
    Some(TraceId([of; 16]))
}

#[test]
fn the_only_open_request_printed_it() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.person(1, "alice");
    scene.line(100, Some(RESOURCES), "", &[]);
    let verdict = scene.verdict();
    assert_eq!(
        (verdict.outcome, verdict.trace),
        (Outcome::Attributed, trace(1))
    );
    assert_eq!(
        verdict.user.map(|user| user.id.to_string()),
        Some("alice".to_owned())
    );
}

#[test]
fn two_that_compute_at_once_are_ambiguous_and_name_nobody() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.request(2, "POST", &format!("{DIG}/update"), 0, 500);
    scene.person(1, "alice");
    scene.person(2, "alice");
    scene.line(100, Some(RESOURCES), "", &[]);
    let verdict = scene.verdict();
    assert_eq!(verdict.outcome, Outcome::Ambiguous);
    assert_eq!((verdict.trace, verdict.user), (None, None));
    assert_eq!(verdict.candidates, [TraceId([1; 16]), TraceId([2; 16])]);
}

#[test]
fn a_request_inside_a_call_prints_nothing() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.request(2, "POST", &format!("{DIG}/update"), 0, 500);
    scene.call(2, 9, 50, 150);
    scene.line(100, Some(RESOURCES), "", &[]);
    let verdict = scene.verdict();
    assert_eq!((verdict.trace, verdict.rule), (trace(1), Rule::Blocked));
}

#[test]
fn a_route_that_cannot_reach_the_statement_is_struck_out() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.request(2, "GET", "/v2/projects/p1", 0, 500);
    scene.line(100, Some(RESOURCES), "", &[]);
    let verdict = scene.verdict();
    assert_eq!(
        (verdict.trace, verdict.rule),
        (trace(1), Rule::CodePosition)
    );
}

#[test]
fn a_line_on_another_project_is_not_of_the_request() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.request(
        2,
        "POST",
        &format!("{}/instantiate", DIG.replace("p1", "p2")),
        0,
        500,
    );
    scene.line(100, Some(RESOURCES), "", &[(NameKey::Project, "p2")]);
    let verdict = scene.verdict();
    assert_eq!((verdict.trace, verdict.rule), (trace(2), Rule::Names));
}

#[test]
fn a_temporary_directory_belongs_to_one_request() {
    let mut scene = Scene::of("orchestrator");
    let token = [(NameKey::Token, "helm-tmpl-1816907225")];
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.request(2, "POST", &format!("{DIG}/update"), 50, 500);
    scene.line(20, Some(RESOURCES), "", &token);
    scene.line(100, Some(RESOURCES), "", &token);
    let verdicts = scene.verdicts();
    assert_eq!(
        verdicts
            .iter()
            .map(|verdict| verdict.trace)
            .collect::<Vec<_>>(),
        [trace(1), trace(1)]
    );
    assert_eq!(
        verdicts.last().map(|verdict| verdict.rule),
        Some(Rule::Token)
    );
}

#[test]
fn a_conflict_about_a_trace_names_nobody_for_good() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "GET", "/v2/projects/p1", 0, 500);
    for user in ["alice", "bob", "alice"] {
        scene.person(1, user);
    }
    scene.line(100, None, "anything", &[]);
    assert_eq!(scene.verdict().user, None);
}

#[test]
fn a_header_that_nobody_proved_names_nobody() {
    let mut scene = Scene::of("orchestrator");
    scene.access(1, "/v2/projects/p1", 0, 100);
    scene.access_line(100, "/v2/projects/p1");
    let verdict = scene.verdict();
    assert_eq!((verdict.trace, verdict.user), (trace(1), None));
}

#[test]
fn the_poller_keeps_its_lines_from_the_request_that_is_open() {
    let mut scene = Scene::of("dcm");
    let status = "/v2/projects/p1/logical-clouds/lc1/status";
    scene.request(1, "GET", status, 20_000, 21_000);
    scene.span(7, 7, None, SpanKind::Unset, "get-metrics", 20_100, 20_900);
    scene.line(20_500, Some(STATUS), "", &[]);
    assert_eq!(scene.verdict().outcome, Outcome::Ambiguous);
}

#[test]
fn the_pollers_next_pass_is_known_before_it_ends() {
    let mut scene = Scene::of("dcm");
    scene.span(7, 7, None, SpanKind::Unset, "get-metrics", 20_000, 20_100);
    scene.call(8, 9, 35_101, 35_200);
    scene.call(8, 9, 35_301, 35_400);
    scene.call(8, 9, 35_501, 35_600);
    scene.line(35_300, Some(STATUS), "", &[]);
    assert_eq!(scene.verdict().outcome, Outcome::Background);
}

#[test]
fn two_access_lines_for_one_request_prove_another_that_nobody_saw() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "GET", "/v2/projects/p1", 0, 100);
    scene.access_line(100, "/v2/projects/p1");
    scene.access_line(101, "/v2/projects/p1");
    for verdict in scene.verdicts() {
        assert_eq!(verdict.outcome, Outcome::Ambiguous);
    }
}

/// The proxy's record of a request of less than a millisecond ends before the span begins, by its
/// own clock; taken for another request, it once explained an access line that was not its own.
#[test]
fn a_record_that_comes_after_a_short_span_meets_it() {
    let mut scene = Scene::of("orchestrator");
    scene.span(
        1,
        1,
        Some(0xf1),
        SpanKind::Unset,
        "get /v2/projects/p1",
        100,
        100,
    );
    scene.access(1, "/v2/projects/p1", 98, 98);
    let told: Vec<_> = scene.requests();
    assert_eq!(told, [200]);
}

#[test]
fn equal_requests_one_after_the_other_keep_their_own_access_lines() {
    let mut scene = Scene::of("orchestrator");
    scene.access(1, "/v2/projects/p1", 0, 100);
    scene.access(2, "/v2/projects/p1", 60, 180);
    scene.access_line(101, "/v2/projects/p1");
    scene.access_line(181, "/v2/projects/p1");
    let traces: Vec<_> = scene
        .verdicts()
        .into_iter()
        .map(|verdict| verdict.trace)
        .collect();
    assert_eq!(traces, [trace(1), trace(2)]);
}

#[test]
fn an_unknown_trace_may_be_a_request_that_came_around_the_proxy() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.span(3, 9, Some(5), SpanKind::Client, "resources.find", 40, 60);
    scene.line(100, Some(RESOURCES), "", &[]);
    assert_eq!(scene.verdict().outcome, Outcome::Ambiguous);
}

#[test]
fn nothing_is_sure_inside_a_gap() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene
        .ledger
        .gap(UnixNanos(T0 + 50 * MS), UnixNanos(T0 + 150 * MS));
    scene.line(100, Some(RESOURCES), "", &[]);
    scene.line(200, Some(RESOURCES), "", &[]);
    let outcomes: Vec<_> = scene
        .verdicts()
        .into_iter()
        .map(|verdict| verdict.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Ambiguous, Outcome::Attributed]);
}

#[test]
fn the_process_that_starts_anew_ends_what_ran_before() {
    let mut scene = Scene::of("orchestrator");
    let mut start = AccessFacts {
        side: ProxySide::Inbound,
        phase: Phase::Start,
        trace: trace(1),
        span: Some(SpanId([3; 8])),
        user: None,
        method: "POST",
        path: "/v2/projects",
        status: 0,
        grpc_status: None,
        cut_short: false,
        request_id: None,
        start: UnixNanos(T0),
        duration: 0,
    };
    scene.ledger.access(&start, UnixNanos(T0));
    scene.ledger.process_started(UnixNanos(T0 + 1000 * MS));
    start.trace = trace(2);
    start.span = Some(SpanId([4; 8]));
    start.start = UnixNanos(T0 + 1500 * MS);
    scene.ledger.access(&start, UnixNanos(T0 + 1500 * MS));
    scene.line(2000, None, "something no table knows", &[]);
    // with everything possible at an unknown statement, the dead request is no candidate any more
    assert!(!scene.verdict().candidates.contains(&TraceId([1; 16])));
}

#[test]
fn a_call_that_only_the_proxy_saw_failed_if_the_proxy_says_so() {
    let mut scene = Scene::of("rsync");
    let answers = [
        ("/installapp/InstallApp", Some(0), false),
        ("/installapp/InstallApp", Some(14), false),
        ("/installapp/InstallApp", None, true),
        // what is no call is judged by its status alone
        ("/v2/projects", Some(2), true),
    ];
    for (number, (path, grpc_status, cut_short)) in (1..).zip(answers) {
        let record = AccessFacts {
            side: ProxySide::Inbound,
            phase: Phase::End,
            trace: trace(number),
            span: Some(SpanId([number; 8])),
            user: None,
            method: "POST",
            path,
            status: 200,
            grpc_status,
            cut_short,
            request_id: None,
            start: UnixNanos(T0 + u64::from(number) * MS),
            duration: 0,
        };
        scene.ledger.access(&record, UnixNanos(T0 + 10 * MS));
    }
    let mut failed = Vec::new();
    let later = UnixNanos(T0 + 3_600_000 * MS);
    scene
        .ledger
        .poll_requests(later, &mut |ended| failed.push(ended.summary.failed));
    assert_eq!(failed, [false, true, true, false]);
}

/// Memory goes back between two moves of the tables; what they say stays.
#[test]
fn tables_that_move_say_the_same() {
    let mut scene = Scene::of("orchestrator");
    for number in 1..=5 {
        let begun = u64::from(number) * 600;
        scene.request(
            number,
            "POST",
            &format!("{DIG}/instantiate"),
            begun,
            begun + 500,
        );
    }
    let room = |scene: &Scene| scene.ledger.state.origins.room();
    let before = room(&scene);
    scene.ledger.rest(UnixNanos(T0 + 4_000 * MS));
    assert!(room(&scene) > before, "out of the pages of the burst");
    scene.ledger.settle();
    assert!(room(&scene) < before, "no more than is needed");
    scene.line(700, Some(RESOURCES), "", &[]);
    assert_eq!(scene.verdict().trace, trace(1));
}

/// After a restart old evidence comes with a late clock: what was not told of then still is.
#[test]
fn a_request_is_not_forgotten_before_it_was_told_of() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "POST", DIG, 0, 100);
    for at in [0, 3_600_000] {
        assert!(scene.verdicts_at(at).is_empty());
    }
    assert_eq!(scene.requests().len(), 1);
    scene.ledger.rest(UnixNanos(T0 + 4_000_000 * MS));
    assert!(scene.ledger.state.origins.rows().is_empty(), "then it may");
}

proptest! {
    /// More evidence of other work can make a sure line unsure, but never moves it to somebody else
    /// when that work was not open at the time.
    #[test]
    fn work_at_other_times_changes_nothing(others in prop::collection::vec((2u8..200, 600u64..5_000, 1u64..400), 0..20)) {
        let mut scene = Scene::of("orchestrator");
        scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
        for (trace, from, length) in others {
            scene.request(trace, "POST", &format!("{DIG}/update"), from, from + length);
        }
        scene.line(100, Some(RESOURCES), "", &[]);
        prop_assert_eq!(scene.verdict().trace, trace(1));
    }

    /// Whatever is open beside it, a line is given to its true request or to nobody.
    #[test]
    fn a_line_is_never_given_to_another(
        others in prop::collection::vec((2u8..250, 0u64..1_000, 1u64..1_000, any::<bool>()), 0..20),
        calls in prop::collection::vec((0usize..20, 0u64..1_500, 1u64..200), 0..40),
        at in 1u64..999,
    ) {
        let mut scene = Scene::of("orchestrator");
        scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 1_000);
        for (trace, from, length, update) in &others {
            let action = if *update { "update" } else { "status" };
            let method = if *update { "POST" } else { "GET" };
            scene.request(*trace, method, &format!("{DIG}/{action}"), *from, from + length);
        }
        for (number, (of, from, length)) in calls.iter().enumerate() {
            if let Some((trace, start, ..)) = others.get(*of) {
                let span = u8::try_from(number).unwrap_or(0) | 0x80;
                scene.call(*trace, span, start + from, start + from + length);
            }
        }
        scene.line(at, Some(RESOURCES), "", &[]);
        let claimed = scene.verdict().trace;
        prop_assert!(claimed.is_none() || claimed == trace(1), "{claimed:?}");
    }
}

/// Proxies' logs are read a moment later than spans arrive: the request is one all the same.
#[test]
fn an_access_record_that_comes_after_the_first_calls_meets_them() {
    let mut scene = Scene::of("orchestrator");
    scene.proxy_tells_of_starts();
    scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
    scene.call(2, 9, 10, 60);
    scene.began(2, &format!("{DIG}/update"), 0);
    scene.line(30, Some(RESOURCES), "", &[]);
    let verdict = scene.verdict();
    assert_eq!(
        (verdict.trace, verdict.rule),
        (trace(1), Rule::CodePosition)
    );
}

/// An access line that no request explains proves one that nobody saw: what was printed meanwhile
/// may be its own.
#[test]
fn a_request_that_only_its_access_line_tells_of_may_have_printed() {
    for (path, outcome) in [
        ("/v2/projects", Outcome::Attributed),
        ("/v2/controllers", Outcome::Ambiguous),
    ] {
        let mut scene = Scene::of("orchestrator");
        scene.request(1, "POST", &format!("{DIG}/instantiate"), 0, 500);
        scene.request(2, "GET", "/v2/projects", 200, 590);
        scene.line(100, Some(RESOURCES), "", &[]);
        scene.access_line(595, path);
        let first = scene.verdicts().into_iter().next();
        assert_eq!(
            first.map(|verdict| verdict.outcome),
            Some(outcome),
            "{path}"
        );
    }
}
