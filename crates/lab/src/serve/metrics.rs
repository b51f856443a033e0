//! What the lab counts of itself.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::store::{Lane, Stored, StoredSpans};

/// Counters of the receivers and the store.
pub(crate) struct Metrics {
    stored: IntCounterVec,
    /// Transactions that held documents.
    pub(crate) commits: IntCounter,
    /// Groups that could not be stored (and were not acknowledged).
    pub(crate) commit_failures: IntCounter,
    /// Documents that are stored and not yet in the full-text index.
    pub(crate) index_lag: IntGauge,
    /// Steps of the full-text index that failed.
    pub(crate) index_failures: IntCounter,
    /// Open forward connections.
    pub(crate) forward_connections: IntGauge,
    /// Forward messages that were acknowledged or needed no acknowledgement.
    pub(crate) forward_messages: IntCounter,
    /// Forward heartbeats.
    pub(crate) forward_heartbeats: IntCounter,
    /// Forward connections closed for what they sent, by reason.
    pub(crate) forward_errors: IntCounterVec,
    /// Requests of sidecars that were turned away, by reason.
    pub(crate) ingest_refusals: IntCounterVec,
    /// Bulk requests, by outcome.
    pub(crate) bulk_requests: IntCounterVec,
    spans: IntCounterVec,
    /// Scrapes of sidecars, by outcome.
    pub(crate) scrapes: IntCounterVec,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| register(registry, IntCounter::new(name, help)?);
        let gauge = |name, help| register(registry, IntGauge::new(name, help)?);
        let vector = |name, help, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            stored: vector(
                "emco_observer_lab_documents_total",
                "Documents that arrived and were committed, by lane and what became of them.",
                &["lane", "outcome"],
            )?,
            commits: counter(
                "emco_observer_lab_commits_total",
                "Transactions that stored documents.",
            )?,
            commit_failures: counter(
                "emco_observer_lab_commit_failures_total",
                "Groups of documents that could not be stored and were not acknowledged.",
            )?,
            index_lag: gauge(
                "emco_observer_lab_index_lag_documents",
                "Documents stored and not yet in the full-text index.",
            )?,
            index_failures: counter(
                "emco_observer_lab_index_failures_total",
                "Steps of the full-text index that failed.",
            )?,
            forward_connections: gauge(
                "emco_observer_lab_forward_connections",
                "Open forward connections.",
            )?,
            forward_messages: counter(
                "emco_observer_lab_forward_messages_total",
                "Forward messages stored.",
            )?,
            forward_heartbeats: counter(
                "emco_observer_lab_forward_heartbeats_total",
                "Heartbeats on forward connections.",
            )?,
            forward_errors: vector(
                "emco_observer_lab_forward_errors_total",
                "Forward connections closed for what they sent, by reason.",
                &["reason"],
            )?,
            ingest_refusals: vector(
                "emco_observer_lab_ingest_refusals_total",
                "Requests at the sidecars' address that were turned away, by reason.",
                &["reason"],
            )?,
            bulk_requests: vector(
                "emco_observer_lab_bulk_requests_total",
                "Bulk requests, by outcome.",
                &["outcome"],
            )?,
            spans: vector(
                "emco_observer_lab_spans_total",
                "Spans that arrived, by what became of them.",
                &["outcome"],
            )?,
            scrapes: vector(
                "emco_observer_lab_scrapes_total",
                "Scrapes of sidecars, by outcome.",
                &["outcome"],
            )?,
        })
    }

    /// Counts what became of the spans of one request.
    pub(crate) fn count_spans(&self, stored: StoredSpans, refused: i64) {
        for (outcome, count) in [
            ("created", stored.created),
            ("duplicate", stored.duplicate),
            ("refused", refused.unsigned_abs()),
        ] {
            self.spans.with_label_values(&[outcome]).inc_by(count);
        }
    }

    /// Counts what became of the documents of one group; answers how many were new.
    pub(crate) fn count_stored(&self, lane: Lane, outcomes: &[Stored]) -> i64 {
        let count = |wanted: Stored, name: &str| {
            let count = outcomes.iter().filter(|one| **one == wanted).count();
            self.stored
                .with_label_values(&[lane.name(), name])
                .inc_by(count as u64);
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        count(Stored::Duplicate, "duplicate");
        count(Stored::Updated, "updated");
        count(Stored::Created, "created")
    }

    /// Documents of `lane` with `outcome` since the start.
    pub(crate) fn stored(&self, lane: Lane, outcome: &str) -> u64 {
        self.stored.with_label_values(&[lane.name(), outcome]).get()
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
