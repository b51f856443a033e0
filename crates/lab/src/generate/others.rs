//! The handlers of clm, ncm and dcm, and what happens without any request: start-up, pollers,
//! scrapes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::flow::{Flow, Stage};
use super::orchestrator::resources;
use super::recording::{How, Origin, SERVICES};
use super::request::Answer;
use super::sites;

const NO_KEY: &str = "Error getting run time context handles: Key doesn't exist";
/// How often pollers look and scrapers come.
const PERIOD_NS: u64 = 15_000_000_000;
pub(super) const PROVIDER: &str = "provider1";
pub(super) const CLUSTERS: [&str; 2] = ["provider1+edge01", "provider1+edge02"];

/// clm: clusters by label.
pub(super) fn clusters(stage: &mut Stage, flow: &mut Flow) -> Answer {
    flow.log(stage, &sites::WITH_LABELS, &[("val", "")]);
    let fields = [
        ("cluster", ""),
        ("label", "edge-cluster"),
        ("provider", PROVIDER),
    ];
    flow.log(stage, &sites::BY_LABEL, &fields);
    flow.find(stage, &[("clusterProvider", PROVIDER)]);
    Answer {
        status: 200,
        bytes: 29,
    }
}

/// clm: a cluster that nobody made.
pub(super) fn no_cluster(stage: &mut Stage, flow: &mut Flow) -> Answer {
    flow.log(stage, &sites::WITH_LABELS, &[("val", "")]);
    let fields = [("cluster", "x"), ("label", ""), ("provider", "nosuch")];
    flow.log(stage, &sites::BY_LABEL, &fields);
    flow.find(stage, &[("clusterProvider", "nosuch"), ("cluster", "x")]);
    flow.log(
        stage,
        &sites::CLUSTER_ERROR,
        &[("Error", "Cluster not found")],
    );
    let mut fields = Map::new();
    fields.insert("Error".to_owned(), "Cluster not found".into());
    fields.insert("Module".to_owned(), Value::Null);
    let parameters = json!({"cluster": "x", "clusterProvider": "nosuch"});
    fields.insert("Parameters".to_owned(), parameters);
    flow.log_members(stage, &sites::API_ERROR, fields);
    Answer {
        status: 404,
        bytes: 18,
    }
}

/// ncm: a network whose description breaks the schema.
pub(super) fn bad_network(stage: &mut Stage, flow: &mut Flow) -> Answer {
    for (parameter, reason) in [
        ("metadata.name", "Does not match pattern"),
        ("spec", "ipv4Subnets is required"),
    ] {
        let body = "{\"metadata\":{\"name\":\"\"}}";
        let fields = [("param", parameter), ("reason", reason), ("req", body)];
        flow.log(stage, &sites::INVALID_DOCUMENT, &fields);
    }
    let error = "Invalid Input:\nDoes not match pattern\nipv4Subnets is required";
    flow.log(stage, &sites::INVALID_NETWORK, &[("Error", error)]);
    Answer {
        status: 400,
        bytes: 217,
    }
}

/// Anything that only reads or writes the store.
pub(super) fn store(stage: &mut Stage, flow: &mut Flow, key: &str, answer: Answer) -> Answer {
    flow.find(stage, &[("keyId", key)]);
    answer
}

/// dcm: gives a logical cloud a cluster.
pub(super) fn reference(stage: &mut Stage, flow: &mut Flow, cloud: &str) -> Answer {
    flow.find(stage, &[("logicalCloud", cloud)]);
    let mut fields = Map::new();
    let reference = json!({
        "metadata": {"name": "ref-edge01", "description": "", "userData1": "", "userData2": ""},
        "spec": {"clusterProvider": PROVIDER, "cluster": "edge01"},
    });
    fields.insert("clusterreference".to_owned(), reference);
    fields.insert("logicalcloud".to_owned(), cloud.into());
    flow.log_members(stage, &sites::CREATE_REFERENCE, fields);
    flow.find(
        stage,
        &[("logicalCloud", cloud), ("clusterReference", "ref-edge01")],
    );
    Answer {
        status: 201,
        bytes: 184,
    }
}

/// What happens without a request, from `from_ns` to `to_ns`. `clouds` are the logical clouds with
/// the moment they were made.
pub(super) fn background(
    stage: &mut Stage,
    (from_ns, to_ns): (u64, u64),
    clouds: &[(u64, String)],
) {
    for service in SERVICES {
        start(stage, service, from_ns);
    }
    let mut at_ns = from_ns + PERIOD_NS / 10;
    while at_ns < to_ns {
        for service in SERVICES {
            let offset = stage.ids.micros(1_000..40_000);
            scrape(stage, service, at_ns + offset);
        }
        let offset = stage.ids.micros(50_000..90_000);
        poll(stage, "dcm", at_ns + offset, clouds);
        let offset = stage.ids.micros(50_000..90_000);
        poll(stage, "orchestrator", at_ns + offset, &[]);
        at_ns += PERIOD_NS;
    }
}

/// A process prints, before anybody can ask it anything.
fn start(stage: &mut Stage, service: &'static str, at_ns: u64) {
    let place = (String::new(), None);
    let mut flow = Flow::begin(stage, service, at_ns, How::Background, None, place);
    flow.work(stage, 500..20_000);
    flow.log(stage, &sites::SCHEMA_DONE, &[]);
    flow.work(stage, 500..3_000);
    flow.log(stage, &sites::HTTP_START, &[("Port", "9015")]);
    if service != "clm" {
        flow.log(stage, &sites::GRPC_START, &[("Port", "9016")]);
    }
}

/// A metrics poller: a root span in which it prints about every logical cloud there is.
fn poll(stage: &mut Stage, service: &'static str, at_ns: u64, clouds: &[(u64, String)]) {
    let place = (stage.ids.trace(), None);
    let mut flow = Flow::begin(stage, service, at_ns, How::Background, None, place);
    flow.note_root(stage, "get-metrics", Vec::new());
    flow.find(stage, &[("keyId", "{project}")]);
    for (made_ns, cloud) in clouds {
        if *made_ns > flow.at_ns {
            continue;
        }
        flow.find(stage, &[("logicalCloud", cloud)]);
        for cluster in CLUSTERS {
            flow.etcd(stage, "Range");
            let fields = resources("logical-cloud", cluster, 0);
            flow.log_members(stage, &sites::RSYNC_RESOURCES, fields.clone());
            flow.etcd(stage, "Range");
            flow.log(stage, &sites::NO_READY_STATUS, &[("cluster", cluster)]);
            flow.etcd(stage, "Range");
            let app = [
                ("AppName", "logical-cloud"),
                ("Cluster", cluster),
                ("Error", NO_KEY),
            ];
            flow.log(stage, &sites::NO_CLUSTER_STATUS, &app);
            flow.log_members(stage, &sites::CLUSTER_RESOURCES, fields);
        }
    }
    flow.end(stage, "get-metrics");
}

/// Prometheus reads the service's metrics: a trace, but nobody's.
fn scrape(stage: &mut Stage, service: &'static str, at_ns: u64) {
    let origin = Arc::new(Origin {
        trace: stage.ids.trace(),
        user: None,
        request_id: None,
        operation: "GET /metrics".to_owned(),
    });
    let place = (origin.trace.clone(), None);
    let mut flow = Flow::begin(stage, service, at_ns, How::Http, Some(origin), place);
    flow.note_root(stage, "GET /metrics", Vec::new());
    flow.work(stage, 800..4_000);
    let mut after = flow.fork();
    after.at_ns = flow.end(stage, "GET /metrics") + stage.ids.micros(5..30);
    after.common_log(stage, ("127.0.0.1", "GET", "/metrics"), (200, 6_434));
}
