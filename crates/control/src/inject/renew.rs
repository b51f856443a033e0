//! Another image for a sidecar that runs: the one thing of a container that Kubernetes lets change in
//! a pod. EMCO's container is not touched, so that it is not restarted.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::changes::{below, path, replace, test};
use super::decision::Reason;
use super::eject::Removal;
use super::names::{PREPARE, SIDECAR, STATUS};
use super::pod::{Pod, malformed, name};
use super::review::{found, fresh};
use super::settings::Settings;
use super::status::Status;
use super::surroundings::Surroundings;

/// How a pod gets another image of the sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal {
    /// The image that it has.
    pub from: String,
    /// What changes. The API server refuses it if any of that is another than it was.
    pub patch: Patch,
    /// Takes it back, in the same manner.
    pub back: Patch,
    /// Whether the pod then has just the sidecar that it should have. If not, more than the image is
    /// old, and only a new pod gets that.
    pub whole: bool,
}

/// What gives the sidecar in `pod` the image that settings name; nothing if there is no sidecar, if it
/// has that image, or if others gave it another one than we did. `waits` says that EMCO has not
/// started, so that what runs before it is renewed, too.
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
    let images = images(view, waits);
    let ours = images.iter().all(|(_, image)| *image == status.image);
    if images.is_empty() || !ours || status.image == settings.image {
        return Ok(None);
    }
    let (new, whole) = renewed(pod, &status, settings, surroundings)?;
    let annotation = below(&path(["metadata", "annotations"]), STATUS);
    let text = view.annotation(STATUS).unwrap_or_default();
    let new = new.to_text();
    let mut changes = vec![(annotation, text, new.as_str())];
    let images = images.into_iter();
    changes.extend(images.map(|(at, image)| (at, image, settings.image.as_str())));
    let swap = |(at, from, to): &(PointerBuf, &str, &str)| -> [PatchOperation; 2] {
        [
            test(at.clone(), (*from).into()),
            replace(at.clone(), (*to).into()),
        ]
    };
    let back = changes
        .iter()
        .map(|(at, from, to)| (at.clone(), *to, *from));
    Ok(Some(Renewal {
        back: Patch(back.flat_map(|change| swap(&change)).collect()),
        patch: Patch(changes.iter().flat_map(swap).collect()),
        from: status.image,
        whole,
    }))
}

/// Where images of ours are, and which. Init containers that have ended are left alone: some versions
/// of Kubernetes restart pods for them.
fn images(pod: Pod<'_>, waits: bool) -> Vec<(PointerBuf, &str)> {
    let lists = [
        ("initContainers", pod.init_containers()),
        ("containers", pod.containers()),
    ];
    let containers = lists.into_iter().flat_map(|(list, containers)| {
        let list = path(["spec", list]);
        (0..)
            .zip(containers)
            .map(move |(index, container): (usize, _)| (below(&list, index), container))
    });
    containers
        .filter(|(_, container)| {
            name(container) == SIDECAR || (waits && name(container) == PREPARE)
        })
        .filter_map(|(at, container)| {
            let image = container.get("image")?.as_str()?;
            Some((below(&at, "image"), image))
        })
        .collect()
}

/// What the annotation says then, and whether nothing but the image was old.
fn renewed(
    pod: &Value,
    status: &Status,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<(Status, bool), Reason> {
    let removal = Removal::new(Pod::read(pod)?, status);
    let mut bare = pod.clone();
    json_patch::patch(&mut bare, &removal.operations)
        .map_err(|error| malformed(format!("{}, by {STATUS}", error.path)))?;
    let bare = Pod::read(&bare)?;
    let before = Settings {
        image: status.image.clone(),
        ..settings.clone()
    };
    let (_, was) = fresh(bare, &before, surroundings)?;
    let was = Status {
        version: status.version.clone(),
        ..was
    };
    if !removal.complete || !was.is_same_sidecar(status) {
        let renewed = Status {
            image: settings.image.clone(),
            ..status.clone()
        };
        return Ok((renewed, false));
    }
    let (_, new) = fresh(bare, settings, surroundings)?;
    let renewed = Status {
        restore: status.restore.clone(),
        ..new
    };
    Ok((renewed, true))
}
