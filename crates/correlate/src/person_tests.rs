//! Scenes with two people on one trace: nobody's lines may carry the other's name.

use model::evidence::{AccessFacts, Phase, ProxySide, SpanKind};
use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;
use model::verdict::{Outcome, Verdict};

use crate::Ticket;
use crate::tests::{DIG, MS, RESOURCES, Scene, T0, trace};
use crate::worker_tests::{INSTALL, WORKS, X};

/// Spans of two requests on trace 1, in the service and at its proxy.
const ALICES: (u8, u8) = (1, 0xa1);
const BOBS: (u8, u8) = (2, 0xb2);

fn record((_, proxy): (u8, u8), path: &str, from: u64, to: Option<u64>) -> AccessFacts<'_> {
    AccessFacts {
        side: ProxySide::Inbound,
        phase: to.map_or(Phase::Start, |_| Phase::End),
        trace: trace(1),
        span: Some(SpanId([proxy; 8])),
        user: None,
        method: "POST",
        path,
        status: to.map_or(0, |_| 202),
        grpc_status: None,
        cut_short: false,
        request_id: None,
        start: UnixNanos(T0 + from * MS),
        duration: to.map_or(0, |to| (to - from) * MS),
    }
}

impl Scene {
    /// The proxy's record, of a beginning or an end.
    fn told(&mut self, spans: (u8, u8), from: u64, to: Option<u64>) {
        let path = format!("{DIG}/instantiate");
        let now = UnixNanos(T0 + to.unwrap_or(from) * MS);
        self.ledger.access(&record(spans, &path, from, to), now);
    }

    /// The service's own span of a request that ended.
    fn served(&mut self, (own, proxy): (u8, u8), from: u64, to: u64) {
        let name = format!("post {DIG}/instantiate");
        self.span(1, own, Some(proxy), SpanKind::Unset, &name, from, to);
    }

    /// A line that requests like these print, and its verdict after the wait.
    fn printed(&mut self, at: u64) -> Verdict {
        self.line(at, Some(RESOURCES), "", &[]);
        self.verdicts_at(at + 2_001).pop().unwrap()
    }
}

fn named(verdict: &Verdict) -> (Outcome, Option<TraceId>, Option<&str>) {
    let user = verdict.user.as_ref().map(|user| &*user.id);
    (verdict.outcome, verdict.trace, user)
}

fn owned(user: Option<&str>) -> (Outcome, Option<TraceId>, Option<&str>) {
    (Outcome::Attributed, trace(1), user)
}

/// Alice's request is over, and so known: with the record of its beginning, or only with that of its
/// end.
fn after_alice(starts: bool) -> Scene {
    let mut scene = Scene::of("orchestrator");
    scene.proxy_tells_of_starts();
    if starts {
        scene.gateway(1, "alice", 0, None);
    }
    scene.told(ALICES, 1, None);
    scene.served(ALICES, 2, 998);
    scene.told(ALICES, 1, Some(999));
    scene.gateway(1, "alice", 0, Some(1_000));
    assert_eq!(named(&scene.printed(500)), owned(Some("alice")));
    scene
}

#[test]
fn a_second_person_on_the_trace_is_not_the_first_while_their_request_runs() {
    for starts in [false, true] {
        let mut scene = after_alice(starts);
        scene.told(BOBS, 5_001, None);
        for at in [5_010, 7_000, 20_000] {
            assert_eq!(named(&scene.printed(at)), owned(None), "at {at}");
        }
        scene.served(BOBS, 5_002, 29_998);
        scene.told(BOBS, 5_001, Some(29_999));
        let early = scene.printed(29_000);
        assert_eq!(named(&early), owned(None), "his end is known, he is not");
        scene.gateway(1, "bob", 5_000, Some(30_000));
        assert_eq!(
            named(&scene.printed(29_100)),
            owned(None),
            "nobody for good"
        );
    }
}

#[test]
fn a_second_person_who_is_told_of_at_once_ends_it_for_both() {
    let mut scene = Scene::of("orchestrator");
    scene.proxy_tells_of_starts();
    scene.gateway(1, "alice", 0, None);
    scene.told(ALICES, 1, None);
    assert_eq!(named(&scene.printed(100)), owned(Some("alice")));
    scene.gateway(1, "bob", 5_000, None);
    scene.told(BOBS, 5_001, None);
    for at in [5_100, 7_000] {
        assert_eq!(named(&scene.printed(at)), owned(None));
    }
}

#[test]
fn whoever_is_still_at_work_beside_the_known_request_leaves_nobody() {
    // only ends are told: Alice is known at 10 s, Bob at 30 s
    let mut scene = Scene::of("orchestrator");
    scene.proxy_tells_of_starts();
    scene.told(ALICES, 1, None);
    scene.told(BOBS, 5_001, None);
    scene.served(ALICES, 2, 9_998);
    scene.told(ALICES, 1, Some(9_999));
    scene.gateway(1, "alice", 0, Some(10_000));
    assert_eq!(named(&scene.printed(4_000)), owned(Some("alice")));
    assert_eq!(
        named(&scene.printed(9_000)),
        owned(None),
        "either may have printed it"
    );
    assert_eq!(named(&scene.printed(10_500)), owned(None), "he printed it");
}

#[test]
fn a_part_of_an_unknown_request_is_not_the_known_ones() {
    // a service that both requests call: his call lies inside her request, and his own goes on
    let mut scene = Scene::of("orchestrator");
    scene.proxy_tells_of_starts();
    scene.told(BOBS, 5_001, None);
    scene.served(BOBS, 5_002, 5_998);
    scene.told(BOBS, 5_001, Some(5_999));
    scene.gateway(1, "alice", 0, Some(10_000));
    assert_eq!(named(&scene.printed(5_500)), owned(None));
}

#[test]
fn work_that_outlives_a_request_is_its_makers_only_if_their_request_started_it() {
    for (at, user) in [(100, Some("alice")), (2_000, None)] {
        let mut scene = Scene::of("rsync");
        scene.gateway(1, "alice", 0, None);
        scene.gateway(1, "alice", 0, Some(1_000));
        scene.rpc(1, INSTALL, at, &[X]);
        scene.worker(11, at + 101, at + 6_000);
        scene.line(
            at + 3_000,
            Some(WORKS),
            "Done Installing main resources",
            &[],
        );
        let verdicts = scene.verdicts();
        for verdict in &verdicts {
            assert_eq!(named(verdict), owned(user));
        }
        assert_eq!(verdicts.len(), 2, "the request's and its worker's");
    }
}

#[test]
fn work_that_either_of_two_requests_may_have_started_is_nobodys() {
    // on one trace: Alice's, and somebody's of whom nothing is known yet
    for (alices, others) in [(100, 4_000), (4_000, 100)] {
        let mut scene = Scene::of("rsync");
        scene.gateway(1, "alice", alices - 50, None);
        scene.gateway(1, "alice", alices - 50, Some(alices + 900));
        let install = |scene: &mut Scene, span, at| {
            scene.span(1, span, Some(0x70), SpanKind::Server, INSTALL, at, at + 100);
        };
        install(&mut scene, 1, alices.min(others));
        install(&mut scene, 2, alices.max(others));
        scene.worker(11, 201, 9_000);
        let mut works = |at| {
            let message = "Done Installing main resources";
            scene.line(at, Some(WORKS), message, &[]);
            scene.verdicts_at(at + 2_001).pop().unwrap()
        };
        let alone = (alices < others).then_some("alice");
        assert_eq!(named(&works(3_000)), owned(alone));
        assert_eq!(named(&works(6_000)), owned(None));
    }
}

/// The calls of two requests of one trace came before the second one's record, the second one's first.
#[test]
fn a_request_stays_known_when_another_of_its_trace_got_its_record() {
    let mut scene = Scene::of("orchestrator");
    scene.told(ALICES, 0, None);
    let call = |scene: &mut Scene, (own, _): (u8, u8), span, from| {
        scene.span(
            1,
            span,
            Some(own),
            SpanKind::Client,
            "resources.find",
            from,
            from + 5,
        );
    };
    call(&mut scene, BOBS, 8, 20);
    call(&mut scene, ALICES, 9, 30);
    scene.told(BOBS, 10, None);
    scene.served(ALICES, 1, 100);
    scene.told(ALICES, 0, Some(101));
    // somebody else's, on another trace
    scene.request(5, "POST", &format!("{DIG}/update"), 1_000, 2_000);
    let verdict = scene.printed(1_500);
    assert_eq!(verdict.outcome, Outcome::Ambiguous, "his may go on");
    assert_eq!(verdict.candidates.len(), 2);
    // his record and his calls are one request's again
    call(&mut scene, BOBS, 7, 3_000);
    scene.served(BOBS, 11, 4_000);
    scene.told(BOBS, 10, Some(4_001));
    assert_eq!(named(&scene.printed(3_500)), owned(None));
    assert_eq!(scene.ledger.origins(), 3);
}

#[test]
fn records_documents_and_spans_name_whom_lines_name() {
    let mut scene = after_alice(false);
    scene.told(BOBS, 5_001, None);
    let path = format!("{DIG}/instantiate");
    let own = |scene: &mut Scene, spans, from, to: Option<u64>| {
        let at = UnixNanos(T0 + to.unwrap_or(from) * MS);
        let record = record(spans, &path, from, to);
        let about = (TraceId([1; 16]), &record);
        scene.ledger.own_line(Ticket(77), about, at, at);
        let verdicts = scene.verdicts_at(to.unwrap_or(from) + 2_001);
        verdicts[0].user.as_ref().map(|user| user.id.to_string())
    };
    let alice = Some("alice".to_owned());
    assert_eq!(own(&mut scene, ALICES, 1, Some(999)), alice);
    assert_eq!(
        own(&mut scene, ALICES, 1, None),
        alice,
        "it is known to have ended"
    );
    assert_eq!(own(&mut scene, BOBS, 5_001, None), None);
    let person = |scene: &Scene, from, to| {
        let at = |at| UnixNanos(T0 + at * MS);
        let user = scene.ledger.person(TraceId([1; 16]), at(from), at(to));
        user.map(|user| user.id.to_string())
    };
    assert_eq!(person(&scene, 100, 200), alice);
    assert_eq!(person(&scene, 6_000, 6_001), None);
    scene.served(BOBS, 5_002, 19_998);
    scene.told(BOBS, 5_001, Some(19_999));
    assert_eq!(own(&mut scene, BOBS, 5_001, Some(19_999)), None);
    assert_eq!(person(&scene, 6_000, 6_001), None);
    let mut documents = Vec::new();
    let later = UnixNanos(T0 + 60_000 * MS);
    scene.ledger.poll_requests(later, &mut |ended| {
        let user = ended.verdict.user.map(|user| user.id.to_string());
        documents.push((ended.summary.start, user));
    });
    documents.sort();
    let at = |at| UnixNanos(T0 + at * MS);
    assert_eq!(documents, [(at(1), alice), (at(5_001), None)]);
}
