//! How a lane batches, repeats and gives up.

use std::time::Duration;

/// Settings of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// A batch is sent when its items reach this size; 1 MiB.
    pub batch_bytes: usize,
    /// A batch is sent when it has this many items; 16384.
    pub batch_items: usize,
    /// A batch is sent when its first item is this old; 200 ms.
    pub batch_age: Duration,
    /// Batches that are sent and not answered; 4.
    pub in_flight_max: usize,
    /// First pause before a repetition; doubles with each; 250 ms.
    pub backoff_min: Duration,
    /// Longest pause of our own; 30 s.
    pub backoff_max: Duration,
    /// Longest pause a destination may ask for; 10 min.
    pub retry_after_max: Duration,
    /// How long something is repeated before it becomes a dead letter; 72 h.
    pub retry_age_max: Duration,
    /// After so many failures of a batch, while others are taken, the batch is suspected and split
    /// to find the item that fails; 8.
    pub suspect_attempts: u32,
    /// Batches behind an unfinished one that may be finished before the unfinished one is given up;
    /// bounds the memory of the lane and what is sent twice after a crash; 1024.
    pub window_batches: usize,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            batch_bytes: 1 << 20,
            batch_items: 16_384,
            batch_age: Duration::from_millis(200),
            in_flight_max: 4,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_mins(10),
            retry_age_max: Duration::from_hours(72),
            suspect_attempts: 8,
            window_batches: 1024,
        }
    }
}

impl LaneSettings {
    /// Bytes of batches that are closed and not finished; beyond this no more entries are read.
    pub(crate) const fn held_bytes_max(&self) -> usize {
        self.batch_bytes * self.in_flight_max * 2
    }
}
