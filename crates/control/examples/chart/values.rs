//! The values of the Helm chart, as types: the comment of a field is its description, a text in
//! backquotes behind `e.g.` its example.
//!
//! They are for the generator only. What is read at run time is what the chart's templates make of
//! them: the file of the control plane and that of the sidecars.

use std::collections::BTreeMap;

use control::inject::{PullPolicy, Settings};
use control::settings::Rollback;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An object of Kubernetes' own, taken as it is.
type Object = Map<String, Value>;

/// Values of the chart.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Values {
    /// Where lines and spans go.
    backend: Backend,
    /// The certificates of the control plane.
    certificates: Certificates,
    /// The control plane: the webhook that injects, and the hub.
    control: Control,
    /// Name of everything that belongs to the release, instead of one made of the release's name. E.g.
    /// `observer`.
    #[schemars(length(max = 48))]
    fullname_override: String,
    /// What charts that use this one share with it.
    global: Global,
    /// Where sidecars tell each other which request acts on what.
    hub: Hub,
    /// How pods get their sidecar; the keys are those of the file that `emco-observer-control inject`
    /// reads.
    #[schemars(schema_with = "injection")]
    injection: Value,
    /// The embedded backend, for trials: one pod that keeps and shows everything. It knows neither TLS
    /// nor passwords.
    lab: Lab,
    /// Objects for the operator of Prometheus and for Grafana. Those whose kind the cluster does not
    /// have are left out.
    monitoring: Monitoring,
    /// The namespaces in which EMCO runs. They have to be there; each gets the sidecars' settings, and
    /// is selected by its label `emco-observer.io/inject=true`, which is yours to set.
    #[schemars(length(min = 1), inner(length(min = 1, max = 63)))]
    namespaces: Vec<String>,
    /// Who may talk to the control plane and the embedded backend.
    network_policy: NetworkPolicy,
    /// The rights of the control plane.
    rbac: Rbac,
    /// Whom the control plane is for the API server.
    service_account: ServiceAccount,
    /// What sidecars are and do.
    sidecar: Sidecar,
    /// How pods are looked after.
    watchdog: Watchdog,
    /// How the API server asks the control plane.
    webhook: Webhook,
}

/// Where lines and spans go.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Backend {
    /// To the destinations that `sidecar.config.lanes` names; at least one is required.
    External,
    /// To `emco-lab` in one pod of this release, for trials.
    #[expect(dead_code, reason = "for the schema")]
    Embedded,
}

/// The certificates of the control plane.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Certificates {
    /// An empty Secret of yours in which the replicas keep their authority and certificate, instead of
    /// the release's. It stays when the release goes. One that others fill, such as cert-manager, is
    /// refused. E.g. `emco-observer-certificates`.
    existing_secret: String,
}

/// The control plane.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Control {
    /// Rules for the nodes on which it runs, as in a pod.
    affinity: Object,
    /// Its image.
    image: Image,
    /// Levels of its own log: one for all, others by module.
    log_level: String,
    /// Labels that its nodes have to have.
    node_selector: BTreeMap<String, String>,
    /// More annotations of its pods.
    pod_annotations: BTreeMap<String, String>,
    /// More labels of its pods.
    pod_labels: BTreeMap<String, String>,
    /// Its pods' priority. Where nodes run full, pods that start without it get no sidecar. E.g.
    /// `system-cluster-critical`.
    priority_class_name: String,
    /// How many run; they are spread over nodes and zones.
    #[schemars(range(min = 1, max = 9))]
    replicas: u32,
    /// What each asks of its node, as in a pod.
    resources: Object,
    /// Taints of nodes that it bears, as in a pod.
    tolerations: Vec<Object>,
}

/// An image.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(description = "")]
struct Image {
    /// Its digest; with one, the tag only tells people. E.g.
    /// `sha256:0000000000000000000000000000000000000000000000000000000000000000`.
    #[schemars(regex(pattern = r"^(sha256:[0-9a-f]{64})?$"))]
    digest: String,
    /// When kubelet fetches it.
    pull_policy: PullPolicy,
    /// Where it is, unless `global.imageRegistry` says otherwise. E.g. `registry.example.com/emco`.
    registry: String,
    /// Its name there.
    #[schemars(length(min = 1))]
    repository: String,
    /// Its tag; the chart's `appVersion` unless said. E.g. `0.1.0`.
    tag: String,
}

/// What charts that use this one share with it.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct Global {
    /// Secrets with which images are fetched. They have to be in the release's namespace, and in
    /// EMCO's for the sidecar's image.
    #[schemars(length(max = 4), inner(length(min = 1, max = 253)))]
    image_pull_secrets: Vec<String>,
    /// Where all images are, whatever their own `registry` says. E.g. `registry.example.com/emco`.
    image_registry: String,
}

/// Where sidecars tell each other which request acts on what.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hub {
    /// Whether the control plane serves one, and sidecars use it.
    enabled: bool,
    /// Service accounts, as `namespace/name`, that report the access log of the ingress gateway: what
    /// they say about who sent a request is believed. E.g. `istio-system/gateway-reporter`.
    gateways: Vec<String>,
}

/// The embedded backend.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lab {
    /// Rules for the nodes on which it runs, as in a pod.
    affinity: Object,
    /// Its image.
    image: Image,
    /// Labels that its nodes have to have.
    node_selector: BTreeMap<String, String>,
    /// Its pod's priority.
    priority_class_name: String,
    /// What it asks of its node, as in a pod.
    resources: Object,
    /// Where it keeps everything.
    storage: Storage,
    /// Taints of nodes that it bears, as in a pod.
    tolerations: Vec<Object>,
}

/// Where it keeps everything.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Storage {
    /// Whether it is a volume that stays when the pod goes.
    enabled: bool,
    /// A claim of yours, instead of the release's.
    existing_claim: String,
    /// How much.
    #[schemars(regex(pattern = "^[0-9]+(Mi|Gi|Ti|M|G|T)$"))]
    size: String,
    /// Class of the claim; the cluster's own unless said.
    #[serde(rename = "storageClassName")]
    class: String,
}

/// Objects for the operator of Prometheus and for Grafana.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Monitoring {
    /// A dashboard, in a ConfigMap that Grafana's sidecar finds by its labels.
    dashboards: Labelled,
    /// The sidecars' metrics.
    pod_monitor: Scraped,
    /// Alerts.
    prometheus_rule: Labelled,
    /// The control plane's metrics.
    service_monitor: Scraped,
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Labelled {
    /// Whether there is one.
    enabled: bool,
    /// Labels by which it is found.
    labels: BTreeMap<String, String>,
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Scraped {
    /// Whether there is one.
    enabled: bool,
    /// Time between two scrapes.
    #[schemars(regex(pattern = "^[0-9]+(ms|s|m)$"))]
    interval: String,
    /// Labels by which it is found.
    labels: BTreeMap<String, String>,
}

/// Who may talk to the control plane and the embedded backend.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NetworkPolicy {
    /// Ports of the API server, as pods reach it.
    #[schemars(length(min = 1), inner(range(min = 1, max = 65_535)))]
    api_server_ports: Vec<u32>,
    /// Where the API server is, as `to` of a `NetworkPolicy`; anywhere unless said.
    api_server_to: Vec<Object>,
    /// Whether there are any.
    enabled: bool,
    /// Who reaches the hub beside the namespaces of EMCO, as `from` of a `NetworkPolicy`: whoever
    /// reports the ingress gateway's access log.
    hub_from: Vec<Object>,
    /// Who reaches the embedded backend beside the namespaces of EMCO.
    lab_from: Vec<Object>,
    /// Who reads metrics; anybody unless said.
    metrics_from: Vec<Object>,
    /// Where the API server calls from; anywhere unless said, because in most clusters no selector
    /// finds it.
    webhook_from: Vec<Object>,
}

/// The rights of the control plane.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rbac {
    /// Whether the release gives them.
    create: bool,
}

/// Whom the control plane is for the API server.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceAccount {
    /// Its annotations.
    annotations: BTreeMap<String, String>,
    /// Whether the release makes it.
    create: bool,
    /// Its name, where it is not the control plane's.
    name: String,
}

/// What sidecars are and do.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sidecar {
    /// Their settings file, over what the release knows itself; every key is in
    /// `docs/configuration.md`. Running sidecars take changes as that page says.
    config: Object,
    /// Their image.
    image: Image,
    /// Files with secrets for destinations, by name, which the settings name as
    /// `/etc/emco-observer/secrets/<name>`. Better leave it empty and make a Secret `emco-observer` of
    /// your own in each namespace.
    secrets: BTreeMap<String, String>,
}

/// How pods are looked after.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Watchdog {
    /// How often they are looked at: a whole number with `s` or `m`.
    interval: String,
    /// What new pods get once EMCO has waited for the sidecar's image in some pod at three looks in a
    /// row, or the sidecar has not run in any for that long; until it runs, or for an hour. Unless it is
    /// `never`, pods in which EMCO waits for the image are deleted, so that their owners make new ones.
    rollback: Rollback,
}

/// How the API server asks the control plane.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Webhook {
    /// How long a pod waits for an answer at most; then it starts without a sidecar.
    #[schemars(range(min = 1, max = 30))]
    timeout_seconds: u32,
}

impl Values {
    /// Those that hold unless others are said.
    pub(crate) fn standard() -> serde_json::Result<Self> {
        Ok(Self {
            backend: Backend::External,
            certificates: Certificates {
                existing_secret: String::new(),
            },
            control: Control::standard(),
            fullname_override: String::new(),
            global: Global {
                image_pull_secrets: Vec::new(),
                image_registry: String::new(),
            },
            hub: Hub {
                enabled: true,
                gateways: Vec::new(),
            },
            injection: standard_injection()?,
            lab: Lab::standard(),
            monitoring: Monitoring::standard(),
            namespaces: vec!["emco".to_owned()],
            network_policy: NetworkPolicy {
                api_server_ports: vec![443, 6443],
                api_server_to: Vec::new(),
                enabled: false,
                hub_from: Vec::new(),
                lab_from: Vec::new(),
                metrics_from: Vec::new(),
                webhook_from: Vec::new(),
            },
            rbac: Rbac { create: true },
            service_account: ServiceAccount {
                annotations: BTreeMap::new(),
                create: true,
                name: String::new(),
            },
            sidecar: Sidecar {
                config: Object::new(),
                image: Image::named("emco-observer"),
                secrets: BTreeMap::new(),
            },
            watchdog: Watchdog {
                interval: "1m".to_owned(),
                rollback: Rollback::Without,
            },
            webhook: Webhook { timeout_seconds: 5 },
        })
    }
}

impl Control {
    fn standard() -> Self {
        Self {
            affinity: Object::new(),
            image: Image::named("emco-observer-control"),
            log_level: "info".to_owned(),
            node_selector: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            priority_class_name: String::new(),
            replicas: 2,
            resources: resources("10m", "32Mi", "128Mi"),
            tolerations: Vec::new(),
        }
    }
}

impl Lab {
    fn standard() -> Self {
        Self {
            affinity: Object::new(),
            image: Image::named("emco-lab"),
            node_selector: BTreeMap::new(),
            priority_class_name: String::new(),
            resources: resources("50m", "64Mi", "512Mi"),
            storage: Storage {
                enabled: false,
                existing_claim: String::new(),
                size: "2Gi".to_owned(),
                class: String::new(),
            },
            tolerations: Vec::new(),
        }
    }
}

impl Monitoring {
    fn standard() -> Self {
        let scraped = || Scraped {
            enabled: false,
            interval: "30s".to_owned(),
            labels: BTreeMap::new(),
        };
        let found_by = [("grafana_dashboard".to_owned(), "1".to_owned())];
        Self {
            dashboards: Labelled {
                enabled: false,
                labels: BTreeMap::from(found_by),
            },
            pod_monitor: scraped(),
            prometheus_rule: Labelled {
                enabled: false,
                labels: BTreeMap::new(),
            },
            service_monitor: scraped(),
        }
    }
}

impl Image {
    fn named(repository: &str) -> Self {
        Self {
            digest: String::new(),
            pull_policy: PullPolicy::default(),
            registry: String::new(),
            repository: repository.to_owned(),
            tag: String::new(),
        }
    }
}

/// No limit of CPU time: a pod would wait for its sidecar.
fn resources(cpu: &str, memory: &str, limit: &str) -> Object {
    let requests = json!({ "cpu": cpu, "memory": memory });
    [
        ("limits".to_owned(), json!({ "memory": limit })),
        ("requests".to_owned(), requests),
    ]
    .into_iter()
    .collect()
}

/// What the chart says of the sidecar's image itself.
const OF_THE_IMAGE: [&str; 3] = ["image", "image_pull_policy", "image_pull_secrets"];

fn injection(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = Settings::json_schema(generator);
    if let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        keys.retain(|name, _| !OF_THE_IMAGE.contains(&name.as_str()));
    }
    schema
}

fn standard_injection() -> serde_json::Result<Value> {
    let mut settings = serde_json::to_value(Settings::default())?;
    if let Some(keys) = settings.as_object_mut() {
        keys.retain(|name, _| !OF_THE_IMAGE.contains(&name.as_str()));
    }
    Ok(settings)
}

/// The images that the chart names unless told otherwise.
pub(crate) fn images() -> [String; 3] {
    ["emco-observer", "emco-observer-control", "emco-lab"].map(|name| format!("{name}:{VERSION}"))
}
