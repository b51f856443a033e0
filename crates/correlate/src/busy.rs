//! The moments in which a request waits for somebody and cannot print.

/// Sorted, disjoint intervals of nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy {
    intervals: Vec<(u64, u64)>,
}

/// Spans are rounded to whole microseconds; the edges of an interval are not proof.
const EDGE_NANOS: u64 = 2_000;
/// More intervals than this are not kept: a missing one only widens.
const INTERVALS_MAX: usize = 16_384;

impl Busy {
    /// Adds the interval of one synchronous client span.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let (start, end) = (
            start.saturating_add(EDGE_NANOS),
            end.saturating_sub(EDGE_NANOS),
        );
        if start >= end || self.intervals.len() >= INTERVALS_MAX {
            return;
        }
        let at = self.intervals.partition_point(|(_, other)| *other < start);
        match self.intervals.get_mut(at) {
            Some(next) if next.0 <= end => {
                // overlaps the next one: parallel calls or a nested span; the union is busy
                next.0 = next.0.min(start);
                next.1 = next.1.max(end);
                self.absorb_after(at);
            }
            _ => self.intervals.insert(at, (start, end)),
        }
    }

    /// Gives back the room that is not needed.
    pub(crate) fn shrink(&mut self) {
        self.intervals.shrink_to_fit();
    }

    /// Whether everything from `from` to `to` lies strictly inside one interval.
    pub(crate) fn covers(&self, from: u64, to: u64) -> bool {
        let at = self.intervals.partition_point(|(_, end)| *end < to);
        self.intervals
            .get(at)
            .is_some_and(|(start, end)| *start < from && to < *end)
    }

    fn absorb_after(&mut self, at: usize) {
        let Some(&(_, end)) = self.intervals.get(at) else {
            return;
        };
        let mut last = at + 1;
        let mut reach = end;
        while let Some(&(start, end)) = self.intervals.get(last) {
            if start > reach {
                break;
            }
            reach = reach.max(end);
            last += 1;
        }
        if let Some(interval) = self.intervals.get_mut(at) {
            interval.1 = reach;
        }
        self.intervals.drain(at + 1..last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The set answers like a plain list of intervals would.
        #[test]
        fn covers_what_was_added(spans in prop::collection::vec((0u64..2_000_000, 0u64..200_000), 0..60), times in prop::collection::vec(0u64..2_300_000, 1..60)) {
            let mut busy = Busy::default();
            for (start, length) in &spans { busy.add(*start, start + length); }
            for time in times {
                let inside = |(start, length): &(u64, u64)| start + EDGE_NANOS < time && time + EDGE_NANOS < start + length;
                let touching = |(start, length): &(u64, u64)| start + EDGE_NANOS <= time && time + EDGE_NANOS <= start + length;
                let plain = spans.iter().any(inside);
                prop_assert!(busy.covers(time, time) || !plain);
                prop_assert!(!busy.covers(time, time) || spans.iter().any(touching));
            }
        }
    }
}
