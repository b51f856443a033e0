//! Scenes of rsync: workers that outlive the requests that started them.

use model::evidence::{SpanFacts, SpanKind};
use model::fact::{Fact, Operation};
use model::ids::{SpanId, TraceId};
use model::line::{NameKey, Site};
use model::time::UnixNanos;
use model::verdict::{Outcome, Verdict};

use crate::tests::{MS, Scene, T0, trace};

pub(super) const X: &str = "7199300375581122767";
const Y: &str = "5577006791947779410";
pub(super) const INSTALL: &str = "installapp/installapp";
const UNINSTALL: &str = "installapp/uninstallapp";
const UPDATE: &str = "updateapp/updateapp";

const fn site(line: u32, function: &'static str) -> Site<'static> {
    Site {
        file: "routines.go",
        line,
        function,
    }
}

const BEGINS: Site<'_> = site(308, "context.(*Context).appContextRoutine");
const ENDS: Site<'_> = site(327, "context.(*Context).appContextRoutine");
const FINISHES: Site<'_> = site(340, "context.(*Context).appContextRoutine");
const ANNOUNCES: Site<'_> = site(528, "context.(*Context).runCluster");
pub(super) const WORKS: Site<'_> = site(604, "context.(*Context).runCluster");

impl Scene {
    /// A request of 100 ms with its receipt.
    pub(super) fn rpc(&mut self, trace: u8, name: &str, at: u64, contexts: &[&str]) {
        let proxy = Some(0x70 + trace);
        self.call(trace, 0x40 + trace, at + 10, at + 99);
        self.span(trace, trace, proxy, SpanKind::Server, name, at, at + 100);
        let message = match name {
            INSTALL => "GRPC Server received installAppRequest:  {",
            UNINSTALL => "GRPC Server received uninstallAppRequest:  {",
            _ => "GRPC Server received UpdateAppRequest:  {",
        };
        self.receipt(at + 1, message, contexts);
    }

    pub(super) fn receipt(&mut self, at: u64, message: &str, contexts: &[&str]) {
        let names: Vec<_> = contexts
            .iter()
            .map(|context| (NameKey::AppContext, *context))
            .collect();
        self.line(at, None, message, &names);
    }

    /// A worker that calls etcd each half second.
    pub(super) fn worker(&mut self, trace: u8, from: u64, to: u64) {
        for at in (from..to).step_by(500) {
            self.etcd(trace, "etcdserverpb.kv/range", at + 1, at + 2);
            self.etcd(trace, "etcdserverpb.kv/put", at + 2, at + 3);
        }
        let name = "appcontextroutine";
        self.span(trace, trace, None, SpanKind::Unset, name, from, to);
    }

    fn etcd(&mut self, trace: u8, name: &str, from: u64, to: u64) {
        let parent = Some(trace);
        self.span(trace, 0x90, parent, SpanKind::Client, name, from, to);
    }

    fn fail(&mut self, trace: u8, from: u64, to: u64) {
        let facts = SpanFacts {
            trace: TraceId([trace; 16]),
            span: SpanId([0x91; 8]),
            parent: Some(SpanId([trace; 8])),
            kind: SpanKind::Client,
            name: "etcdserverpb.kv/range",
            rpc_method: None,
            rpc_service: None,
            service: "",
            statement: None,
            start: UnixNanos(T0 + from * MS),
            duration: (to - from) * MS,
            failed: true,
        };
        self.ledger.span(&facts, UnixNanos(T0 + to * MS));
    }

    /// Another pod says who made the `AppContext`.
    fn made(&mut self, trace: u8, context: &str) {
        let operation = Operation {
            trace: TraceId([trace; 16]),
            app_context: context.into(),
            action: "create".into(),
            service: "orchestrator".into(),
            at: UnixNanos(T0),
        };
        self.ledger.fact(&Fact::Operation(operation));
    }

    fn finishes(&mut self, at: u64, context: &str) {
        let names = [(NameKey::AppContext, context)];
        let message = "Done Processing - no new messages";
        self.line(at, Some(FINISHES), message, &names);
    }

    /// The verdict of the last line.
    fn last(&mut self) -> Verdict {
        self.verdicts().pop().unwrap_or_default()
    }
}

#[test]
fn a_worker_that_is_not_at_work_prints_nothing() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.worker(11, 101, 1_000);
    scene.rpc(2, INSTALL, 3_000, &[Y]);
    scene.worker(12, 3_101, 6_000);
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    assert_eq!(scene.last().trace, trace(2));
}

#[test]
fn two_workers_at_once_can_both_have_printed_it() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.worker(11, 101, 6_000);
    scene.rpc(2, INSTALL, 3_000, &[Y]);
    scene.worker(12, 3_101, 6_000);
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    let verdict = scene.last();
    assert_eq!(verdict.outcome, Outcome::Ambiguous);
    assert_eq!(verdict.candidates.len(), 2);
}

/// One person instantiates, another terminates while the first worker still runs: the same worker
/// takes both events.
#[test]
fn a_worker_serves_everybody_who_queued_an_event() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.rpc(2, UNINSTALL, 2_000, &[X]);
    scene.worker(11, 101, 6_000);
    scene.line(1_000, Some(WORKS), "Done Installing main resources", &[]);
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    let verdicts = scene.verdicts();
    assert_eq!(verdicts.get(2).map(|verdict| verdict.trace), Some(trace(1)));
    let last = verdicts.last().map(|verdict| verdict.outcome);
    assert_eq!(last, Some(Outcome::Ambiguous));
}

#[test]
fn what_was_done_before_is_not_done_by_a_later_worker() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.worker(11, 101, 1_000);
    scene.finishes(995, X);
    scene.rpc(2, UNINSTALL, 2_000, &[X]);
    scene.worker(12, 2_101, 6_000);
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    // the line before is decided when the first worker's end is known
    scene.line(5_000, Some(WORKS), "Done Installing main resources", &[]);
    assert_eq!(scene.last().trace, trace(2));
}

/// A queue that could not be read looks empty.
#[test]
fn a_worker_whose_calls_fail_has_not_done_everything() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.fail(11, 990, 992);
    scene.worker(11, 101, 1_000);
    scene.finishes(995, X);
    scene.rpc(2, UNINSTALL, 2_000, &[X]);
    scene.worker(12, 2_101, 6_000);
    scene.line(5_000, Some(WORKS), "Done Installing main resources", &[]);
    assert_eq!(scene.last().outcome, Outcome::Ambiguous);
}

/// An update's second event may stay in the queue of the old `AppContext` until another request
/// starts a worker there.
#[test]
fn an_event_that_nobody_was_seen_to_do_may_be_done_later() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, UPDATE, 0, &[X, Y]);
    scene.worker(11, 101, 1_000);
    scene.finishes(995, Y);
    scene.rpc(2, UNINSTALL, 3_000, &[X]);
    scene.worker(12, 3_101, 6_000);
    scene.line(5_000, Some(WORKS), "Done Installing main resources", &[]);
    assert_eq!(scene.last().outcome, Outcome::Ambiguous);
}

#[test]
fn a_receipt_that_fits_no_request_proves_one_that_nobody_saw() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.worker(11, 101, 1_000);
    let message = "GRPC Server received installAppRequest:  {";
    scene.receipt(2_000, message, &[Y]);
    scene.worker(12, 2_101, 6_000);
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    let verdict = scene.last();
    assert_eq!((verdict.outcome, verdict.trace), (Outcome::None, None));
}

#[test]
fn two_receipts_that_fit_two_requests_bind_both_to_either() {
    let mut scene = Scene::of("rsync");
    let message = "GRPC Server received installAppRequest:  {";
    for trace in [1, 2] {
        let proxy = Some(0x70 + trace);
        scene.call(trace, 0x40 + trace, 50, 99);
        scene.span(trace, trace, proxy, SpanKind::Server, INSTALL, 0, 100);
    }
    scene.receipt(10, message, &[X]);
    scene.receipt(11, message, &[Y]);
    scene.worker(11, 101, 3_000);
    let context = [(NameKey::AppContext, X)];
    scene.line(
        1_000,
        Some(WORKS),
        "Done Installing main resources",
        &context,
    );
    let both = scene.last();
    assert_eq!(both.outcome, Outcome::Ambiguous);
    assert_eq!(both.candidates.len(), 2);
}

#[test]
fn a_request_prints_nothing_about_what_it_does_not_act_on() {
    let mut scene = Scene::of("rsync");
    scene.proxy_tells_of_starts();
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.rpc(2, INSTALL, 50, &[Y]);
    let created = Site {
        file: "queueUtils.go",
        line: 146,
        function: "context.(*AppContextQueueUtils).CreateQueue",
    };
    let message = "AppContextQueue created";
    scene.line(100, Some(created), message, &[(NameKey::AppContext, X)]);
    scene.line(100, Some(created), message, &[(NameKey::AppContext, Y)]);
    let mut verdicts = scene.verdicts();
    assert_eq!(verdicts.pop().map(|verdict| verdict.trace), Some(trace(2)));
    assert_eq!(verdicts.pop().map(|verdict| verdict.trace), Some(trace(1)));
}

/// Two workers; each announces what its goroutines work on.
#[test]
fn a_worker_prints_nothing_about_a_cluster_that_it_did_not_announce() {
    let mut scene = Scene::of("rsync");
    // the level at which rounds are announced is known from here on
    scene.rpc(5, INSTALL, 0, &["5183207305174585278"]);
    scene.worker(15, 101, 900);
    scene.line(104, Some(BEGINS), "Wait for all subtasks to complete", &[]);
    scene.line(800, Some(ENDS), "Success all subtasks completed", &[]);
    for (trace, at, context, cluster) in [(1, 2_000, X, "edge01"), (2, 4_000, Y, "edge02")] {
        scene.rpc(trace, INSTALL, at, &[context]);
        let named = format!("provider1+{cluster}");
        let about = [(NameKey::App, "appa"), (NameKey::Cluster, named.as_str())];
        scene.line(
            at + 105,
            Some(BEGINS),
            "Wait for all subtasks to complete",
            &[],
        );
        scene.line(at + 106, Some(ANNOUNCES), " runCluster::", &about);
    }
    scene.worker(11, 2_101, 9_000);
    scene.worker(12, 4_101, 9_000);
    let about = |cluster| [(NameKey::App, "appa"), (NameKey::Cluster, cluster)];
    let message = "Done Installing main resources";
    scene.line(6_000, Some(WORKS), message, &about("provider1+edge02"));
    scene.line(6_001, Some(WORKS), message, &about("provider1+edge01"));
    let mut verdicts = scene.verdicts();
    assert_eq!(verdicts.pop().map(|verdict| verdict.trace), Some(trace(1)));
    assert_eq!(verdicts.pop().map(|verdict| verdict.trace), Some(trace(2)));
}

#[test]
fn a_statement_that_follows_a_call_is_not_of_a_worker_that_made_none() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.rpc(2, INSTALL, 3_000, &[Y]);
    scene.etcd(12, "resources.find", 4_000, 4_010);
    scene.worker(11, 101, 6_000);
    scene.worker(12, 3_101, 6_000);
    let looked_up = Site {
        file: "helpers.go",
        line: 49,
        function: "utils.init.func1",
    };
    scene.line(
        4_011,
        Some(looked_up),
        "Successfully looked up CloudConfig",
        &[],
    );
    assert_eq!(scene.last().trace, trace(2));
}

/// Nothing is known of workers as long as their spans have not come.
#[test]
fn before_spans_come_everybody_with_unfinished_work_is_a_candidate() {
    let mut scene = Scene::of("rsync");
    scene.rpc(1, INSTALL, 0, &[X]);
    scene.rpc(2, INSTALL, 500, &[Y]);
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    let verdict = scene.last();
    assert_eq!(verdict.outcome, Outcome::Ambiguous);
    assert_eq!(verdict.candidates.len(), 2);
}

/// The proxy tells of requests only when they end, and not all send spans: one that nobody saw may
/// be at work.
#[test]
fn where_requests_may_be_unseen_nobody_is_sure() {
    let line = Site {
        file: "instantiation_appcontext_helper.go",
        line: 100,
        function: "module.getResources",
    };
    let path = "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/instantiate";
    for told in [false, true] {
        let mut scene = Scene::of("orchestrator");
        if told {
            scene.proxy_tells_of_starts();
        }
        scene.request(1, "POST", path, 0, 500);
        scene.access(2, "/v2/projects/p1", 0, 500);
        scene.line(100, Some(line), "", &[]);
        assert_eq!(scene.last().trace.is_some(), told);
    }
}

/// After a restart of the sidecar the spans it kept come first, and the lines after them.
#[test]
fn what_a_new_process_did_is_known_before_its_first_line_is_read() {
    let mut scene = Scene::of("rsync");
    scene.worker(10, 0, 9_000);
    scene.rpc(1, INSTALL, 1_000, &[X]);
    scene.worker(11, 1_101, 6_000);
    scene.ledger.process_started(UnixNanos(T0 + 500 * MS));
    scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
    assert_eq!(scene.last().trace, trace(1));
}

/// A goroutine that works since before the evidence begins may have been started by anybody; a new
/// process has none of these.
#[test]
fn a_lost_history_matters_to_the_process_that_lived_then() {
    for (restarted, outcome) in [(false, Outcome::Ambiguous), (true, Outcome::Attributed)] {
        let mut scene = Scene::of("rsync");
        scene.ledger.history_lost(UnixNanos(T0));
        if restarted {
            scene.ledger.process_started(UnixNanos(T0 + MS));
        }
        scene.rpc(1, INSTALL, 1_000, &[X]);
        scene.worker(11, 1_101, 6_000);
        scene.line(4_000, Some(WORKS), "Done Installing main resources", &[]);
        assert_eq!(scene.last().outcome, outcome, "restarted: {restarted}");
    }
}

/// Two RPCs are open, and each of them can have printed the receipt: the one whose request made the
/// `AppContext` did, for nobody else can know its id yet.
#[test]
fn who_made_an_app_context_prints_its_receipt() {
    for made in [None, Some(1), Some(3)] {
        let mut scene = Scene::of("rsync");
        if let Some(maker) = made {
            scene.made(maker, X);
        }
        for rpc in [1, 2] {
            scene.call(rpc, 0x40 + rpc, 90, 99);
            let proxy = Some(0x70 + rpc);
            scene.span(rpc, rpc, proxy, SpanKind::Server, INSTALL, 0, 100);
        }
        let message = "GRPC Server received installAppRequest:  {";
        scene.receipt(50, message, &[X]);
        assert_eq!(
            scene.ledger.take_context_questions().len(),
            usize::from(made.is_none())
        );
        let verdict = scene.last();
        // a request that is not open here printed nothing
        let sure = (made == Some(1)).then_some(TraceId([1; 16]));
        assert_eq!(verdict.trace, sure, "made by {made:?}");
    }
}

#[test]
fn two_makers_of_one_app_context_prove_nothing() {
    let mut scene = Scene::of("rsync");
    scene.made(1, X);
    scene.made(2, X);
    for rpc in [1, 2] {
        scene.call(rpc, 0x40 + rpc, 90, 99);
        let proxy = Some(0x70 + rpc);
        scene.span(rpc, rpc, proxy, SpanKind::Server, INSTALL, 0, 100);
    }
    let message = "GRPC Server received installAppRequest:  {";
    scene.receipt(50, message, &[X]);
    assert_eq!(scene.last().outcome, Outcome::Ambiguous);
}

/// What the orchestrator's own lines prove is told to the others, once.
#[test]
fn who_made_an_app_context_is_told() {
    let mut scene = Scene::of("orchestrator");
    let path = "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/instantiate";
    scene.request(1, "POST", path, 0, 500);
    let builds = Site {
        file: "appcontext.go",
        line: 188,
        function: "appcontext.(*AppContext).AddApp",
    };
    for at in [100, 110] {
        scene.line(at, Some(builds), "", &[(NameKey::AppContext, X)]);
    }
    scene.verdicts();
    let told = scene.ledger.take_operations();
    let [operation] = told.as_slice() else {
        panic!("told {told:?}");
    };
    assert_eq!(operation.trace, TraceId([1; 16]));
    assert_eq!(&*operation.app_context, X);
    assert_eq!(&*operation.service, "orchestrator");
}

/// An update's receipt names the old `AppContext` as well: who made that one proves nothing.
#[test]
fn a_receipt_with_two_app_contexts_is_not_given_to_a_maker() {
    let mut scene = Scene::of("rsync");
    scene.made(1, X);
    for rpc in [1, 2] {
        scene.call(rpc, 0x40 + rpc, 90, 99);
        let proxy = Some(0x70 + rpc);
        scene.span(rpc, rpc, proxy, SpanKind::Server, UPDATE, 0, 100);
    }
    let message = "GRPC Server received UpdateAppRequest:  {";
    scene.receipt(50, message, &[X, Y]);
    assert_eq!(scene.last().outcome, Outcome::Ambiguous);
}
