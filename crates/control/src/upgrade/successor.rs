//! From pods, as the API server tells of them, to what has to hold before one may go and after: no
//! clock, no socket.

use serde_json::{Map, Value, json};

use crate::inject::{Decision, Settings, Surroundings, eject, review};
use crate::watchdog::is_over;

/// How many requests are in flight, by what the sidecar shows: those of which the proxy says that they
/// began.
///
/// # Errors
/// If it shows no such thing.
pub fn in_flight(metrics: &str) -> Result<u64, &'static str> {
    let mut lines = metrics.lines();
    if !lines.any(|line| line.starts_with("emco_observer_build_info")) {
        return Err("what answers there is no sidecar");
    }
    let values = metrics
        .lines()
        .filter(|line| line.starts_with("emco_requests_in_flight{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, and the cast saturates"
    )]
    Ok(values.sum::<f64>().ceil() as u64)
}

/// The pod that its owner would make now, as far as this one tells; nothing if nobody would make one.
pub fn successor(pod: &Value) -> Option<Value> {
    owner(pod)?;
    let mut bare = pod.clone();
    if let Ok(Some(patch)) = eject(pod) {
        json_patch::patch(&mut bare, &patch).ok()?;
    }
    let of = |key: &str| bare.pointer(&format!("/metadata/{key}")).cloned();
    let mut metadata = Map::new();
    metadata.insert("generateName".to_owned(), json!("emco-observer-try-"));
    for key in ["labels", "annotations"] {
        metadata.extend(of(key).map(|value| (key.to_owned(), value)));
    }
    let mut spec = bare.get("spec")?.clone();
    // it goes wherever there is room
    spec.as_object_mut()?.remove("nodeName");
    Some(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
}

/// Whether the API server would store a pod with just the sidecar that it should have.
pub fn is_injected(stored: &Value, settings: &Settings, surroundings: &Surroundings) -> bool {
    review(stored, settings, surroundings) == Decision::Current
        && matches!(crate::inject::status(stored), Ok(Some(_)))
}

/// How many pods of its owner are ready.
pub fn ready(pods: &[Value], of: &Value) -> usize {
    let owner = owner(of);
    let theirs = pods.iter().filter(|pod| self::owner(pod) == owner);
    theirs.filter(|pod| !is_over(pod) && is_ready(pod)).count()
}

/// The uid of whoever makes pods like it.
fn owner(pod: &Value) -> Option<&str> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let mut owners = owners.iter();
    let owner = owners.find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    owner.get("uid")?.as_str()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let is = |key, value| condition.get(key).and_then(Value::as_str) == Some(value);
        is("type", "Ready") && is("status", "True")
    })
}
