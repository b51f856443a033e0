//! Ids that were seen, within bounds of number and time.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use model::ids::DocumentId;
use model::time::UnixNanos;

/// Ids remembered; the oldest are forgotten first.
const IDS_MAX: usize = 65_536;
/// An id is remembered so long: who tells of a request again does it within minutes, and after a
/// restart the time begins anew.
const REMEMBER: Duration = Duration::from_hours(1);
/// What is empty keeps room for so many.
const CALM: usize = 64;

/// Documents by 64-bit hashes of their ids, which take a quarter of the room. Nobody knows the hashes'
/// key, so that nobody can make two that are the same; by chance two of 65 536 are once in nine thousand
/// million.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    hasher: RandomState,
    ids: HashSet<u64>,
    order: VecDeque<(u64, UnixNanos)>,
}

impl Remembered {
    /// Answers whether `id` was new.
    pub(crate) fn add(&mut self, id: DocumentId, now: UnixNanos) -> bool {
        self.forget_before(now);
        let id = self.hasher.hash_one(id);
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back((id, now));
        if self.order.len() > IDS_MAX {
            self.forget_oldest();
        }
        true
    }

    pub(crate) fn contains(&self, id: DocumentId) -> bool {
        self.ids.contains(&self.hasher.hash_one(id))
    }

    /// Forgets what is too old at `now`.
    pub(crate) fn forget_before(&mut self, now: UnixNanos) {
        let before = now.minus(u64::try_from(REMEMBER.as_nanos()).unwrap_or(u64::MAX));
        while self.order.front().is_some_and(|(_, at)| *at < before) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((oldest, _)) = self.order.pop_front() {
            self.ids.remove(&oldest);
        }
        if self.order.len() < self.order.capacity() / 4 {
            let room = (self.order.len() * 2).max(CALM);
            self.order.shrink_to(room);
            self.ids.shrink_to(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::{SpanId, TraceId};

    const T0: UnixNanos = UnixNanos(1_795_406_976_000_000_000);

    fn id(number: usize) -> DocumentId {
        let mut trace = [7; 16];
        trace[..8].copy_from_slice(&number.to_le_bytes());
        DocumentId::Request(TraceId(trace), SpanId([1; 8]))
    }

    fn after(time: Duration) -> UnixNanos {
        T0.plus(u64::try_from(time.as_nanos()).unwrap())
    }

    #[test]
    fn an_id_is_new_once() {
        let mut known = Remembered::default();
        assert!(known.add(id(1), T0));
        assert!(!known.add(id(1), T0) && known.contains(id(1)) && !known.contains(id(2)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut known = Remembered::default();
        for number in 0..IDS_MAX + 10 {
            assert!(known.add(id(number), T0));
        }
        assert_eq!((known.ids.len(), known.order.len()), (IDS_MAX, IDS_MAX));
        assert!(!known.contains(id(9)) && known.contains(id(10)));
    }

    #[test]
    fn what_is_old_is_forgotten_and_its_room_given_back() {
        let mut known = Remembered::default();
        for number in 0..10_000 {
            known.add(id(number), T0);
        }
        known.forget_before(after(REMEMBER));
        assert!(known.contains(id(0)));
        known.add(id(10_000), after(REMEMBER + Duration::from_nanos(1)));
        assert!(!known.contains(id(9_999)) && known.contains(id(10_000)));
        assert!(
            known.order.capacity() <= 4 * CALM,
            "{}",
            known.order.capacity()
        );
        assert!(known.ids.capacity() <= 4 * CALM, "{}", known.ids.capacity());
    }
}
