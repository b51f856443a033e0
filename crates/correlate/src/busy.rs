//! The moments in which a request waits for somebody and cannot print.
//!
//! There are thousands of requests in memory, and dozens of calls in each, nearly all within a few
//! seconds: those are counted from the first one, in half of the room.

/// Sorted, disjoint intervals of nanoseconds. Where one that is near meets one that is far they stay two:
/// what is only inside both together is not known to be busy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy {
    /// What the near ones count from.
    base: u64,
    near: Vec<(u32, u32)>,
    far: Vec<(u64, u64)>,
}

/// Spans are rounded to whole microseconds; the edges of an interval are not proof.
const EDGE_NANOS: u64 = 2_000;
/// More intervals than this are not kept: a missing one only widens.
const INTERVALS_MAX: usize = 16_384;
/// Calls do not come in the order in which they began: so much earlier is near, too.
const BEFORE_NANOS: u64 = 1_000_000_000;

impl Busy {
    /// Adds the interval of one synchronous client span.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let (start, end) = (
            start.saturating_add(EDGE_NANOS),
            end.saturating_sub(EDGE_NANOS),
        );
        if start >= end || self.near.len() + self.far.len() >= INTERVALS_MAX {
            return;
        }
        if self.near.is_empty() && self.far.is_empty() {
            self.base = start.saturating_sub(BEFORE_NANOS);
        }
        match self.near(start).zip(self.near(end)) {
            Some((start, end)) => insert(&mut self.near, start, end),
            None => insert(&mut self.far, start, end),
        }
    }

    /// Gives back the room that is not needed, by moving: an allocator leaves in its place what is more
    /// than half full.
    pub(crate) fn shrink(&mut self) {
        self.near = self.near.as_slice().to_vec();
        self.far = self.far.as_slice().to_vec();
    }

    /// Whether everything from `from` to `to` lies strictly inside one interval.
    pub(crate) fn covers(&self, from: u64, to: u64) -> bool {
        let near = self.near(from).zip(self.near(to));
        near.is_some_and(|(from, to)| holds(&self.near, from, to)) || holds(&self.far, from, to)
    }

    /// A moment as the near ones count it, if it is near.
    fn near(&self, time: u64) -> Option<u32> {
        u32::try_from(time.checked_sub(self.base)?).ok()
    }
}

fn insert<T: Copy + Ord>(intervals: &mut Vec<(T, T)>, start: T, end: T) {
    let at = intervals.partition_point(|(_, other)| *other < start);
    match intervals.get_mut(at) {
        Some(next) if next.0 <= end => {
            // overlaps the next one: parallel calls or a nested span; the union is busy
            next.0 = next.0.min(start);
            next.1 = next.1.max(end);
            absorb_after(intervals, at);
        }
        _ => intervals.insert(at, (start, end)),
    }
}

fn holds<T: Copy + Ord>(intervals: &[(T, T)], from: T, to: T) -> bool {
    let at = intervals.partition_point(|(_, end)| *end < to);
    intervals
        .get(at)
        .is_some_and(|(start, end)| *start < from && to < *end)
}

fn absorb_after<T: Copy + Ord>(intervals: &mut Vec<(T, T)>, at: usize) {
    let Some(&(_, end)) = intervals.get(at) else {
        return;
    };
    let mut last = at + 1;
    let mut reach = end;
    while let Some(&(start, end)) = intervals.get(last) {
        if start > reach {
            break;
        }
        reach = reach.max(end);
        last += 1;
    }
    if let Some(interval) = intervals.get_mut(at) {
        interval.1 = reach;
    }
    intervals.drain(at + 1..last);
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

        /// Also where some are near the first one, some far from it, and some on the border.
        #[test]
        fn near_and_far_are_covered(
            spans in prop::collection::vec((0u64..2_000_000, 0u64..200_000), 0..60),
            times in prop::collection::vec(0u64..2_300_000, 1..60),
            to_first in prop::sample::select(vec![
                0, BEFORE_NANOS - 1_000_000, BEFORE_NANOS + 1_000_000, 1 << 40,
            ]),
            is_first in any::<bool>(),
        ) {
            let later = 1 << 50;
            let reach = u64::from(u32::MAX) - BEFORE_NANOS - 1_000_000;
            let first = if is_first { later - reach } else { later + to_first };
            let mut all = vec![(first, 10_000)];
            all.extend(spans.into_iter().map(|(start, length)| (later + start, length)));
            let mut busy = Busy::default();
            for (start, length) in &all { busy.add(*start, start + length); }
            for time in times.into_iter().map(|time| later + time).chain([first + 5_000]) {
                let inside = |(start, length): &(u64, u64)| start + EDGE_NANOS < time && time + EDGE_NANOS < start + length;
                let touching = |(start, length): &(u64, u64)| start + EDGE_NANOS <= time && time + EDGE_NANOS <= start + length;
                prop_assert!(busy.covers(time, time) || !all.iter().any(inside));
                prop_assert!(!busy.covers(time, time) || all.iter().any(touching));
            }
        }
    }
}
