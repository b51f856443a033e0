//! Which bytes of a file are in the verdict log.

use model::line::Extent;

/// A set of byte ranges of one file; normally one range from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    // Sorted, disjoint, not touching, not empty: (start, end).
    ranges: Vec<(u64, u64)>,
}

impl Coverage {
    /// Adds the bytes of `extent`.
    pub fn insert(&mut self, extent: Extent) {
        self.insert_range(extent.offset, extent.end());
    }

    /// Adds the bytes from `start` up to `end`.
    pub fn insert_range(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if let Some(last) = self.ranges.last_mut()
            && last.0 <= start
            && start <= last.1
        {
            last.1 = last.1.max(end);
            return;
        }
        let from = self.ranges.partition_point(|range| range.1 < start);
        let to = self.ranges.partition_point(|range| range.0 <= end);
        let merged = self
            .ranges
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .fold((start, end), |all, range| {
                (all.0.min(range.0), all.1.max(range.1))
            });
        self.ranges.splice(from..to, [merged]);
    }

    /// Whether the byte at `offset` is in the set.
    pub fn contains(&self, offset: u64) -> bool {
        let next = self.ranges.partition_point(|range| range.1 <= offset);
        self.ranges.get(next).is_some_and(|range| range.0 <= offset)
    }

    /// The lowest offset that is not in the set: where reading resumes.
    pub fn first_uncovered(&self) -> u64 {
        match self.ranges.first() {
            Some((0, end)) => *end,
            _ => 0,
        }
    }

    /// One past the highest byte in the set.
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }

    /// The ranges as `(start, end)`, sorted, disjoint, not touching.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The set holds exactly the bytes that were put in, as few ranges as possible.
        #[test]
        fn holds_what_was_put_in(parts in prop::collection::vec((0u64..60, 0u64..12), 0..24)) {
            let (mut coverage, mut bytes) = (Coverage::default(), BTreeSet::new());
            for (start, length) in parts {
                coverage.insert_range(start, start + length);
                bytes.extend(start..start + length);
            }
            for offset in 0..80 {
                prop_assert_eq!(coverage.contains(offset), bytes.contains(&offset), "{}", offset);
            }
            let first = (0..80).find(|offset| !bytes.contains(offset));
            prop_assert_eq!(Some(coverage.first_uncovered()), first);
            prop_assert!(coverage.ranges().windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
