//! What the otlp output counts: received = exported + dropped + waiting, at all times.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::Error;
use crate::rules::Rule;

/// Why a span was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A noise rule dropped it.
    Noise(Rule),
    /// It has no trace id or no id.
    NoIds,
    /// It could not be written to disk when it came.
    NotKept,
    /// The disk's share was full, and it was the oldest.
    DiskFull,
    /// It could not be read back.
    Damaged,
    /// The receiver said that it took the request without this span.
    PartialSuccess,
    /// The receiver will never take the request it was in.
    Refused,
    /// It is larger than the receiver takes, even alone.
    TooLarge,
}

impl Dropped {
    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noise(rule) => rule.name(),
            Self::NoIds => "no_ids",
            Self::NotKept => "not_kept",
            Self::DiskFull => "disk_full",
            Self::Damaged => "damaged",
            Self::PartialSuccess => "partial_success",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
        }
    }
}

/// Figures of the otlp output of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Spans that came in, those found on disk at the start included.
    pub received: IntCounter,
    /// Spans that the receiver took.
    pub exported: IntCounter,
    /// Spans on disk or under way.
    pub waiting: IntGauge,
    dropped: IntCounterVec,
    noise_kept: IntCounterVec,
    pub(crate) requests: IntCounter,
    pub(crate) sent_bytes: IntCounter,
    pub(crate) failures: IntCounterVec,
    pub(crate) request_seconds: Histogram,
}

impl Metrics {
    /// Makes the figures and registers them.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            received: IntCounter::new(
                "emco_observer_otlp_received_spans_total",
                "Spans to export, those found on disk at the start included",
            )?,
            exported: IntCounter::new(
                "emco_observer_otlp_exported_spans_total",
                "Spans that the receiver took",
            )?,
            waiting: IntGauge::new(
                "emco_observer_otlp_waiting_spans",
                "Spans on disk or under way to the receiver",
            )?,
            dropped: IntCounterVec::new(
                Opts::new(
                    "emco_observer_otlp_dropped_spans_total",
                    "Spans that were not exported, by noise rule or other reason",
                ),
                &["reason"],
            )?,
            noise_kept: IntCounterVec::new(
                Opts::new(
                    "emco_observer_otlp_noise_kept_spans_total",
                    "Spans that a noise rule kept because of the share of their trace",
                ),
                &["rule"],
            )?,
            requests: IntCounter::new(
                "emco_observer_otlp_requests_total",
                "Requests sent, repeated ones included",
            )?,
            sent_bytes: IntCounter::new(
                "emco_observer_otlp_sent_bytes_total",
                "Bytes of requests as they were sent",
            )?,
            failures: IntCounterVec::new(
                Opts::new(
                    "emco_observer_otlp_failures_total",
                    "Requests that were not taken, by reason",
                ),
                &["reason"],
            )?,
            request_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "emco_observer_otlp_request_seconds",
                    "Time from sending a request to its whole answer",
                )
                .buckets(vec![
                    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
                ]),
            )?,
        };
        metrics.register(registry)?;
        for reason in Error::OF_SERVERS {
            metrics.failures.with_label_values(&[reason]);
        }
        for rule in Rule::ALL {
            metrics.noise_kept.with_label_values(&[rule.name()]);
            metrics.drop(Dropped::Noise(rule), 0);
        }
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.received.clone()))?;
        registry.register(Box::new(self.exported.clone()))?;
        registry.register(Box::new(self.waiting.clone()))?;
        registry.register(Box::new(self.dropped.clone()))?;
        registry.register(Box::new(self.noise_kept.clone()))?;
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.sent_bytes.clone()))?;
        registry.register(Box::new(self.failures.clone()))?;
        registry.register(Box::new(self.request_seconds.clone()))
    }

    /// Counts spans that are not exported.
    pub fn drop(&self, reason: Dropped, spans: u64) {
        self.dropped
            .with_label_values(&[reason.name()])
            .inc_by(spans);
    }

    pub(crate) fn noise_kept(&self, rule: Rule, spans: u64) {
        self.noise_kept
            .with_label_values(&[rule.name()])
            .inc_by(spans);
    }
}
