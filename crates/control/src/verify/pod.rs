//! The pod that is made, and what is seen of it: no clock, no socket.

use serde_json::{Value, json};

use crate::inject::{self, Status};
use crate::watchdog::{Trouble, is_over};

/// Name of the pod's own container.
const CONTAINER: &str = "line";
/// Lanes that carry lines, as metrics call them.
const LANES: [&str; 2] = ["elastic", "forward"];

/// A pod called `name` that writes one line with `text`, and asks for a sidecar. It fits any Pod Security
/// level.
pub fn pod(name: &str, text: &str, image: &str, pull_secrets: &[String]) -> Value {
    let secrets: Vec<Value> = pull_secrets
        .iter()
        .map(|name| json!({ "name": name }))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                "app": "emco-observer-verify",
                "app.kubernetes.io/name": "emco-observer-verify",
                "emco-observer.io/inject": "true",
            },
        },
        "spec": {
            "restartPolicy": "Always",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 5,
            "imagePullSecrets": secrets,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                // a command, so that it can be wrapped
                "command": ["/emco-observer-control", "say", text],
                "resources": {
                    "requests": { "cpu": "10m", "memory": "16Mi" },
                    "limits": { "memory": "64Mi" },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

/// What was put into the pod as it is stored; nothing if it got no sidecar.
pub fn sidecar(stored: &Value) -> Option<Status> {
    inject::status(stored).ok().flatten()
}

/// How it stands with the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It starts, or waits for a node; what kubelets say of it.
    Starts(String),
    /// The line is written, and the sidecar runs.
    Runs,
    /// It has ended.
    Over,
}

/// How it stands with the pod.
pub fn standing(pod: &Value) -> Standing {
    if is_over(pod) {
        return Standing::Over;
    }
    if let Some(trouble) = Trouble::find(pod) {
        let Trouble {
            container, reason, ..
        } = trouble;
        return Standing::Starts(format!("container {container} does not run ({reason})"));
    }
    let statuses = pod
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array);
    let own = statuses
        .into_iter()
        .flatten()
        .find(|status| status.get("name").and_then(Value::as_str) == Some(CONTAINER));
    let Some(own) = own else {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let mut messages = conditions
            .into_iter()
            .flatten()
            .filter_map(|condition| condition.get("message")?.as_str());
        let why = messages.next().unwrap_or("no kubelet has said anything");
        return Standing::Starts(why.to_owned());
    };
    if own.pointer("/state/running").is_some() {
        return Standing::Runs;
    }
    let reason = own
        .pointer("/state/waiting/reason")
        .and_then(Value::as_str)
        .unwrap_or("it has ended");
    Standing::Starts(format!("container {CONTAINER} does not run ({reason})"))
}

/// The lanes that have delivered something of the pod's one line, by what its sidecar shows; nothing
/// while none has that should.
pub fn delivered(metrics: &str) -> Option<Vec<String>> {
    let mut lanes = Vec::new();
    let mut waits = false;
    for line in metrics.lines() {
        let Some((labels, value)) = line
            .strip_prefix("emco_observer_lane_records_total{")
            .and_then(|rest| rest.split_once("} "))
        else {
            continue;
        };
        let delivered = labels.contains("outcome=\"delivered\"");
        let lane = LANES
            .into_iter()
            .find(|lane| labels.contains(&format!("lane=\"{lane}\"")));
        if let Some(lane) = lane.filter(|_| delivered) {
            let count: f64 = value.trim().parse().unwrap_or(0.0);
            if count >= 1.0 {
                lanes.push(lane.to_owned());
            } else {
                waits = true;
            }
        }
    }
    (!waits && !lanes.is_empty()).then_some(lanes)
}
