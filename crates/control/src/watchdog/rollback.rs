//! Whether new pods get less than the sidecar that they should have, because it does not run and EMCO
//! suffers from that. Time is an argument.
//!
//! ```text
//! as settings say ──(bad at three looks in a row)──▶ rolled back
//!        ▲                                                │
//!        └──(not bad, and some pod has it running; 1 h)───┘
//! ```
//! Bad is that EMCO waits for a container of ours in some pod, or that the sidecar does not run in any. A
//! replica that starts begins as settings say: other settings are tried anew. Of pods with another image
//! than the one that is wanted now only that is known which waits: its successor gets what is wanted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::trouble::{Trouble, image_of, was_pulled};

/// How many looks after the first it has to be bad: registries are away for a while, nodes pull slowly.
const LOOKS: u32 = 2;
/// After this it is tried again: a pod that has none does not say whether it could.
const RETRY: Duration = Duration::from_hours(1);

/// What was seen of the wanted image in all pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// EMCO waits for it in some pod: the image cannot be had, or what is in it ends again and again.
    waits: bool,
    /// It does not run in some pod, for lack of the image or because it ends again and again.
    fails: bool,
    /// It runs in some pod.
    runs: bool,
}

impl Sight {
    /// Looks at one more pod; says for what EMCO waits in it.
    pub(super) fn see(&mut self, pod: &Value, image: &str) -> Option<Waits> {
        // others may take it from another registry
        let last = |image: &str| image.rsplit('/').next().map(str::to_owned);
        let its_own = image_of(pod)?;
        let is_wanted = last(its_own) == last(image);
        let Some(trouble) = Trouble::find(pod) else {
            self.runs |= is_wanted && was_pulled(pod);
            return None;
        };
        if !is_wanted {
            return trouble.gates.then_some(Waits::ForAnother);
        }
        self.waits |= trouble.gates;
        self.fails |= trouble.gates || trouble.is_image() || trouble.is_crash_loop();
        trouble.gates.then_some(Waits::ForWanted)
    }

    const fn is_bad(self) -> bool {
        self.waits || (self.fails && !self.runs)
    }
}

/// For what EMCO waits in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// For the image that new pods get, too, unless less.
    ForWanted,
    /// For one that new pods do not get any more.
    ForAnother,
}

/// Since when EMCO waits in pods for what nobody wants any more.
#[derive(Debug, Default)]
pub(super) struct Stuck(HashMap<String, Instant>);

impl Stuck {
    /// Takes what was seen at the time `now`, and leaves those that have been so at three looks in a row.
    pub(super) fn keep_old<T>(
        &mut self,
        seen: &mut Vec<T>,
        uid: impl Fn(&T) -> &str,
        interval: Duration,
        now: Instant,
    ) {
        self.0
            .retain(|known, _| seen.iter().any(|pod| uid(pod) == known));
        seen.retain(|pod| {
            let since = self.0.entry(uid(pod).to_owned()).or_insert(now);
            now.duration_since(*since) >= interval * LOOKS
        });
    }
}

/// Decides when.
#[derive(Debug, Default)]
pub(super) struct Judge {
    bad_since: Option<Instant>,
    rolled_back_since: Option<Instant>,
}

impl Judge {
    /// What follows from a look at all pods at the time `now`, with one each `interval`: since when pods
    /// get less, if they do.
    pub(super) fn judge(
        &mut self,
        sight: Sight,
        interval: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let since = |time: Option<Instant>| time.map(|time| now.duration_since(time));
        if since(self.rolled_back_since).is_some_and(|time| time >= RETRY) {
            *self = Self::default();
        }
        if !sight.is_bad() {
            self.bad_since = None;
            if sight.runs {
                self.rolled_back_since = None;
            }
            return self.rolled_back_since;
        }
        let bad_since = *self.bad_since.get_or_insert(now);
        if now.duration_since(bad_since) >= interval * LOOKS {
            self.rolled_back_since.get_or_insert(now);
        }
        self.rolled_back_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MINUTE: Duration = Duration::from_mins(1);
    const NOTHING: Sight = Sight {
        waits: false,
        fails: false,
        runs: false,
    };
    const WAITS: Sight = Sight {
        waits: true,
        fails: true,
        ..NOTHING
    };
    const FAILS: Sight = Sight {
        fails: true,
        ..NOTHING
    };
    const RUNS: Sight = Sight {
        runs: true,
        ..NOTHING
    };

    #[test]
    fn what_emco_waits_for_is_done_without_until_it_is_there() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut judge = Judge::default();
        let mut rolled_back = |sight, seconds| judge.judge(sight, MINUTE, at(seconds)).is_some();
        assert!(!rolled_back(WAITS, 0));
        assert!(!rolled_back(WAITS, 119));
        // it was only slow
        assert!(!rolled_back(RUNS, 130));
        assert!(!rolled_back(WAITS, 140));
        assert!(rolled_back(
            Sight {
                runs: true,
                ..WAITS
            },
            260
        ));
        // whoever waited is gone, and nobody has it yet
        assert!(rolled_back(NOTHING, 320));
        assert!(rolled_back(FAILS, 380));
        assert!(!rolled_back(RUNS, 440));
        assert!(!rolled_back(NOTHING, 500));
    }

    #[test]
    fn what_fails_somewhere_is_kept_while_it_runs_elsewhere() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut judge = Judge::default();
        let partly = Sight {
            runs: true,
            ..FAILS
        };
        for seconds in [0, 120, 240] {
            assert_eq!(judge.judge(partly, MINUTE, at(seconds)), None);
        }
        assert_eq!(judge.judge(FAILS, MINUTE, at(300)), None);
        assert_eq!(judge.judge(FAILS, MINUTE, at(420)), Some(at(420)));
        // nobody can have it, so nobody could tell that it runs again
        assert_eq!(judge.judge(NOTHING, MINUTE, at(4019)), Some(at(420)));
        assert_eq!(judge.judge(NOTHING, MINUTE, at(4020)), None);
    }

    #[test]
    fn what_waits_for_what_nobody_wants_is_old_after_three_looks() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut stuck = Stuck::default();
        let mut look = |seen: &[&'static str], seconds| {
            let mut seen = seen.to_vec();
            stuck.keep_old(&mut seen, |uid| uid, MINUTE, at(seconds));
            seen
        };
        assert!(look(&["a"], 0).is_empty());
        assert!(look(&["a", "b"], 60).is_empty());
        assert_eq!(look(&["a", "b"], 120), ["a"]);
        // it was away for a look
        assert!(look(&["a"], 150).contains(&"a"));
        assert!(look(&["a", "b"], 180).contains(&"a"));
        assert_eq!(look(&["b"], 239), [""; 0]);
        assert_eq!(look(&["b"], 300), ["b"]);
    }

    #[test]
    fn only_the_wanted_image_counts() {
        let pod = |reason: Option<&str>, id: &str, initialized: &str| {
            let state = match reason {
                Some(reason) => json!({ "waiting": { "reason": reason } }),
                None => json!({ "running": {} }),
            };
            json!({
                "spec": { "initContainers": [{ "name": "emco-observer", "image": "one" }] },
                "status": {
                    "conditions": [{ "type": "Initialized", "status": initialized }],
                    "initContainerStatuses": [
                        { "name": "emco-observer", "imageID": id, "state": state } ] },
            })
        };
        let seen = |pod: &Value, image| {
            let mut sight = Sight::default();
            let waits = sight.see(pod, image);
            assert_eq!(waits == Some(Waits::ForWanted), sight.waits);
            sight
        };
        let waits = pod(Some("ImagePullBackOff"), "", "False");
        assert_eq!(seen(&waits, "one"), WAITS);
        assert_eq!(seen(&waits, "two"), NOTHING);
        let for_another = Sight::default().see(&waits, "two");
        assert_eq!(for_another, Some(Waits::ForAnother));
        assert_eq!(seen(&pod(None, "sha256:1", "True"), "one"), RUNS);
        let crashes = pod(Some("CrashLoopBackOff"), "sha256:1", "True");
        assert_eq!(seen(&crashes, "one"), FAILS);
        let waits = pod(Some("CrashLoopBackOff"), "sha256:1", "False");
        assert_eq!(seen(&waits, "one"), WAITS);
        // a kubelet that has not looked yet
        assert_eq!(seen(&pod(None, "", "False"), "one"), NOTHING);
    }
}
