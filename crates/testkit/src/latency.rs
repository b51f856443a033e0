//! How long lines took from written to stored.

use serde::{Deserialize, Serialize};

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the lines took at most this long.
    pub p50: f64,
    /// Ninety-nine of a hundred lines took at most this long.
    pub p99: f64,
}

impl Latency {
    /// From durations in nanoseconds, in any order; all zero if there are none.
    #[must_use]
    pub fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self {
            p50: millis(percentile(&nanos, 50)),
            p99: millis(percentile(&nanos, 99)),
        }
    }
}

/// The nearest-rank percentile of sorted values; 0 if there are none.
#[must_use]
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent.min(100)).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "52 bits of nanoseconds are 52 days"
)]
fn millis(nanos: u64) -> f64 {
    (nanos / 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=200).map(|n| n * 1_000_000).rev().collect();
        assert_eq!(
            Latency::of(values),
            Latency {
                p50: 100.0,
                p99: 198.0
            }
        );
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[7], 100), 7);
        assert_eq!(percentile(&[], 99), 0);
    }
}
