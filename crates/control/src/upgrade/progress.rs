//! From what a kubelet says of a pod, before and after its sidecar was given another image, to whether
//! the new one runs: no clock, no socket.

use serde_json::Value;

use crate::inject::SIDECAR;
use crate::watchdog::{Trouble, is_over};

/// How it stands with a new sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The kubelet has not got to it, pulls its image or starts it.
    Starts,
    /// It runs, as the container of this id.
    Runs(String),
    /// It does not, and will not by waiting; the kubelet's reason.
    Fails(String),
    /// The pod has ended or is ending.
    Over,
}

/// How it stands with the sidecar of the pod that is `now` as it is, and was `before` it got another
/// image.
pub fn progress(before: &Value, now: &Value) -> Progress {
    if is_over(now) {
        return Progress::Over;
    }
    // what was said of the old one is said until the kubelet has looked at the new one
    let fails = |trouble: &Trouble| {
        let for_good = trouble.is_image() && trouble.reason != "ErrImagePull";
        (for_good || trouble.is_crash_loop()) && Trouble::find(before).is_none()
    };
    if let Some(trouble) = Trouble::find(now) {
        return if fails(&trouble) {
            Progress::Fails(trouble.reason)
        } else {
            Progress::Starts
        };
    }
    match running(now) {
        Some(id) if running(before) != Some(id) => Progress::Runs(id.to_owned()),
        _ => Progress::Starts,
    }
}

/// Id of the sidecar's container, if it runs.
fn running(pod: &Value) -> Option<&str> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array());
    let mut statuses = statuses.flatten();
    let status =
        statuses.find(|status| status.get("name").and_then(Value::as_str) == Some(SIDECAR))?;
    status.pointer("/state/running")?;
    let id = status.get("containerID")?.as_str()?;
    (!id.is_empty()).then_some(id)
}
