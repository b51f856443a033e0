//! Another image for a sidecar that runs: the one thing that Kubernetes lets change in a container of
//! a running pod. EMCO's container is not touched, so that it is not restarted.

use json_patch::Patch;
use serde_json::{Value, json};

use super::changes::{below, path, replace};
use super::decision::Reason;
use super::eject::Removal;
use super::names::{PREPARE, SIDECAR, STATUS};
use super::pod::{Pod, malformed, position};
use super::review::{found, fresh};
use super::settings::Settings;
use super::status::Status;
use super::surroundings::Surroundings;

/// How a running pod gets another image of the sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal {
    /// The image that it has.
    pub from: String,
    /// What changes. Refused by the API server if the pod has changed meanwhile.
    pub patch: Patch,
    /// Takes it back.
    pub back: Patch,
    /// Whether the pod then has just the sidecar that it should have. If not, more than the image is
    /// old, and only a new pod gets that.
    pub whole: bool,
}

/// What gives the sidecar in `pod` the image that settings name; nothing if there is no sidecar, if it
/// has that image, or if others gave it one from another registry. `waits` says that EMCO has not
/// started yet, so that what runs before it is renewed, too.
///
/// # Errors
/// If what is in the pod cannot be told.
pub fn renew(
    pod: &Value,
    waits: bool,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<Option<Renewal>, Reason> {
    let view = Pod::read(pod)?;
    let Some(status) = found(view)? else {
        return Ok(None);
    };
    let wanted = settings.image.as_str();
    let images = images(view, waits);
    let same = images.iter().all(|(_, image)| *image == wanted);
    let foreign = images.iter().any(|(_, image)| *image != status.image);
    if images.is_empty() || same || foreign {
        return Ok(None);
    }
    let (new, whole) = renewed(pod, view, &status, settings, surroundings)?;
    let annotation = below(&path(["metadata", "annotations"]), STATUS);
    let text = view.annotation(STATUS).unwrap_or_default();
    let new = new.to_text();
    let (mut patch, mut back) = (Vec::new(), Vec::new());
    let mut change = |at: &str, was: &str, is: &str| {
        patch.push(json!({ "op": "test", "path": at, "value": was }));
        patch.push(json!({ "op": "replace", "path": at, "value": is }));
        back.push(json!({ "op": "test", "path": at, "value": is }));
        back.push(json!({ "op": "replace", "path": at, "value": was }));
    };
    change(annotation.as_str(), text, &new);
    for (at, image) in &images {
        change(at, image, wanted);
    }
    Ok(Some(Renewal {
        from: status.image,
        patch: read(patch)?,
        back: read(back)?,
        whole,
    }))
}
