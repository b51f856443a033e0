//! Which pods operators are told of: at most once per owner and standing an hour, by all replicas
//! together. They all give an Event the same name, and the API server takes one of that name.

use std::collections::HashSet;

use serde_json::Value;
use twox_hash::XxHash3_64;

use super::report::PodReport;
use crate::webhook::{Notice, owner};

const HOUR_SECONDS: i64 = 3600;

/// What was told this hour.
#[derive(Debug, Default)]
pub(super) struct Told {
    hour: i64,
    names: HashSet<String>,
}

impl Told {
    /// What operators are told of `pod` at the time `now`, in seconds since 1970; nothing if they
    /// heard of it this hour, or if all is as it should be.
    pub(super) fn notice(&mut self, pod: &Value, report: &PodReport, now: i64) -> Option<Notice> {
        let (reason, next) = (report.standing.event()?, report.next.as_ref()?);
        let hour = now.div_euclid(HOUR_SECONDS);
        if self.hour != hour {
            self.hour = hour;
            self.names.clear();
        }
        let object = owner(pod, &report.namespace);
        let about = [&object.kind, &object.name, &object.uid, &object.namespace];
        let about = about.map(|part| part.as_deref().unwrap_or_default());
        let text = format!("{}/{reason}/{hour}", about.join("/"));
        let name = format!(
            "emco-observer.{:016x}",
            XxHash3_64::oneshot(text.as_bytes())
        );
        if !self.names.insert(name.clone()) {
            return None;
        }
        let note = format!("pod {}: {next}", report.pod);
        Some(Notice::once(object, reason, note, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::{Lines, Spans, Standing};
    use serde_json::json;

    fn report(pod: &str, standing: Standing) -> PodReport {
        PodReport {
            namespace: "emco".to_owned(),
            pod: pod.to_owned(),
            service: None,
            standing,
            image: None,
            kind: None,
            logs: Lines::None,
            spans: Spans::None,
            next: Some("restart it".to_owned()),
        }
    }

    fn pod(owner: &str) -> Value {
        json!({ "metadata": { "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true } ] } })
    }

    #[test]
    fn an_owner_hears_of_a_standing_once_an_hour() {
        let mut told = Told::default();
        let mut tells =
            |pod: &Value, standing, now| told.notice(pod, &report("a", standing), now).is_some();
        let (one, two) = (pod("one"), pod("two"));
        assert!(tells(&one, Standing::Missing, 7200));
        assert!(!tells(&one, Standing::Missing, 10_799));
        assert!(tells(&one, Standing::Stuck, 10_799));
        assert!(tells(&two, Standing::Missing, 10_799));
        assert!(tells(&one, Standing::Missing, 10_800));
        for standing in [Standing::Current, Standing::OptedOut, Standing::NotOurs] {
            assert!(!tells(&one, standing, 20_000), "{standing:?}");
        }
    }

    #[test]
    fn replicas_tell_the_same() {
        let tells = |report: &PodReport| Told::default().notice(&pod("one"), report, 7300);
        let first = tells(&report("a", Standing::Missing));
        assert_eq!(first, tells(&report("a", Standing::Missing)));
        assert_ne!(first, tells(&report("a", Standing::Outdated)));
    }
}
