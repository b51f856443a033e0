//! Median and spread.

/// Results of equal runs, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Samples {
    sorted: Vec<f64>,
}

impl Samples {
    /// A figure that does not vary.
    pub(super) fn one(value: f64) -> Self {
        [value].into_iter().collect()
    }

    /// The middle one; the mean of the two in the middle of an even number.
    pub(super) fn median(&self) -> f64 {
        let at = |index: usize| self.sorted.get(index).copied().unwrap_or(0.0);
        let middle = self.sorted.len() / 2;
        if self.sorted.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        }
    }

    /// The least.
    pub(super) fn min(&self) -> f64 {
        self.sorted.first().copied().unwrap_or(0.0)
    }

    /// The greatest.
    pub(super) fn max(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(0.0)
    }

    /// How many runs.
    pub(super) fn count(&self) -> usize {
        self.sorted.len()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) fn from_count(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (samples, expected) in [
            (vec![5.0], 5.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 3.0], 2.5),
        ] {
            let samples: Samples = samples.into_iter().collect();
            assert!((samples.median() - expected).abs() < 1e-9, "{samples:?}");
        }
    }
}
