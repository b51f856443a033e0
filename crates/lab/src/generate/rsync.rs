//! rsync: takes an AppContext over gRPC, queues the event, and works on it afterwards in a trace of
//! its own, in one goroutine a cluster.

use std::sync::Arc;

use serde_json::json;

use super::flow::{Flow, Stage};
use super::recording::{Access, How, Origin};
use super::request::{access_record, merge};
use super::sites;

const SERVICE: &str = "rsync";
const NO_KEY: &str = "Error getting run time context handles: Key doesn't exist";

/// The runtime state of one deployment; people come and go, its id stays.
#[derive(Clone, Debug)]
pub(super) struct AppContext {
    pub(super) id: String,
    pub(super) apps: Vec<&'static str>,
    pub(super) clusters: Vec<&'static str>,
    /// Until when an event is worked on, status updates included.
    pub(super) busy_until_ns: u64,
}

/// What rsync is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Install,
    Uninstall,
}

/// A call on its way: the caller's span and when it was sent.
pub(super) struct Incoming<'a> {
    pub(super) origin: &'a Arc<Origin>,
    pub(super) client_span: &'a str,
    pub(super) sent_ns: u64,
}

impl Action {
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Install => "InstallApp",
            Self::Uninstall => "UninstallApp",
        }
    }
}

/// Serves the call and leaves a worker behind; answers when the answer is on its way.
pub(super) fn serve(
    stage: &mut Stage,
    incoming: &Incoming<'_>,
    context: &mut AppContext,
    action: Action,
) -> u64 {
    let origin = incoming.origin;
    let proxy_span = stage.ids.span();
    let proxy_ns = incoming.sent_ns + stage.ids.micros(50..200);
    let start = proxy_ns + stage.ids.micros(100..300);
    let place = (origin.trace.clone(), Some(proxy_span.clone()));
    let mut flow = Flow::begin(
        stage,
        SERVICE,
        start,
        How::Grpc,
        Some(Arc::clone(origin)),
        place,
    );
    let server_span = flow.span.clone();
    let request = match action {
        Action::Install => "installAppRequest",
        Action::Uninstall => "uninstallAppRequest",
    };
    let id = context.id.clone();
    flow.print(
        stage,
        &format!("GRPC Server received {request}:  {{\"app_context\":\"{id}\"}}"),
    );
    flow.etcd(stage, "Range");
    if action == Action::Install {
        flow.log(stage, &sites::QUEUE_MISSING, &[("err", NO_KEY)]);
        flow.log(stage, &sites::QUEUE_CREATING, &[("err", NO_KEY)]);
        flow.etcd(stage, "Put");
        let queue = format!("/context/{id}/rsync/AppContextEventQueue/");
        flow.log(stage, &sites::QUEUE_CREATED, &[("qhandle", &queue)]);
    }
    flow.etcd(stage, "Range");
    let order = format!("/context/{id}/app/instruction/order/");
    flow.log(stage, &sites::APP_INSTRUCTION, &[("s", &order)]);
    flow.etcd(stage, "Put");
    let end = flow.answer(stage, ("installapp", action.method()));
    let proxy_end = end + stage.ids.micros(50..200);
    let b3 = format!("{}-{proxy_span}-1-{}", origin.trace, incoming.client_span);
    let mut record = access_record(proxy_ns, proxy_end);
    let request_id = stage.ids.request('9');
    let path = format!("/installapp/{}", action.method());
    merge(
        &mut record,
        json!({
            "authority": "rsync:19031", "b3": b3, "grpc_status": "OK", "method": "POST",
            "path": path, "protocol": "HTTP/2", "request_id": request_id,
            "upstream_cluster": "inbound|9031||", "user_agent": "grpc-go/1.49.0",
        }),
    );
    stage.recording.access(
        SERVICE,
        Access {
            end_ns: proxy_end,
            record,
        },
    );
    let link = format!("{}-{server_span}", origin.trace);
    work(stage, end, origin, context, action, link);
    proxy_end
}

/// The worker of an AppContext: a root span of its own, a goroutine a cluster.
fn work(
    stage: &mut Stage,
    from_ns: u64,
    origin: &Arc<Origin>,
    context: &mut AppContext,
    action: Action,
    link: String,
) {
    let start = from_ns + stage.ids.micros(50..300);
    let place = (stage.ids.trace(), None);
    let mut worker = Flow::begin(
        stage,
        SERVICE,
        start,
        How::Event,
        Some(Arc::clone(origin)),
        place,
    );
    worker.note_root(stage, "appContextRoutine", vec![link]);
    let worker_link = format!("{}-{}", worker.trace, worker.span);
    worker.etcd(stage, "Range");
    worker.etcd(stage, "Put");
    worker.log(stage, &sites::WAIT_SUBTASKS, &[]);
    let mut done_ns = worker.at_ns;
    for app in &context.apps {
        for cluster in &context.clusters {
            let mut goroutine = worker.fork();
            run_cluster(stage, &mut goroutine, &context.id, (app, cluster), action);
            done_ns = done_ns.max(goroutine.at_ns);
        }
    }
    worker.at_ns = done_ns + stage.ids.micros(50..300);
    worker.log(stage, &sites::SUCCESS_SUBTASKS, &[]);
    worker.etcd(stage, "Range");
    worker.log(stage, &sites::DONE_PROCESSING, &[("context", &context.id)]);
    let end = worker.end(stage, "appContextRoutine");
    context.busy_until_ns = match action {
        Action::Install => watch(stage, end, origin, context, &worker_link),
        Action::Uninstall => end,
    };
}

fn run_cluster(
    stage: &mut Stage,
    flow: &mut Flow,
    id: &str,
    (app, cluster): (&str, &str),
    action: Action,
) {
    flow.work(stage, 50..2_000);
    let fields = [("app", app), ("cluster", cluster)];
    flow.log(stage, &sites::RUN_CLUSTER, &fields);
    flow.find(stage, &[("cloudConfigCluster", cluster)]);
    flow.etcd(stage, "Range");
    if action == Action::Uninstall {
        flow.work(stage, 20_000..120_000);
        return;
    }
    let fields = [("App", app), ("cluster", cluster)];
    flow.log(stage, &sites::INSTALLING, &fields);
    for kind in ["ConfigMap", "Service", "Deployment"] {
        flow.work(stage, 15_000..90_000);
        let name = format!("{app}+{kind}");
        let handle = format!("/context/{id}/app/{app}/cluster/{cluster}/resource/{name}/");
        flow.etcd(stage, "Range");
        let fields = [
            ("app", app),
            ("cluster", cluster),
            ("error", NO_KEY),
            ("name", &name),
            ("resource handle", &handle),
        ];
        flow.log(stage, &sites::SUBRESOURCE, &fields);
        flow.etcd(stage, "Put");
    }
    flow.log(stage, &sites::INSTALLED, &fields);
}

/// Status updates of the edge clusters; answers when the last was processed.
fn watch(
    stage: &mut Stage,
    from_ns: u64,
    origin: &Arc<Origin>,
    context: &AppContext,
    link: &str,
) -> u64 {
    let mut last_ns = from_ns;
    for app in &context.apps {
        for cluster in &context.clusters {
            let at_ns = from_ns + stage.ids.micros(300_000..1_500_000);
            let place = (stage.ids.trace(), None);
            let mut root = Flow::begin(
                stage,
                SERVICE,
                at_ns,
                How::Status,
                Some(Arc::clone(origin)),
                place,
            );
            // The informer prints outside of any span; the span comes after it.
            let mut informer = root.fork();
            let label = format!("{}-{app}", context.id);
            let fields = [("app", *app), ("cluster", *cluster), ("id", &label)];
            informer.log(stage, &sites::STATUS_UPDATE, &fields);
            root.at_ns = informer.at_ns;
            root.note_root(stage, "resourcesReady", vec![link.to_owned()]);
            root.etcd(stage, "Range");
            last_ns = last_ns.max(root.end(stage, "resourcesReady"));
        }
    }
    last_ns
}
