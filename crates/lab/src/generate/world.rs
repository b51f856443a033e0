//! Who asks what, and when: callers that each look after projects of their own, one request after
//! another, in the name of anybody.
//!
//! Every request of a project may come from another user, so each deployment is created, instantiated,
//! watched and terminated by different people. Callers ask in step, so that requests overlap.

use super::flow::Stage;
use super::orchestrator;
use super::others::{self, CLUSTERS, PROVIDER};
use super::recording::Recording;
use super::request::{Answer, Request};
use super::rsync::AppContext;

/// When every generated recording begins: 2026-01-05T08:00:00Z.
const START_NS: u64 = 1_767_600_000_000_000_000;
/// How long callers ask.
const DURATION_NS: u64 = 60_000_000_000;
const WARM_UP_NS: u64 = 2_000_000_000;
/// What comes after the last request: workers, status updates, pollers.
const COOL_DOWN_NS: u64 = 5_000_000_000;
const NAMES: [&str; 12] = [
    "amara", "bela", "chen", "dario", "elif", "farid", "greta", "hana", "imre", "jonas", "kaya",
    "lupe",
];
/// A project that nobody makes.
const NO_PROJECT: &str = "nosuch";
const CREATED: Answer = Answer {
    status: 201,
    bytes: 123,
};
const APPROVED: Answer = Answer {
    status: 202,
    bytes: 0,
};
const READ: Answer = Answer {
    status: 200,
    bytes: 174,
};

/// How large the recording is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) requests: usize,
    pub(super) users: usize,
}

/// Somebody who asks.
struct Caller {
    number: usize,
    /// Of its projects.
    generation: usize,
    step: usize,
    /// When the answer to the last request came.
    free_ns: u64,
    context: Option<AppContext>,
}

/// A step in the life of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Project,
    Cloud,
    Reference,
    CompositeApp,
    Group,
    Approve,
    TooEarly,
    Instantiate,
    Status,
    Terminate,
    Clusters,
    NoCluster,
    BadNetwork,
    Networks,
    Clouds,
}

const LIFE: [Step; 18] = [
    Step::Project,
    Step::Cloud,
    Step::Reference,
    Step::CompositeApp,
    Step::Clusters,
    Step::TooEarly,
    Step::Group,
    Step::Approve,
    Step::Instantiate,
    Step::Status,
    Step::NoCluster,
    Step::Status,
    Step::BadNetwork,
    Step::Clouds,
    Step::Status,
    Step::Networks,
    Step::Terminate,
    Step::Status,
];

/// Makes a recording; the same plan always makes the same.
pub(super) fn play(plan: Plan) -> Recording {
    let mut stage = Stage::new(plan.seed);
    let users: Vec<String> = (0..plan.users).map(user_name).collect();
    let callers = (plan.users * 2).clamp(1, plan.requests.max(1));
    let rounds = plan.requests.div_ceil(callers).max(1);
    let period = DURATION_NS / rounds as u64;
    let mut callers: Vec<Caller> = (0..callers).map(Caller::new).collect();
    let (mut clouds, mut sent, mut end_ns) = (Vec::new(), 0, START_NS + DURATION_NS);
    for round in 0..rounds {
        let from = START_NS + WARM_UP_NS + period * round as u64;
        for caller in &mut callers {
            if sent == plan.requests {
                break;
            }
            sent += 1;
            let jitter = stage.ids.random().u64(0..=period / 12);
            let user = stage.ids.random().usize(0..users.len().max(1));
            let user = users.get(user).cloned().unwrap_or_default();
            caller.ask(&mut stage, from + jitter, user, &mut clouds);
            end_ns = end_ns.max(caller.free_ns);
        }
    }
    others::background(&mut stage, (START_NS, end_ns + COOL_DOWN_NS), &clouds);
    stage.recording
}

fn user_name(number: usize) -> String {
    let name = NAMES.get(number % NAMES.len()).copied().unwrap_or_default();
    match number / NAMES.len() {
        0 => name.to_owned(),
        again => format!("{name}{again}"),
    }
}

impl Caller {
    const fn new(number: usize) -> Self {
        Self {
            number,
            generation: 0,
            step: number % 3,
            free_ns: 0,
            context: None,
        }
    }

    /// Takes the next step, not before `at_ns`, the last answer, and the end of whatever rsync still
    /// does for the deployment.
    fn ask(
        &mut self,
        stage: &mut Stage,
        at_ns: u64,
        user: String,
        clouds: &mut Vec<(u64, String)>,
    ) {
        let Some(step) = LIFE.get(self.step % LIFE.len()).copied() else {
            return;
        };
        let project = format!("proj{}x{}", self.number, self.generation);
        let pause = stage.ids.micros(2_000..20_000);
        let busy_ns = match (&self.context, step) {
            (Some(context), Step::Terminate) => context.busy_until_ns,
            _ => 0,
        };
        let at_ns = at_ns.max(self.free_ns + pause).max(busy_ns + pause);
        let (service, method, path, op) = step.request(&project);
        let request = Request {
            service,
            method,
            path,
            op,
            user,
        };
        let mut context = match step {
            Step::Instantiate => None,
            _ => self.context.take(),
        };
        self.free_ns = request.send(stage, at_ns, |stage, flow| match (step, &mut context) {
            (Step::Instantiate, context) => {
                let made = context.insert(new_context(stage));
                orchestrator::instantiate(stage, flow, &project, made)
            }
            (Step::Terminate, Some(context)) => {
                orchestrator::terminate(stage, flow, &project, context)
            }
            (Step::Status, Some(context)) => orchestrator::status(stage, flow, &project, context),
            (Step::TooEarly, _) => orchestrator::not_found(stage, flow, NO_PROJECT),
            (Step::Terminate | Step::Status, _) => orchestrator::not_found(stage, flow, &project),
            (Step::Clusters, _) => others::clusters(stage, flow),
            (Step::NoCluster, _) => others::no_cluster(stage, flow),
            (Step::BadNetwork, _) => others::bad_network(stage, flow),
            (Step::Reference, _) => others::reference(stage, flow, &format!("lc-{project}")),
            (Step::Networks, _) => others::store(stage, flow, "{network}", READ),
            (Step::Clouds, _) => others::store(stage, flow, "{logicalCloud,project}", READ),
            (Step::Approve, _) => orchestrator::store(stage, flow, &project, APPROVED),
            (Step::Cloud, _) => others::store(stage, flow, "{logicalCloud,project}", CREATED),
            _ => orchestrator::store(stage, flow, &project, CREATED),
        });
        if step == Step::Cloud {
            clouds.push((self.free_ns, format!("lc-{project}")));
        }
        self.context = context;
        self.step += 1;
        if self.step.is_multiple_of(LIFE.len()) {
            self.generation += 1;
            self.context = None;
        }
    }
}

fn new_context(stage: &mut Stage) -> AppContext {
    let clusters = stage.ids.random().usize(1..=CLUSTERS.len());
    AppContext {
        id: stage.ids.app_context(),
        apps: vec!["appa", "appb"],
        clusters: CLUSTERS.iter().take(clusters).copied().collect(),
        busy_until_ns: 0,
    }
}

impl Step {
    /// Service, method, path, and what it is meant to be.
    fn request(self, project: &str) -> (&'static str, &'static str, String, &'static str) {
        let apps = format!("/v2/projects/{project}/composite-apps");
        let clouds = format!("/v2/projects/{project}/logical-clouds");
        let group = orchestrator::group_path(project);
        let provider = format!("/v2/cluster-providers/{PROVIDER}/clusters");
        match self {
            Self::Project => (
                "orchestrator",
                "POST",
                "/v2/projects".to_owned(),
                "project.create",
            ),
            Self::CompositeApp => ("orchestrator", "POST", apps, "ca.create"),
            Self::Group => {
                let groups = group.trim_end_matches("/dig0").to_owned();
                ("orchestrator", "POST", groups, "dig.create")
            }
            Self::Approve => (
                "orchestrator",
                "POST",
                format!("{group}/approve"),
                "dig.approve",
            ),
            Self::TooEarly => {
                let missing = orchestrator::group_path(NO_PROJECT);
                (
                    "orchestrator",
                    "POST",
                    format!("{missing}/instantiate"),
                    "err.inst.missing",
                )
            }
            Self::Instantiate => (
                "orchestrator",
                "POST",
                format!("{group}/instantiate"),
                "dig.instantiate",
            ),
            Self::Terminate => (
                "orchestrator",
                "POST",
                format!("{group}/terminate"),
                "dig.terminate",
            ),
            Self::Status => ("orchestrator", "GET", format!("{group}/status"), "status"),
            Self::Cloud => ("dcm", "POST", clouds, "lc.create"),
            Self::Clouds => ("dcm", "GET", clouds, "read"),
            Self::Reference => {
                let references = format!("{clouds}/lc-{project}/cluster-references");
                ("dcm", "POST", references, "lc.ref.create")
            }
            Self::Clusters => (
                "clm",
                "GET",
                format!("{provider}?label=edge-cluster"),
                "read",
            ),
            Self::NoCluster => {
                let missing = "/v2/cluster-providers/nosuch/clusters/x".to_owned();
                ("clm", "GET", missing, "err.cluster.nf")
            }
            Self::BadNetwork => (
                "ncm",
                "POST",
                format!("{provider}/edge01/networks"),
                "err.ncm.schema",
            ),
            Self::Networks => (
                "ncm",
                "GET",
                format!("{provider}/edge01/networks"),
                "ncm.list",
            ),
        }
    }
}
