//! What kubelets say of containers of ours that do not run.
//!
//! | kubelet says | of | is |
//! |---|---|---|
//! | `waiting`, with any reason but those of a start that goes on | the sidecar, `prepare` | trouble |
//! | `terminated` with another exit code than 0 | the same | trouble |
//! | condition `Initialized` is not `True` | the pod | EMCO waits for init containers |

use serde_json::Value;

use crate::inject::{PREPARE, SIDECAR};

/// Reasons for waiting that pass by themselves.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Longest reason that is passed on; kubelets' are words.
const REASON_CHARS_MAX: usize = 64;

/// A container of ours that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Which.
    pub(crate) container: &'static str,
    /// Why, in kubelet's word.
    pub(crate) reason: String,
    /// Whether EMCO does not start before it runs.
    pub(crate) gates: bool,
}

impl Trouble {
    /// The first container of ours that does not run.
    pub(crate) fn find(pod: &Value) -> Option<Self> {
        let initialized = is_initialized(pod);
        let of = |list: &str, name: &'static str, gates: bool| {
            let reason = reason(status_of(pod, list, name)?)?;
            Some(Self {
                container: name,
                reason: reason.chars().take(REASON_CHARS_MAX).collect(),
                gates,
            })
        };
        let init = "/status/initContainerStatuses";
        let prepare = || {
            let waits = !initialized;
            waits.then(|| of(init, PREPARE, true)).flatten()
        };
        prepare()
            .or_else(|| of(init, SIDECAR, !initialized))
            .or_else(|| of("/status/containerStatuses", SIDECAR, false))
    }

    /// Whether it ends again and again.
    pub(crate) fn is_crash_loop(&self) -> bool {
        self.reason == "CrashLoopBackOff"
    }

    /// Whether the image cannot be had.
    pub(crate) fn is_image(&self) -> bool {
        let reason = self.reason.as_str();
        reason.contains("Image") || reason == "RegistryUnavailable"
    }
}

/// The image of the sidecar that is in the pod.
pub(super) fn image_of(pod: &Value) -> Option<&str> {
    let lists = ["/spec/initContainers", "/spec/containers"];
    let lists = lists
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array());
    let sidecar = lists
        .flatten()
        .find(|container| container.get("name").and_then(Value::as_str) == Some(SIDECAR))?;
    sidecar.get("image")?.as_str()
}

/// Whether the node has the image of a container of ours.
pub(super) fn was_pulled(pod: &Value) -> bool {
    [
        ("/status/initContainerStatuses", PREPARE),
        ("/status/initContainerStatuses", SIDECAR),
        ("/status/containerStatuses", SIDECAR),
    ]
    .into_iter()
    .filter_map(|(list, name)| status_of(pod, list, name)?.get("imageID")?.as_str())
    .any(|id| !id.is_empty())
}

/// Whether all init containers have done their work.
fn is_initialized(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let is = |key, value| condition.get(key).and_then(Value::as_str) == Some(value);
        is("type", "Initialized") && is("status", "True")
    })
}

fn status_of<'a>(pod: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    let statuses = pod.pointer(list)?.as_array()?;
    let mut statuses = statuses.iter();
    statuses.find(|status| status.get("name").and_then(Value::as_str) == Some(name))
}

/// Why a container does not run; nothing if it does, is about to, or is done.
fn reason(status: &Value) -> Option<&str> {
    let state = status.get("state")?;
    let text = |of: &'static str| {
        let reason = state.get(of)?.get("reason");
        Some(reason.and_then(Value::as_str).unwrap_or_default())
    };
    if let Some(reason) = text("waiting") {
        let passes = reason.is_empty() || STARTING.contains(&reason);
        return (!passes).then_some(reason);
    }
    let ended = state.get("terminated")?;
    let failed = ended.get("exitCode").and_then(Value::as_i64) != Some(0);
    let reason = text("terminated").filter(|reason| !reason.is_empty());
    failed.then_some(reason.unwrap_or("Error"))
}
