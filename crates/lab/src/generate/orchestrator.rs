//! The orchestrator's handlers: the life of a deployment intent group.

use serde_json::{Map, Value, json};

use super::flow::{Flow, Stage};
use super::request::Answer;
use super::rsync::{self, Action, AppContext, Incoming};
use super::sites;

const VERSION: &str = "v1";
const GROUP: &str = "dig0";
const COMPOSITE_APP: &str = "collection0";

/// The path of a project's deployment intent group.
pub(super) fn group_path(project: &str) -> String {
    format!(
        "/v2/projects/{project}/composite-apps/{COMPOSITE_APP}/{VERSION}/deployment-intent-groups/{GROUP}"
    )
}

/// Creating and reading objects: the store is asked, nothing is said but the access log.
pub(super) fn store(stage: &mut Stage, flow: &mut Flow, project: &str, answer: Answer) -> Answer {
    flow.find(stage, &[("project", project)]);
    flow.work(stage, 50..400);
    flow.find(
        stage,
        &[("project", project), ("compositeApp", COMPOSITE_APP)],
    );
    answer
}

/// An operation on a group that nobody made.
pub(super) fn not_found(stage: &mut Stage, flow: &mut Flow, project: &str) -> Answer {
    flow.find(
        stage,
        &[("deploymentIntentGroup", GROUP), ("project", project)],
    );
    let mut fields = Map::new();
    fields.insert("Error".to_owned(), "DeploymentIntentGroup not found".into());
    fields.insert("Module".to_owned(), Value::Null);
    let parameters = json!({
        "compositeApp": COMPOSITE_APP, "compositeAppVersion": VERSION,
        "deploymentIntentGroup": GROUP, "project": project,
    });
    fields.insert("Parameters".to_owned(), parameters);
    flow.log_members(stage, &sites::API_ERROR, fields);
    Answer {
        status: 404,
        bytes: 34,
    }
}

/// Makes an AppContext, renders the charts into it and hands it to rsync.
pub(super) fn instantiate(
    stage: &mut Stage,
    flow: &mut Flow,
    project: &str,
    context: &mut AppContext,
) -> Answer {
    let id = context.id.clone();
    flow.annotate("retrieve-info");
    flow.find(
        stage,
        &[("deploymentIntentGroup", GROUP), ("project", project)],
    );
    let fields = [
        ("composite-app", COMPOSITE_APP),
        ("composite-app-ver", VERSION),
        ("dep-group", GROUP),
        ("project", project),
    ];
    flow.log(stage, &sites::INSTANTIATE, &fields);
    let cloud = format!("lc-{project}");
    flow.find(stage, &[("project", project), ("logicalCloud", &cloud)]);
    flow.etcd(stage, "Range");
    flow.log(stage, &sites::LOGICAL_CLOUD, &[("logicalcloud", &cloud)]);
    flow.log(stage, &sites::NAMESPACE, &[("namespace", "default")]);
    flow.annotate("create-app-context");
    flow.etcd(stage, "Put");
    let handle = format!("/context/{id}/");
    flow.log(
        stage,
        &sites::CREATE_CONTEXT,
        &[("CompositeAppHandle", &handle)],
    );
    flow.etcd(stage, "Put");
    let fields = [
        ("CompositeApp", COMPOSITE_APP),
        ("DeploymentIntentGroup", GROUP),
        ("Project", project),
        ("Release", "r1"),
        ("Version", VERSION),
    ];
    flow.log(stage, &sites::META_DATA, &fields);
    for app in context.apps.clone() {
        deploy(stage, flow, project, context, app);
    }
    let order = format!("/context/{id}/app/instruction/order/");
    flow.etcd(stage, "Put");
    flow.log(
        stage,
        &sites::INSTRUCTION_HANDLE,
        &[("InstructionHandler", &order)],
    );
    schedule(stage, flow);
    call_rsync(stage, flow, context, Action::Install);
    let mut fields = Map::new();
    fields.insert("Message".to_owned(), "".into());
    fields.insert("Succeeded".to_owned(), true.into());
    flow.log_members(stage, &sites::INSTALL_RESPONSE, fields);
    flow.log(
        stage,
        &sites::INSTALL_SUCCESS,
        &[("AppContext", &id), ("Message", "")],
    );
    flow.etcd(stage, "Put");
    Answer {
        status: 202,
        bytes: 0,
    }
}

/// Takes a deployment down again.
pub(super) fn terminate(
    stage: &mut Stage,
    flow: &mut Flow,
    project: &str,
    context: &mut AppContext,
) -> Answer {
    flow.find(
        stage,
        &[("deploymentIntentGroup", GROUP), ("project", project)],
    );
    flow.etcd(stage, "Range");
    schedule(stage, flow);
    call_rsync(stage, flow, context, Action::Uninstall);
    Answer {
        status: 202,
        bytes: 0,
    }
}

/// Says how a deployment is doing.
pub(super) fn status(
    stage: &mut Stage,
    flow: &mut Flow,
    project: &str,
    context: &AppContext,
) -> Answer {
    flow.find(
        stage,
        &[("deploymentIntentGroup", GROUP), ("project", project)],
    );
    flow.etcd(stage, "Range");
    for app in &context.apps {
        for cluster in &context.clusters {
            flow.etcd(stage, "Range");
            flow.log(stage, &sites::NO_REFERENCE, &[("appContextId", "")]);
            flow.etcd(stage, "Range");
            flow.log_members(stage, &sites::RSYNC_RESOURCES, resources(app, cluster, 3));
        }
    }
    Answer {
        status: 200,
        bytes: 322,
    }
}

/// The members of the lines that count resources.
pub(super) fn resources(app: &str, cluster: &str, count: u32) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("app".to_owned(), app.into());
    fields.insert("cluster".to_owned(), cluster.into());
    fields.insert("cnt".to_owned(), count.into());
    fields
}

/// One application: its charts are rendered, its resources go into the AppContext.
fn deploy(stage: &mut Stage, flow: &mut Flow, project: &str, context: &AppContext, app: &str) {
    let id = &context.id;
    flow.find(stage, &[("app", app), ("project", project)]);
    flow.log(stage, &sites::PROCESSING_APP, &[("appName", app)]);
    flow.find(
        stage,
        &[
            ("app", app),
            ("compositeProfile", "prof1"),
            ("project", project),
        ],
    );
    let chart = format!("/tmp/k8s-ext-{}", stage.ids.temporary());
    let rendered = format!("/tmp/helm-tmpl-{}", stage.ids.temporary());
    flow.log(stage, &sites::CHART_PATH, &[("chartBasePath", &chart)]);
    flow.log(
        stage,
        &sites::OUTPUT_DIR,
        &[("OutPutDirectory ", &rendered)],
    );
    // Rendering computes; it waits for nobody.
    flow.work(stage, 4_000..20_000);
    flow.etcd(stage, "Put");
    let handle = format!("/context/{id}/app/{app}/");
    flow.log(stage, &sites::APP_HANDLE, &[("AppHandle", &handle)]);
    for cluster in &context.clusters {
        let at = format!("/context/{id}/app/{app}/cluster/{cluster}");
        flow.etcd(stage, "Put");
        flow.log(
            stage,
            &sites::CLUSTER_HANDLE,
            &[("ClusterHandler", &format!("{at}/"))],
        );
        for kind in ["ConfigMap", "Service", "Deployment"] {
            let name = format!("{app}+{kind}");
            flow.log(stage, &sites::RESOURCE_ORDER, &[("ResourceName", &name)]);
            flow.etcd(stage, "Put");
            let handle = format!("{at}/resource/{name}/");
            flow.log(
                stage,
                &sites::RESOURCE_HANDLE,
                &[("ResourceHandler", &handle)],
            );
        }
        let order = format!("{at}/resource/instruction/order/");
        flow.etcd(stage, "Put");
        flow.log(
            stage,
            &sites::INSTRUCTION_HANDLE,
            &[("InstructionHandler", &order)],
        );
    }
    flow.log(
        stage,
        &sites::CLEAN_DIR,
        &[("Dir: ", &format!("{rendered}/"))],
    );
}

fn schedule(stage: &mut Stage, flow: &mut Flow) {
    flow.annotate("retrieve-controllers");
    flow.find(stage, &[("keyId", "{controller,controllerGroup}")]);
    let mut fields = Map::new();
    fields.insert("listOfControllers".to_owned(), json!([]));
    flow.log_members(stage, &sites::CONTROLLERS, fields);
    flow.annotate("invoke-rsync");
    flow.find(stage, &[("controller", "rsync")]);
    flow.log(stage, &sites::INIT_RSYNC, &[("Controller", "rsync")]);
}

fn call_rsync(stage: &mut Stage, flow: &mut Flow, context: &mut AppContext, action: Action) {
    let Some(origin) = flow.origin.clone() else {
        return;
    };
    flow.call(
        stage,
        ("installapp", action.method()),
        |stage, client_span, sent_ns| {
            let incoming = Incoming {
                origin: &origin,
                client_span,
                sent_ns,
            };
            rsync::serve(stage, &incoming, context, action)
        },
    );
}
