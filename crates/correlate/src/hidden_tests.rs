//! Scenes in which somebody is at work of whom nothing is known yet: their lines are nobody else's.

use model::evidence::SpanKind;
use model::line::Site;
use model::time::UnixNanos;
use model::verdict::{Outcome, Verdict};

use crate::Settings;
use crate::tests::{MS, STATUS, Scene, T0};
use crate::worker_tests::{INSTALL, X};

const STATUS_OF_GROUP: &str =
    "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/status";
const INSTANTIATE: &str = "/v2/projects/p1/logical-clouds/lc1/instantiate";
/// A statement of dcm's that instantiate and update reach.
const CREATE: Site<'_> = Site {
    file: "appcontext.go",
    line: 131,
    function: "appcontext.(*AppContext).CreateCompositeApp",
};
/// Scenes begin here, after the service has served for a while.
const LATER: u64 = 10_000;

impl Scene {
    /// A request that came through the proxy and sent its span.
    fn common(&mut self, trace: u8, path: &str, from: u64, to: u64) {
        self.unsampled(trace, path, from, to);
        self.traced(trace, path, from, to);
    }

    /// The span of a request that came through the proxy.
    fn traced(&mut self, trace: u8, path: &str, from: u64, to: u64) {
        let name = format!("{} {path}", self.method.to_lowercase());
        let proxy = Some(0xf0 ^ trace);
        self.span(trace, trace, proxy, SpanKind::Unset, &name, from, to);
    }

    /// A request that came through the proxy, and sent no span.
    fn unsampled(&mut self, trace: u8, path: &str, from: u64, to: u64) {
        self.access(trace, path, from, to);
    }

    /// The verdict on a line that was printed then, two seconds later.
    fn prints(&mut self, at: u64) -> Verdict {
        self.line(at, Some(STATUS), "", &[]);
        self.verdicts_at(at + 2_001).pop().unwrap()
    }
}

/// A service that has served forty requests, all through its proxy, all with their spans; the proxy
/// told of them when they ended.
fn seasoned(service: &str) -> Scene {
    let mut scene = Scene::of(service);
    scene.ledger.process_started(UnixNanos(T0));
    for number in 100..140 {
        let from = u64::from(number) * 10;
        scene.common(number, STATUS_OF_GROUP, from, from + 5);
    }
    scene.verdicts_at(LATER - 1);
    scene
}

#[test]
fn whoever_has_not_made_their_first_call_may_have_printed_it() {
    for (until, outcome) in [(120, Outcome::Ambiguous), (400, Outcome::Attributed)] {
        let mut scene = seasoned("orchestrator");
        scene.common(1, STATUS_OF_GROUP, LATER, LATER + 110);
        scene.call(2, 9, LATER + 90, LATER + until);
        // what made the call began after the line
        scene.span(
            2,
            2,
            None,
            SpanKind::Unset,
            "get-metrics",
            LATER + 105,
            LATER + until,
        );
        let verdict = scene.prints(LATER + 100);
        assert_eq!(verdict.outcome, outcome, "spans until {until}");
    }
}

#[test]
fn one_request_without_a_span_proves_that_there_may_be_more() {
    let mut scene = seasoned("orchestrator");
    let mut claimed = |trace: u8, at: u64, before: fn(&mut Scene, u64)| {
        before(&mut scene, at);
        scene.verdicts_at(at + 2_900);
        scene.common(trace, STATUS_OF_GROUP, at + 3_000, at + 4_000);
        scene.prints(at + 3_100).outcome
    };
    let answered_by_its_router = |scene: &mut Scene, at| {
        scene.unsampled(2, "/v2/nowhere", at, at + 5);
    };
    let unsampled = |scene: &mut Scene, at| scene.unsampled(3, STATUS_OF_GROUP, at, at + 5);
    let it_came_late = |scene: &mut Scene, at| {
        scene.traced(3, STATUS_OF_GROUP, at - 10_000, at - 9_995);
    };
    assert_eq!(
        claimed(11, LATER, answered_by_its_router),
        Outcome::Attributed
    );
    assert_eq!(claimed(12, LATER + 10_000, unsampled), Outcome::Ambiguous);
    assert_eq!(
        claimed(13, LATER + 20_000, it_came_late),
        Outcome::Attributed
    );
}

#[test]
fn a_request_that_the_proxy_tells_of_at_its_end_is_no_goroutine_until_then() {
    for (at, outcome) in [
        (5_500, Outcome::Ambiguous),
        // for so long none computes
        (12_500, Outcome::Attributed),
    ] {
        let mut scene = seasoned("dcm");
        scene.method = "POST";
        // goroutines have been started
        scene.common(1, INSTANTIATE, LATER, LATER + 100);
        scene.common(2, INSTANTIATE, LATER + at - 500, LATER + at + 500);
        // one that goes on: so far it made a call, and computes
        scene.call(3, 9, LATER + 2_000, LATER + 2_010);
        scene.line(LATER + at, Some(CREATE), "", &[]);
        let verdict = scene.verdicts_at(LATER + at + 2_001).pop().unwrap();
        assert_eq!(verdict.outcome, outcome, "at {at}");
    }
}

#[test]
fn a_request_that_begins_when_the_poller_has_to_is_not_taken_for_its_pass() {
    let mut scene = seasoned("dcm");
    scene.method = "POST";
    scene.span(
        7,
        7,
        None,
        SpanKind::Unset,
        "get-metrics",
        LATER,
        LATER + 100,
    );
    // the next pass has to begin now, and is late
    scene.call(3, 9, LATER + 15_101, LATER + 15_110);
    scene.common(2, INSTANTIATE, LATER + 15_000, LATER + 16_000);
    scene.line(LATER + 15_500, Some(CREATE), "", &[]);
    let verdict = scene.verdicts_at(LATER + 17_501).pop().unwrap();
    assert_eq!(verdict.outcome, Outcome::Ambiguous);
}

#[test]
fn an_rpc_is_known_in_time_only_where_all_were_short() {
    for (took, outcome) in [(100, Outcome::Attributed), (1_500, Outcome::Ambiguous)] {
        let mut scene = seasoned("rsync");
        let install = "/installapp/InstallApp";
        let rpc = |scene: &mut Scene, trace: u8, from, to| {
            let proxy = Some(0xf0 ^ trace);
            scene.access(trace, install, from, to);
            scene.span(trace, trace, proxy, SpanKind::Server, INSTALL, from, to);
        };
        rpc(&mut scene, 1, LATER, LATER + took);
        rpc(&mut scene, 2, LATER + 5_000, LATER + 5_600);
        scene.call(3, 9, LATER + 5_110, LATER + 5_120);
        scene.receipt(
            LATER + 5_100,
            "GRPC Server received installAppRequest:  {",
            &[X],
        );
        let verdict = scene.verdicts_at(LATER + 7_200).pop().unwrap();
        assert_eq!(verdict.outcome, outcome, "an RPC took {took} ms");
    }
}

#[test]
fn in_a_gap_somebody_may_have_come_around_the_proxy() {
    let mut scene = Scene::of("orchestrator");
    scene.began(1, STATUS_OF_GROUP, 0);
    scene.common(1, STATUS_OF_GROUP, 0, 500);
    scene.verdicts_at(5_000);
    scene.began(2, STATUS_OF_GROUP, LATER);
    scene.common(2, STATUS_OF_GROUP, LATER, LATER + 500);
    let at = |at| UnixNanos(T0 + (LATER + at) * MS);
    scene.ledger.gap(at(50), at(150));
    scene.line(LATER + 100, Some(STATUS), "", &[]);
    scene.line(LATER + 300, Some(STATUS), "", &[]);
    let verdicts = scene.verdicts();
    let outcomes: Vec<_> = verdicts.iter().map(|verdict| verdict.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ambiguous, Outcome::Attributed]);
}

#[test]
fn requests_that_were_forgotten_for_room_may_have_printed_it() {
    let mut scene = Scene::with(Settings {
        origins_max: 4,
        ..Settings::of("orchestrator")
    });
    scene.began(1, STATUS_OF_GROUP, 0);
    scene.common(1, STATUS_OF_GROUP, 0, 5);
    scene.verdicts_at(5_000);
    for number in 2..8 {
        scene.began(number, STATUS_OF_GROUP, LATER + u64::from(number));
    }
    let verdict = scene.prints(LATER + 100);
    assert_eq!(verdict.outcome, Outcome::Ambiguous);
    assert!(verdict.candidates.len() < 6, "some are forgotten");
    // all that is left but one ends; the forgotten ones go on
    for number in 2..7 {
        scene.access(
            number,
            STATUS_OF_GROUP,
            LATER + u64::from(number),
            LATER + 1_000,
        );
    }
    assert_ne!(scene.prints(LATER + 2_000).outcome, Outcome::Attributed);
}

#[test]
fn whoever_comes_around_the_proxy_may_be_told_of_too_late() {
    for (delay, outcome) in [(5_000, Outcome::Ambiguous), (200, Outcome::Attributed)] {
        let mut scene = Scene::of("orchestrator");
        scene.verdicts_at(1);
        // spans come in deliveries; the last request came around the proxy
        for number in 1..6 {
            let from = u64::from(number) * 1_000;
            let proxy = (number < 5).then_some(0xf0 ^ number);
            if proxy.is_some() {
                scene.began(number, STATUS_OF_GROUP, from);
                scene.access(number, STATUS_OF_GROUP, from, from + 5);
            }
            let name = format!("get {STATUS_OF_GROUP}");
            scene.delay = delay;
            scene.span(
                number,
                number,
                proxy,
                SpanKind::Unset,
                &name,
                from,
                from + 5,
            );
        }
        scene.verdicts_at(19_900);
        scene.began(9, STATUS_OF_GROUP, 20_000);
        scene.access(9, STATUS_OF_GROUP, 20_000, 20_500);
        let verdict = scene.prints(20_100);
        assert_eq!(verdict.outcome, outcome, "spans come after {delay} ms");
    }
}

#[test]
fn a_request_that_only_its_access_line_tells_of_proves_that_there_may_be_more() {
    let mut scene = Scene::of("orchestrator");
    scene.request(1, "GET", STATUS_OF_GROUP, 0, 1_000);
    assert_eq!(scene.prints(100).outcome, Outcome::Attributed);
    scene.access_line(5_000, STATUS_OF_GROUP);
    scene.verdicts_at(8_000);
    scene.request(2, "GET", STATUS_OF_GROUP, LATER, LATER + 1_000);
    assert_eq!(scene.prints(LATER + 100).outcome, Outcome::Ambiguous);
}
