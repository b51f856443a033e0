//! Gives pods in which EMCO waits for a container of ours a successor, by deleting them. EMCO has not
//! started in them, so that no request is lost; one that starts meanwhile is left alone, as the API
//! server refuses who did not see its last state.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::core::PartialObjectMeta;
use serde_json::Value;

use crate::webhook::{Events, Notice, owner};

/// Pods replaced at one look.
const AT_ONCE: usize = 5;

/// A pod in which EMCO waits, whose owner makes another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    namespace: String,
    name: String,
    uid: String,
    version: String,
    owner: ObjectReference,
}

impl Waiting {
    /// Nothing for a pod that nobody would make again.
    pub(super) fn find(pod: &Value) -> Option<Self> {
        let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
        let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
        let makes = |owner: &Value| owner.get("controller") == Some(&Value::Bool(true));
        owners.iter().any(makes).then_some(())?;
        let namespace = text("/metadata/namespace")?;
        Some(Self {
            owner: owner(pod, namespace),
            namespace: namespace.to_owned(),
            name: text("/metadata/name")?.to_owned(),
            uid: text("/metadata/uid")?.to_owned(),
            version: text("/metadata/resourceVersion")?.to_owned(),
        })
    }

    /// Which it is; no other ever is.
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }
}

/// Deletes the first few, and tells of each.
pub(super) async fn replace(client: &Client, events: &Events, waiting: &[Waiting]) {
    for pod in waiting.iter().take(AT_ONCE) {
        let Waiting {
            namespace, name, ..
        } = pod;
        let api: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: Some(pod.version.clone()),
            }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Ok(_) => {
                tracing::warn!(namespace, pod = name, "a pod is replaced");
                let note = format!(
                    "pod {name}: EMCO waited in it for a container of ours that does not run, so it is replaced; emco-observer-control status says what to do"
                );
                let owner = pod.owner.clone();
                // uids are never used again
                let event = format!("emco-observer.replaced.{}", pod.uid);
                events.tell(Notice::once(owner, "PodReplaced", note, event));
            }
            // another replica did, or it has changed
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                let error = net::chain(&error);
                tracing::warn!(namespace, pod = name, error, "a pod cannot be replaced");
            }
        }
    }
}
