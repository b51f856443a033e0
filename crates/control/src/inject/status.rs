//! The annotation that says what was put into a pod, so that it can be taken out again exactly.
//!
//! JSON, in one line: what the sidecar is (`version`, `image`, `logs`, `kind`), the container that is
//! EMCO's `service` with the variables `env` that it got, `annotations` and `imagePullSecrets` that
//! were added, and what cannot be seen from the pod any more: the volume from which `config.json` came
//! (`overlay`) and what stood where lists were made (`restore`). Containers and volumes are ours by
//! their names. `digest` is of all that is ours: the same digest, the same sidecar. Keys that would be
//! empty are left out, and keys that a reader does not know are none of its business.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What was put into a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Version of the injector.
    pub version: String,
    /// Image of the sidecar.
    pub image: String,
    /// Where the sidecar gets lines from.
    pub logs: String,
    /// What kind of container it is.
    pub kind: String,
    /// Of all that is ours.
    pub digest: String,
    /// Name of the container that is EMCO's service.
    pub service: String,
    /// Variables of the service's container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Annotations that were made or made longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    /// Secrets for the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Volume from which `config.json` came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<String>,
    /// Lists and texts that were there and empty.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub restore: Map<String, Value>,
}

impl Status {
    /// Reads the annotation.
    ///
    /// # Errors
    /// If it is not JSON of this form.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether both are of the same sidecar. What stood where lists were made may differ: others may
    /// have put something into them since.
    pub(super) fn is_same_sidecar(&self, other: &Self) -> bool {
        let without = |status: &Self| Self {
            restore: Map::new(),
            ..status.clone()
        };
        without(self) == without(other)
    }

    /// The annotation's text.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
