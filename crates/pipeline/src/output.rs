//! What a destination is to a lane: an encoder that fills batches and a task that delivers them.
//!
//! The lane owns batching, retry, dead letters and the cursor; an output owns its protocol. An output
//! may have several batches in flight and may answer them in any order: answers carry the batch's id.

use std::time::Duration;

use bytes::Bytes;
use model::document::Document;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Numbers the batches of one lane; never re-used while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// Encoded documents, ready to be sent; the bytes stay the same in every attempt.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// The encoded items, one after another, in the encoder's format.
    pub bytes: Bytes,
    /// Where each item ends in [`Batch::bytes`]; the number of items is its length.
    pub ends: Vec<u32>,
}

/// Turns documents into items of a batch.
pub trait Encoder: Send {
    /// Appends `document` as one item to `out`, which holds the items encoded before it.
    fn encode(&mut self, document: &Document<'_>, out: &mut Vec<u8>);
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// The destination has it now.
    Delivered,
    /// The destination had it already (same id): as good as delivered, counted apart.
    Duplicate,
    /// Try this item again later; `label` is a bounded reason for metrics.
    Retry {
        /// Bounded reason, e.g. `too_many_requests`.
        label: &'static str,
    },
    /// The destination will never take it.
    Rejected {
        /// Bounded reason, e.g. `mapping`.
        label: &'static str,
        /// The destination's own words, shortened.
        reason: String,
    },
}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything in it was delivered.
    Delivered,
    /// One outcome an item, in the order of the items.
    Items(Vec<ItemOutcome>),
    /// Nothing is known to be stored: the whole batch again, not before `after` if the destination
    /// said so.
    Retry {
        /// The destination's `Retry-After`, if it gave one.
        after: Option<Duration>,
        /// Bounded reason, e.g. `connect`, `timeout`, `http_503`, `ack_timeout`.
        label: &'static str,
    },
    /// The destination refused the batch for its size: split and send the halves.
    TooLarge,
}

/// A destination. Runs until `batches` is closed and everything in flight is answered, or `stop` is
/// cancelled (then what is in flight stays unanswered, and the lane keeps it).
///
/// Every batch is answered exactly once. Connection loss answers everything that was in flight on it
/// with [`Answer::Retry`]; the output reconnects with back-off and jitter by itself.
pub trait Output: Send + 'static {
    /// Delivers `batches` and answers each of them.
    fn run(
        self,
        batches: mpsc::Receiver<Batch>,
        answers: mpsc::Sender<(BatchId, Answer)>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}
