//! Names and places of everything that is put into a pod. What begins with the sidecar's name is
//! ours: pods in which others use such names get no sidecar.

pub(crate) const SIDECAR: &str = "emco-observer";
/// Whom the sidecar's token is for: our hub, and nobody else.
pub const AUDIENCE: &str = "emco-observer";
pub(crate) const PREPARE: &str = "emco-observer-prepare";

/// The program in our image, which has nothing else in it.
pub(super) const PROGRAM: &str = "/emco-observer";

pub(super) const STATE: Place = Place::new("emco-observer-state", "/var/lib/emco-observer");
pub(super) const IDENTITY: Place =
    Place::new("emco-observer-identity", "/var/run/secrets/emco-observer");
pub(super) const CONFIG: Place = Place::new("emco-observer-config", "/etc/emco-observer");
pub(super) const SECRETS: Place = Place::new("emco-observer-secrets", "/etc/emco-observer/secrets");
/// Lines of the pod: the node's files, or nothing. In log mode `wrap` what is shared stands there.
pub(super) const LOGS: Place = Place::new("emco-observer-logs", "/var/log/pod");
/// What we and the service's container share: our program and a folder of lines for `wrap`, the changed
/// copy of `config.json`. One volume, because each would cost a patch 200 bytes.
pub(super) const SHARED: Place = Place::new("emco-observer-shared", "/emco-observer-shared");
/// Where the original of `config.json` is mounted for the copy; its volume is the pod's own.
pub(super) const SOURCE: &str = "/emco-observer-source";

/// Whether a container or a volume of that name is ours, in a pod that has a status.
pub(super) fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix(SIDECAR);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The file in which EMCO's services find their settings.
pub(super) const CONFIG_FILE: &str = "config.json";

/// Port of metrics and health.
pub(crate) const ADMIN_PORT: u16 = 9464;
/// Port to which EMCO sends spans.
pub(super) const SPANS_PORT: u16 = 9411;

/// Annotation that says what was put into the pod.
pub const STATUS: &str = "emco-observer.io/status";
/// Annotation of a pod: its log mode.
pub const LOGS_ANNOTATION: &str = "emco-observer.io/logs";
/// Annotation of a pod: what EMCO is told to record.
pub const EVIDENCE_ANNOTATION: &str = "emco-observer.io/evidence";
/// Annotation of a pod: whether its configuration may be laid over.
pub const OVERLAY_ANNOTATION: &str = "emco-observer.io/overlay";
/// Annotation that keeps Istio's proxy from a port.
pub(super) const EXCLUDED_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
/// Annotation that names the container which `kubectl` means.
pub(super) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A volume of ours and where it is mounted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) volume: &'static str,
    pub(super) path: &'static str,
}

impl Place {
    const fn new(volume: &'static str, path: &'static str) -> Self {
        Self { volume, path }
    }
}
