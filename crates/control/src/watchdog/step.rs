//! The next step for a pod, as one sentence.

use serde_json::Value;

use super::trouble::Trouble;
use crate::inject::Reason;

/// Label that a `ReplicaSet` of a Deployment has in its name.
const TEMPLATE_HASH: &str = "/metadata/labels/pod-template-hash";

/// For a pod that should have a sidecar and has none.
pub(super) fn missing(pod: &Value, selected: bool) -> String {
    let restart = restart(pod);
    if selected {
        format!("the pod started without its sidecar; {restart}")
    } else {
        format!(
            "the pod asks for a sidecar in a namespace that is not selected; label the namespace emco-observer.io/inject=true, then {restart}"
        )
    }
}

/// For a pod whose sidecar has another image than it should have.
pub(super) fn other_image(pod: &Value, image: &str, wanted: &str) -> String {
    let restart = restart(pod);
    format!(
        "the sidecar is {image}, and {wanted} is wanted; emco-observer-control upgrade, or {restart}"
    )
}

/// For a pod whose sidecar was put in by another version of ours.
pub(super) fn other_version(pod: &Value, version: &str) -> String {
    let (ours, restart) = (env!("CARGO_PKG_VERSION"), restart(pod));
    format!("the sidecar was put in by version {version}, and this is {ours}; {restart}")
}

/// For a pod whose sidecar was put in with other settings.
pub(super) fn other_settings(pod: &Value) -> String {
    let restart = restart(pod);
    format!("the sidecar was put in with other settings than those of now; {restart}")
}

/// For a pod that has a sidecar and should have none.
pub(super) fn rid(pod: &Value, reason: &Reason) -> String {
    let restart = restart(pod);
    format!("{reason}; it keeps the sidecar that it has until it ends: {restart}")
}

/// For a pod in which something of ours does not run.
pub(super) fn trouble(pod: &Value, trouble: &Trouble) -> String {
    let Trouble {
        container, reason, ..
    } = trouble;
    let then = if trouble.gates {
        "EMCO does not start before it does"
    } else {
        "EMCO runs, but its pod is not ready"
    };
    let todo = if trouble.is_image() {
        let image = image(pod, container);
        let first = format!("make {image} available: its name, pull secrets or registry");
        if trouble.gates {
            let restart = restart(pod);
            format!("{first}, or set injection.sidecar to optional and {restart}")
        } else {
            first
        }
    } else if reason == "CreateContainerConfigError" || reason == "CreateContainerError" {
        format!("see kubectl describe pod {}", named(pod))
    } else {
        format!(
            "see kubectl logs {} --container {container} --previous",
            named(pod)
        )
    };
    format!("container {container} does not run ({reason}) and {then}; {todo}")
}

/// For a pod without lines, by what was asked for.
pub(super) fn no_lines() -> String {
    "its lines are not taken, as logs is none; set it to auto".to_owned()
}

/// For a pod without an overlay, by what was asked for.
pub(super) fn no_overlay() -> String {
    "its configuration is left alone, so EMCO's spans come only if global.zipkinIp is 127.0.0.1"
        .to_owned()
}

/// For a pod whose spans go to somebody else.
pub(super) fn elsewhere() -> String {
    "its configuration leads EMCO's spans to another Zipkin; let the injector lay it over (injection.overlay), or set global.zipkinIp to 127.0.0.1 and name that Zipkin in lanes.otlp".to_owned()
}

/// For a pod that sends no spans.
pub(super) fn no_spans() -> String {
    "its configuration names no Zipkin, so EMCO sends no spans; let the injector lay it over (injection.overlay), or set global.zipkinIp to 127.0.0.1".to_owned()
}

/// How the pod gets a successor.
fn restart(pod: &Value) -> String {
    let namespace = text(pod, "/metadata/namespace");
    let owners = pod
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let mut owners = owners.into_iter().flatten();
    let controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let Some(owner) = owners.find(controller) else {
        return format!("delete pod {} and make it again", named(pod));
    };
    let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
    let hash = format!("-{}", text(pod, TEMPLATE_HASH));
    let workload = match kind {
        "ReplicaSet" => name
            .strip_suffix(&hash)
            .filter(|_| hash.len() > 1)
            .map(|name| format!("deployment/{name}")),
        "StatefulSet" | "DaemonSet" => Some(format!("{}/{name}", kind.to_ascii_lowercase())),
        _ => None,
    };
    match workload {
        Some(workload) => {
            format!("kubectl rollout restart {workload} --namespace {namespace}")
        }
        None => format!("delete pod {}; {kind} {name} makes another", named(pod)),
    }
}

fn named(pod: &Value) -> String {
    let (name, namespace) = (
        text(pod, "/metadata/name"),
        text(pod, "/metadata/namespace"),
    );
    format!("{name} --namespace {namespace}")
}

fn image<'a>(pod: &'a Value, container: &str) -> &'a str {
    let lists = ["/spec/initContainers", "/spec/containers"];
    let lists = lists
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array());
    let mut containers = lists.flatten();
    let found = containers.find(|found| text(found, "/name") == container);
    found.map_or("its image", |found| text(found, "/image"))
}

fn text<'a>(of: &'a Value, pointer: &str) -> &'a str {
    of.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
