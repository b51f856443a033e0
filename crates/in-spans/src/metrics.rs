//! What is counted.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Counters of the receiver.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) spans: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) accepted: IntCounter,
    pub(crate) rejected: IntCounter,
    pub(crate) cut: IntCounter,
    pub(crate) timed_out: IntCounter,
    pub(crate) dropped_journal_full: IntCounter,
    pub(crate) dropped_journal_failed: IntCounter,
    pub(crate) dropped_no_ids: IntCounter,
}

impl Metrics {
    /// Registers the counters, all at 0.
    ///
    /// # Errors
    /// If `registry` has one of the names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let vector = |name: &str, help: &str, label: &str| -> prometheus::Result<IntCounterVec> {
            let vector = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vector.clone()))?;
            Ok(vector)
        };
        let bodies = vector(
            "emco_observer_in_spans_bodies_total",
            "Bodies of spans by what became of them",
            "outcome",
        )?;
        let dropped = vector(
            "emco_observer_in_spans_dropped_spans_total",
            "Spans that were not kept, by reason",
            "reason",
        )?;
        Ok(Self {
            spans: counter(
                "emco_observer_in_spans_received_spans_total",
                "Spans received in whole",
            )?,
            bytes: counter(
                "emco_observer_in_spans_received_bytes_total",
                "Bytes of span bodies after decompression",
            )?,
            accepted: bodies.with_label_values(&["accepted"]),
            rejected: bodies.with_label_values(&["rejected"]),
            cut: bodies.with_label_values(&["cut"]),
            timed_out: bodies.with_label_values(&["timed_out"]),
            dropped_journal_full: dropped.with_label_values(&["spool_full"]),
            dropped_journal_failed: dropped.with_label_values(&["spool_failed"]),
            dropped_no_ids: dropped.with_label_values(&["no_ids"]),
        })
    }
}
