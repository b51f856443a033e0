//! The metrics poller: a loop that sleeps a fixed time between two passes.
//!
//! Each pass is a root span that may take longer than a line may wait, and its name is known only
//! when it ends. But the timer says when the next pass begins: the one trace that begins at that
//! moment is the pass, because the pass must begin then and shows its first call at once.

/// How much earlier than computed a pass may show its first call (clock rounding).
const EARLY: u64 = 2_000_000;
/// How much later.
const LATE: u64 = 60_000_000;
/// Intervals outside this are not a timer.
const PERIODS: std::ops::Range<u64> = 500_000_000..3_600_000_000_000;

/// What is known of the poller of one process.
#[derive(Debug)]
pub(crate) struct Poller {
    period: u64,
    last_end: u64,
}

impl Poller {
    pub(crate) fn new(period: u64) -> Self {
        Self {
            period,
            last_end: 0,
        }
    }

    /// A pass is known: its root span arrived.
    pub(crate) fn pass(&mut self, start: u64, end: u64) {
        let slept = start.saturating_sub(self.last_end);
        if self.last_end > 0
            && PERIODS.contains(&slept)
            && !self.expects(start)
            && slept < self.period
        {
            self.period = slept;
        }
        self.last_end = self.last_end.max(end);
    }

    /// Whether a trace whose first call began at `first_call` began when the next pass had to.
    pub(crate) fn expects(&self, first_call: u64) -> bool {
        let next = self.last_end.saturating_add(self.period);
        self.last_end > 0
            && first_call.saturating_add(EARLY) >= next
            && first_call <= next.saturating_add(LATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_next_pass_begins_one_period_after_the_last_ended() {
        let mut poller = Poller::new(15 * SECOND);
        assert!(!poller.expects(15 * SECOND), "nothing is known yet");
        poller.pass(100 * SECOND, 107 * SECOND);
        assert!(poller.expects(122 * SECOND + 1_000_000));
        assert!(!poller.expects(121 * SECOND) && !poller.expects(123 * SECOND));
    }

    #[test]
    fn a_shorter_period_is_learned() {
        let mut poller = Poller::new(15 * SECOND);
        poller.pass(100 * SECOND, 101 * SECOND);
        poller.pass(106 * SECOND, 107 * SECOND);
        assert!(poller.expects(112 * SECOND));
    }
}
