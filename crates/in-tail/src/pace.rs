//! How often to look: quickly while files grow, rarely at rest, never more than four times a second.
//!
//! | state | looks again after | writes wake at once |
//! |---|---|---|
//! | something grew in one of the last 4 polls | 250 ms | no: the poll comes soon enough |
//! | quiet | 1 s | yes |
//! | quiet for longer, everything watched | 5 s | yes |
//! | quiet for longer, something cannot be watched | 1 s | where watched |
//!
//! Times are durations since the driver's start; this module knows no clock.

use std::time::Duration;

use crate::engine::Wait;

const QUICK: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(5);
/// A directory is listed at least this often, at the next poll.
const SCAN: Duration = Duration::from_secs(1);
const POLLS_A_SECOND: usize = 4;
const QUIET_POLLS: u32 = 4;
const REST_POLLS: u32 = 9;

/// When polls were, and what they found.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The latest polls, oldest first.
    polls: [Option<Duration>; POLLS_A_SECOND],
    last_scan: Option<Duration>,
    quiet: u32,
}

impl Pace {
    /// A poll happens now; answers whether it has to list directories too.
    pub(crate) fn poll(&mut self, now: Duration, scan: bool) -> bool {
        self.polls.rotate_left(1);
        if let Some(last) = self.polls.last_mut() {
            *last = Some(now);
        }
        let due = self
            .last_scan
            .is_none_or(|last| now.saturating_sub(last) >= SCAN);
        if scan || due {
            self.last_scan = Some(now);
        }
        scan || due
    }

    /// Everything the last poll found has been handed out.
    pub(crate) fn rest(&mut self, wait: Wait) {
        self.quiet = if wait.grew {
            0
        } else {
            self.quiet.saturating_add(1)
        };
    }

    /// Whether a single write should wake us.
    pub(crate) const fn is_resting(&self) -> bool {
        self.quiet >= QUIET_POLLS
    }

    /// When to poll if nothing wakes us.
    pub(crate) fn due(&self, wait: Wait, watched: bool) -> Duration {
        let interval = if wait.soon || !self.is_resting() {
            QUICK
        } else if self.quiet < REST_POLLS || !watched || wait.absent {
            SLOW
        } else {
            REST
        };
        let last = self.polls.last().copied().flatten().unwrap_or_default();
        self.earliest().max(last + interval)
    }

    /// When to poll if something woke us.
    pub(crate) fn earliest(&self) -> Duration {
        let oldest = self.polls.first().copied().flatten();
        oldest.map_or(Duration::ZERO, |oldest| oldest + Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polls(seconds: u64, mut wake: impl FnMut(Duration) -> bool, wait: Wait) -> Vec<Duration> {
        let (mut pace, mut now, mut polls) = (Pace::default(), Duration::ZERO, Vec::new());
        while now < Duration::from_secs(seconds) {
            pace.poll(now, false);
            polls.push(now);
            pace.rest(wait);
            let due = pace.due(wait, true);
            now = if wake(now) {
                pace.earliest().max(now)
            } else {
                due
            };
        }
        polls
    }

    #[test]
    fn never_more_than_four_polls_in_any_second() {
        let grows = Wait {
            grew: true,
            ..Wait::default()
        };
        for wake_always in [false, true] {
            let polls = polls(20, |_| wake_always, grows);
            for window in polls.windows(5) {
                let fifth = window[0] + Duration::from_secs(1);
                assert!(window[4] >= fifth, "{window:?}");
            }
        }
    }

    #[test]
    fn at_rest_a_poll_every_five_seconds() {
        let polls = polls(60, |_| false, Wait::default());
        let late = polls.iter().filter(|at| **at > Duration::from_secs(20));
        assert_eq!(late.count(), 8);
    }

    #[test]
    fn what_cannot_be_watched_is_polled_every_second() {
        let absent = Wait {
            absent: true,
            ..Wait::default()
        };
        let polls = polls(60, |_| false, absent);
        let late = polls.iter().filter(|at| **at >= Duration::from_secs(50));
        assert_eq!(late.count(), 10);
    }
}
