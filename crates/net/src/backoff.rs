//! How long to wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

/// The waits between attempts: the ceiling doubles from `base` to `cap`, and the wait is a random
/// part of it, so that a thousand clients of one restarted server do not come back in one instant.
///
/// Knows no clock and no generator: randomness is an argument, the caller does the waiting.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts with no failure seen.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            failures: 0,
        }
    }

    /// Counts a failure and answers how long to wait; `random` is a fresh number in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(self.cap);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Forgets the failures: something worked.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts failed in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

impl Default for Backoff {
    /// From half a second to half a minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let ceilings: Vec<u128> = (0..6).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.failures(), 6);
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_millis(100));
    }

    #[test]
    fn jitter_covers_everything_below_the_ceiling() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8));
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        assert_eq!(backoff.next(0.25), Duration::from_secs(2));
        assert_eq!(
            backoff.next(7.0),
            Duration::from_secs(8),
            "out of range is clamped"
        );
    }

    #[test]
    fn a_year_of_failures_does_not_overflow() {
        let mut backoff = Backoff::default();
        for _ in 0..10_000 {
            assert!(backoff.next(1.0) <= Duration::from_secs(30));
        }
    }
}
