//! From a pod, as the API server tells of it, to what an upgrade does with it: no clock, no socket.

use serde_json::Value;

use crate::inject::{Renewal, renew};
use crate::watchdog::{Standing, Wanted, look};

/// What is done with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It has what it should have, or nobody asks for a sidecar there.
    Nothing,
    /// Its sidecar gets another image.
    InPlace(Box<Renewal>),
    /// The image is not what is wrong; a sentence says what to do.
    Left(String),
}

/// What is done with `pod`; nothing for one that has ended or is ending.
pub fn plan(pod: &Value, wanted: &Wanted<'_>) -> Option<Step> {
    let report = look(pod, wanted)?;
    let waits = match report.standing {
        Standing::Current | Standing::OptedOut | Standing::NotOurs => return Some(Step::Nothing),
        Standing::Missing | Standing::Refused => {
            return Some(Step::Left(report.next.unwrap_or_default()));
        }
        Standing::Outdated | Standing::Failing => false,
        Standing::Stuck => true,
    };
    Some(
        match renew(pod, waits, wanted.settings, wanted.surroundings) {
            Ok(Some(renewal)) => Step::InPlace(Box::new(renewal)),
            Ok(None) => Step::Left(report.next.unwrap_or_default()),
            Err(reason) => Step::Left(reason.to_string()),
        },
    )
}
