//! Which parts are degraded, and why.
//!
//! A part is a fixed name (`lane.forward`, `tail`, `settings`); it has at most one reason at a time,
//! so the state is bounded. Being degraded is a statement, not a decision: nothing stops because of
//! it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, Registry};
use serde_json::json;

/// Longest reason that is kept, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// The shared state; clones are handles to the same state.
#[derive(Clone, Debug)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, Reason>>>,
    degraded_parts: IntGauge,
}

impl Health {
    /// Starts with nothing degraded and registers `emco_observer_health_degraded_parts`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let degraded_parts = IntGauge::new(
            "emco_observer_health_degraded_parts",
            "Parts that are degraded now; /health names them.",
        )?;
        registry.register(Box::new(degraded_parts.clone()))?;
        Ok(Self {
            reasons: Arc::default(),
            degraded_parts,
        })
    }

    /// Says that `part` is degraded because of `reason`; replaces an earlier reason and keeps the
    /// moment it began. Logs once when a part becomes degraded.
    pub fn set(&self, part: &'static str, reason: impl Into<String>) {
        let text = shorten(reason.into());
        let mut reasons = self.lock();
        if let Some(known) = reasons.get_mut(part) {
            known.text = text;
            return;
        }
        tracing::warn!(part, reason = %text, "degraded");
        reasons.insert(
            part,
            Reason {
                text,
                since: SystemTime::now(),
            },
        );
        self.publish(&reasons);
    }

    /// Says that `part` works again. Logs once if it was degraded.
    pub fn clear(&self, part: &'static str) {
        let mut reasons = self.lock();
        if reasons.remove(part).is_some() {
            tracing::info!(part, "works again");
            self.publish(&reasons);
        }
    }

    /// Whether any part is degraded.
    pub fn is_degraded(&self) -> bool {
        !self.lock().is_empty()
    }

    /// The body of `/health`: `{"status":"ok"}` or `{"status":"degraded","reasons":[…]}`.
    pub fn to_json(&self) -> String {
        let reasons = self.lock();
        if reasons.is_empty() {
            return json!({ "status": "ok" }).to_string();
        }
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(part, reason)| {
                json!({
                    "part": part,
                    "reason": reason.text,
                    "since_unix_seconds": unix_seconds(reason.since),
                })
            })
            .collect();
        json!({ "status": "degraded", "reasons": reasons }).to_string()
    }

    fn publish(&self, reasons: &BTreeMap<&'static str, Reason>) {
        self.degraded_parts
            .set(i64::try_from(reasons.len()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Reason>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Reason {
    text: String,
    since: SystemTime,
}

fn shorten(mut text: String) -> String {
    if text.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(&Registry::new()).unwrap()
    }

    #[test]
    fn reasons_come_and_go_by_part() {
        let health = health();
        assert_eq!(health.to_json(), r#"{"status":"ok"}"#);
        health.set("lane.forward", "connection refused");
        health.set("hub", "away");
        health.set("lane.forward", "connection reset");
        assert_eq!(health.degraded_parts.get(), 2);
        let body: serde_json::Value = serde_json::from_str(&health.to_json()).unwrap();
        assert_eq!(body["status"], "degraded");
        assert_eq!(body["reasons"][1]["part"], "lane.forward");
        assert_eq!(body["reasons"][1]["reason"], "connection reset");
        health.clear("hub");
        health.clear("lane.forward");
        assert!(!health.is_degraded());
        assert_eq!(health.degraded_parts.get(), 0);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let health = health();
        health.set("tail", "ä".repeat(REASON_BYTES_MAX));
        let body: serde_json::Value = serde_json::from_str(&health.to_json()).unwrap();
        let reason = body["reasons"][0]["reason"].as_str().unwrap();
        assert_eq!(reason, format!("{}…", "ä".repeat(REASON_BYTES_MAX / 2)));
    }

    #[test]
    fn clones_share_the_state() {
        let health = health();
        health.clone().set("tail", "directory is missing");
        assert!(health.is_degraded());
    }
}
