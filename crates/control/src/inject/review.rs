//! What is asked of this folder: review a pod, take a sidecar out, say what is in one.

use json_patch::Patch;
use serde_json::Value;

use super::decision::{Decision, Injection, Reason};
use super::eject::Removal;
use super::names::STATUS;
use super::patch::patch;
use super::plan::Plan;
use super::pod::{Pod, malformed};
use super::settings::Settings;
use super::status::Status;
use super::surroundings::Surroundings;

/// Decides what is done with `pod`, an object with `metadata` and `spec`: a pod, or the template of
/// one.
pub fn review(pod: &Value, settings: &Settings, surroundings: &Surroundings) -> Decision {
    let decided = Pod::read(pod).and_then(|view| match found(view)? {
        None => fresh(view, settings, surroundings).map(|(injection, _)| inject(injection)),
        Some(status) => again(pod, &Removal::new(view, &status), |bare| {
            let (injection, new) = fresh(Pod::read(bare)?, settings, surroundings)?;
            Ok((injection, new.is_same_sidecar(&status)))
        }),
    });
    decided.unwrap_or_else(Decision::Skip)
}

/// The patch that takes the sidecar out of `pod`; nothing if it has none.
///
/// # Errors
/// If what is in the pod cannot be told.
pub fn eject(pod: &Value) -> Result<Option<Patch>, Reason> {
    let view = Pod::read(pod)?;
    let found = found(view)?;
    Ok(found.map(|status| Patch(Removal::new(view, &status).operations)))
}

/// What was put into `pod`; nothing if it has no sidecar.
///
/// # Errors
/// If what is in the pod cannot be told.
pub fn status(pod: &Value) -> Result<Option<Status>, Reason> {
    found(Pod::read(pod)?)
}

fn inject(injection: Injection) -> Decision {
    Decision::Inject(Box::new(injection))
}

/// What the pod's annotation says is in it.
pub(super) fn found(pod: Pod<'_>) -> Result<Option<Status>, Reason> {
    let Some(text) = pod.annotation(STATUS) else {
        return Ok(None);
    };
    pod.check()?;
    let status = Status::parse(text).map_err(|_| malformed(format!("annotation {STATUS}")))?;
    Ok(Some(status))
}

/// Decides about a pod in which nothing of ours is; with what its annotation will say.
pub(super) fn fresh(
    pod: Pod<'_>,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<(Injection, Status), Reason> {
    let plan = Plan::new(pod, settings, surroundings)?;
    let (patch, status) = patch(&plan, settings);
    let injection = Injection {
        patch,
        summary: plan.summary(),
        notes: plan.notes,
        replaces: false,
    };
    Ok((injection, status))
}

/// Decides about a pod with a sidecar, as `decide` does of what is left without it, which also says
/// whether the sidecar would be the same.
fn again(
    pod: &Value,
    removal: &Removal,
    decide: impl FnOnce(&Value) -> Result<(Injection, bool), Reason>,
) -> Result<Decision, Reason> {
    let mut bare = pod.clone();
    json_patch::patch(&mut bare, &removal.operations)
        .map_err(|error| malformed(format!("{}, by {STATUS}", error.path)))?;
    let (mut injection, same) = decide(&bare)?;
    if same && removal.complete {
        return Ok(Decision::Current);
    }
    let operations = removal.operations.iter().cloned();
    injection.patch = Patch(operations.chain(injection.patch.0).collect());
    injection.replaces = true;
    Ok(inject(injection))
}
