//! Encoded items on their way: what one batch carries, and what is left of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::ids::DocumentId;

use crate::dead_letter::DeadLetter;
use crate::output::{Batch, BatchId};

/// Items of one group that are sent together.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) group: u64,
    pub(super) bytes: Bytes,
    pub(super) ends: Vec<u32>,
    pub(super) ids: Vec<DocumentId>,
    pub(super) trouble: Trouble,
}

/// The history of a parcel that failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    pub(super) attempts: u32,
    pub(super) since: Option<Instant>,
    pub(super) due: Option<Instant>,
    /// Answers with success the lane had seen when this parcel failed first.
    pub(super) successes: u64,
}

impl Parcel {
    pub(super) fn items(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn batch(&self, id: BatchId) -> Batch {
        Batch {
            id,
            bytes: self.bytes.clone(),
            ends: self.ends.clone(),
        }
    }

    /// The bytes of the item at `place`, shared.
    fn item(&self, place: usize) -> Bytes {
        let start = match place.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.ends.get(place).copied().unwrap_or(start);
        let range = start as usize..end as usize;
        match self.bytes.get(range.clone()) {
            Some(_) => self.bytes.slice(range),
            None => Bytes::new(),
        }
    }

    /// A parcel of the items that `keep` chooses, in their order.
    pub(super) fn remaining(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let (mut ends, mut ids) = (Vec::new(), Vec::new());
        for (place, id) in self
            .ids
            .iter()
            .enumerate()
            .filter(|(place, _)| keep(*place))
        {
            bytes.extend_from_slice(&self.item(place));
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            ids.push(*id);
        }
        bytes.shrink_to_fit();
        Self {
            group: self.group,
            bytes: bytes.into(),
            ends,
            ids,
            trouble: self.trouble,
        }
    }

    /// Two parcels of half the items each.
    pub(super) fn halves(&self) -> [Self; 2] {
        let half = self.items() / 2;
        [
            self.remaining(|place| place < half),
            self.remaining(|place| place >= half),
        ]
    }

    /// A dead letter for the item at `place`; its bytes are copied, so that the batch can go.
    pub(super) fn letter(
        &self,
        place: usize,
        label: &'static str,
        reason: String,
    ) -> Option<DeadLetter> {
        Some(DeadLetter {
            id: *self.ids.get(place)?,
            label,
            reason,
            item: Bytes::copy_from_slice(&self.item(place)),
        })
    }
}

/// The pause before repetition number `attempts`: doubling, capped, with the upper half random.
pub(super) fn pause(
    attempts: u32,
    (min, max): (Duration, Duration),
    rng: &mut fastrand::Rng,
) -> Duration {
    let doubled = min.saturating_mul(1_u32.checked_shl(attempts.min(31)).unwrap_or(1));
    let full = doubled.min(max);
    full.mul_f64(0.5 + rng.f64() / 2.0)
}
