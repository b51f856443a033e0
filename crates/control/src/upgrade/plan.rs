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
    /// Only a restart gives it what it should have; a sentence says so.
    Restart(String),
    /// It has no sidecar that could say whether it may be restarted, or a restart would not help; a
    /// sentence says what to do.
    Left(String),
}

/// What is done with `pod`, if pods may be restarted or not; nothing for one that has ended or is
/// ending.
pub fn plan(pod: &Value, wanted: &Wanted<'_>, restart: bool) -> Option<Step> {
    let report = look(pod, wanted)?;
    let next = report.next.unwrap_or_default();
    let waits = match report.standing {
        Standing::Current | Standing::OptedOut | Standing::NotOurs => return Some(Step::Nothing),
        Standing::Missing | Standing::Refused => return Some(Step::Left(next)),
        Standing::Outdated | Standing::Failing => false,
        Standing::Stuck => true,
    };
    let outdated = report.standing == Standing::Outdated;
    Some(
        match renew(pod, waits, wanted.settings, wanted.surroundings) {
            Ok(Some(renewal)) if restart && outdated && !renewal.whole => Step::Restart(next),
            Ok(Some(renewal)) => Step::InPlace(Box::new(renewal)),
            Ok(None) if outdated => Step::Restart(next),
            Ok(None) => Step::Left(next),
            Err(reason) => Step::Left(reason.to_string()),
        },
    )
}
