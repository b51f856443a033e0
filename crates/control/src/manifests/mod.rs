//! Files of manifests, given a sidecar or rid of it without a cluster.
//!
//! `documents` cuts a file into documents and leaves those alone that do not change, byte for byte;
//! `workload` finds the pods in them; `report` says what was done with each.

mod documents;
mod report;
#[cfg(test)]
mod tests;
mod workload;

pub use documents::Error;
pub use report::Report;

use documents::Documents;
use report::Outcome;
use serde_json::Value;
use workload::Workload;

use crate::inject::{self, Decision, Settings, Surroundings};

/// Gives every pod in `text` a sidecar that should have one.
///
/// # Errors
/// If a document cannot be read.
pub fn inject(
    text: &str,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<(String, Report), Error> {
    change(text, |pod| {
        match inject::review(pod, settings, surroundings) {
            Decision::Inject(injection) => match json_patch::patch(pod, &injection.patch) {
                Ok(()) => Outcome::Injected(injection),
                Err(error) => Outcome::Failed(error.to_string()),
            },
            Decision::Current => Outcome::Current,
            Decision::Skip(reason) => Outcome::Skipped(reason),
        }
    })
}

/// Takes the sidecar out of every pod in `text`.
///
/// # Errors
/// If a document cannot be read.
pub fn eject(text: &str) -> Result<(String, Report), Error> {
    change(text, |pod| match inject::eject(pod) {
        Ok(Some(patch)) => match json_patch::patch(pod, &patch) {
            Ok(()) => Outcome::Ejected,
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Ok(None) => Outcome::Bare,
        Err(reason) => Outcome::Skipped(reason),
    })
}

fn change(
    text: &str,
    mut change: impl FnMut(&mut Value) -> Outcome,
) -> Result<(String, Report), Error> {
    let mut documents = Documents::parse(text)?;
    let mut report = Report::default();
    documents.change(|manifest| {
        let mut changed = false;
        for workload in Workload::find(manifest) {
            let Some(pod) = manifest.pointer_mut(&workload.pod) else {
                continue;
            };
            let outcome = change(pod);
            changed |= outcome.is_change();
            report.add(workload, outcome);
        }
        changed
    })?;
    Ok((documents.into_text(), report))
}
