//! The pods in a manifest: the pod itself, or the template of what makes pods.

use serde_json::Value;

/// A pod, or something that makes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) kind: String,
    pub(super) name: String,
    /// JSON pointer from the manifest to the pod or its template.
    pub(super) pod: String,
}

impl Workload {
    /// All in `manifest`, also those in a list.
    pub(super) fn find(manifest: &Value) -> Vec<Self> {
        let mut found = Vec::new();
        find(manifest, String::new(), &mut found);
        found
    }
}

fn find(manifest: &Value, at: String, found: &mut Vec<Workload>) {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default();
    let template = match kind {
        "Pod" => "",
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "PodTemplate" => "/template",
        _ if kind.ends_with("List") => {
            let items = manifest.get("items").and_then(Value::as_array);
            for (index, item) in items.into_iter().flatten().enumerate() {
                // a list in a list is none of Kubernetes'
                if item.get("items").is_none() {
                    find(item, format!("{at}/items/{index}"), found);
                }
            }
            return;
        }
        _ => return,
    };
    if manifest.pointer(template).is_some_and(Value::is_object) {
        found.push(Workload {
            kind: kind.to_owned(),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
            pod: at + template,
        });
    }
}
