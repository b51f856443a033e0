//! What an operator can say about injection, as types: the comment of a field is its description, a
//! text in backquotes behind `e.g.` its example.

use garde::Validate;
use serde::{Deserialize, Serialize};

/// The values of the pod label `app` by which EMCO's own charts name their services.
const SERVICES: [&str; 20] = [
    "ca-certs",
    "clm",
    "dcm",
    "dtc",
    "gac",
    "hpa-ac",
    "hpa-plc",
    "its",
    "ncm",
    "nps",
    "orchestrator",
    "ovnaction",
    "policy",
    "rsync",
    "sds",
    "sfc",
    "sfcclient",
    "swc",
    "tac",
    "workflowmgr",
];

const MIB: u64 = 1 << 20;

/// How pods get their sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, Serialize))]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The sidecar's image. E.g. `registry.example.com/emco-observer:0.1.0`.
    #[garde(length(min = 1, max = 512), custom(without_space))]
    pub image: String,
    /// When kubelet fetches the image.
    #[garde(skip)]
    pub image_pull_policy: PullPolicy,
    /// Secrets with which the image is fetched; they have to be in the pods' namespace, and come
    /// after the pod's own.
    #[garde(length(max = 4), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    /// Where the sidecar gets the container's lines from. The pod's annotation
    /// `emco-observer.io/logs` wins.
    #[garde(skip)]
    pub logs: LogMode,
    /// Which kind of container the sidecar is.
    #[garde(skip)]
    pub sidecar: SidecarKind,
    /// What EMCO is told to record of its requests. The pod's annotation
    /// `emco-observer.io/evidence` wins.
    #[garde(skip)]
    pub evidence: Evidence,
    /// Whether EMCO gets a copy of its `config.json` in which `zipkin-ip` and `zipkin-port` lead to
    /// the sidecar. The pod's annotation `emco-observer.io/overlay` wins.
    #[garde(skip)]
    pub overlay: bool,
    /// Values of the pod label `app` that are EMCO's; pods with others are left alone.
    #[garde(inner(length(min = 1, max = 63)))]
    pub services: Vec<String>,
    /// More values of the pod label `app`, e.g. of a controller of your own that speaks EMCO's
    /// dialects. E.g. `my-controller`.
    #[garde(inner(length(min = 1, max = 63)))]
    pub more_services: Vec<String>,
    /// What the sidecar asks of the node.
    #[garde(dive)]
    pub resources: Resources,
    /// Limit of the volume for spool, verdicts and checkpoints; has to be above what the sidecar's
    /// own settings allow it to write, or kubelet evicts the pod.
    #[garde(range(min = 16 * MIB, max = 64 * 1024 * MIB))]
    pub state_bytes_limit: u64,
    /// Room for lines in log mode `wrap`, of which it keeps 50 MiB, in the volume that the sidecar and
    /// EMCO's container share.
    #[garde(range(min = 56 * MIB, max = 64 * 1024 * MIB))]
    pub output_bytes_limit: u64,
}

/// When kubelet fetches the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: it has to be on the node.
    Never,
}

/// Where the sidecar gets lines from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "lowercase")]
pub enum LogMode {
    /// `hostpath` where the namespace's Pod Security level allows it, `wrap` elsewhere.
    #[default]
    Auto,
    /// From the node's `/var/log/pods`, of which the sidecar sees the pod's own directory only.
    Hostpath,
    /// From files that a small program in front of EMCO's command writes.
    Wrap,
    /// From nowhere: spans and metrics only.
    None,
}

/// Which kind of container the sidecar is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "lowercase")]
pub enum SidecarKind {
    /// `native` where the server and every node know it (Kubernetes 1.29), `plain` elsewhere.
    #[default]
    Auto,
    /// An init container that keeps running: starts before EMCO and ends after it. Taken from
    /// Kubernetes 1.28 on, where it has to be switched on; below it a pod would never start.
    Native,
    /// A container beside EMCO's.
    Plain,
    /// A container beside EMCO's and nothing that runs before it: whatever is wrong with the image,
    /// EMCO starts. There is neither log mode `wrap` nor an overlay.
    Optional,
}

/// What EMCO is told to record. A recorded request costs EMCO CPU time: `limited` 8 to 17 % of
/// orchestrator's, `full` 14 to 31 %, and two to three times dcm's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, Serialize))]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Every request, with whole statements.
    Full,
    /// Every request, values cut at 512 characters.
    #[default]
    Limited,
    /// What the caller's sampling says: fewer lines get their person.
    AsSampled,
}

/// What the sidecar asks of the node. There is no limit of CPU time unless one is named: throttled
/// when EMCO is busiest, it would fall behind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, Serialize))]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Thousandths of a core that are kept free.
    #[garde(range(min = 1, max = 64_000))]
    pub cpu_millicores_request: u32,
    /// Most thousandths of a core; none unless said. E.g. `500`.
    #[garde(inner(range(min = 10, max = 64_000)))]
    pub cpu_millicores_limit: Option<u32>,
    /// Memory that is kept free.
    #[garde(range(min = 8 * MIB, max = 4 * 1024 * MIB))]
    pub memory_bytes_request: u64,
    /// Most memory; above it the sidecar alone is restarted.
    #[garde(range(min = 32 * MIB, max = 4 * 1024 * MIB))]
    pub memory_bytes_limit: u64,
}

impl Settings {
    /// Whether `app`, a value of the pod label of that name, is one of EMCO's.
    pub fn is_service(&self, app: &str) -> bool {
        let mut services = self.services.iter().chain(&self.more_services);
        services.any(|service| service == app)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: concat!("emco-observer:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: PullPolicy::default(),
            image_pull_secrets: Vec::new(),
            logs: LogMode::default(),
            sidecar: SidecarKind::default(),
            evidence: Evidence::default(),
            overlay: true,
            services: SERVICES.map(str::to_owned).to_vec(),
            more_services: Vec::new(),
            resources: Resources::default(),
            state_bytes_limit: 512 * MIB,
            output_bytes_limit: 64 * MIB,
        }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu_millicores_request: 10,
            cpu_millicores_limit: None,
            memory_bytes_request: 16 * MIB,
            memory_bytes_limit: 96 * MIB,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde hands its context over by reference"
)]
fn without_space(text: &str, _: &()) -> garde::Result {
    let good = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    good.then_some(())
        .ok_or_else(|| garde::Error::new("has white space in it; name one image"))
}
