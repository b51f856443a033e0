//! What the elastic output counts.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::Error;

/// Figures of all elastic outputs of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) requests: IntCounter,
    pub(crate) sent_bytes: IntCounter,
    pub(crate) failures: IntCounterVec,
    pub(crate) items: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) request_seconds: Histogram,
}

impl Metrics {
    /// Makes the figures and registers them.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            requests: IntCounter::new(
                "emco_observer_elastic_requests_total",
                "Bulk requests sent",
            )?,
            sent_bytes: IntCounter::new(
                "emco_observer_elastic_sent_bytes_total",
                "Bytes of bulk requests before compression",
            )?,
            failures: IntCounterVec::new(
                Opts::new(
                    "emco_observer_elastic_failures_total",
                    "Bulk requests that stored nothing as far as is known, by reason",
                ),
                &["reason"],
            )?,
            items: IntCounterVec::new(
                Opts::new(
                    "emco_observer_elastic_items_total",
                    "Items of answered bulk requests by outcome",
                ),
                &["outcome"],
            )?,
            in_flight: IntGauge::new(
                "emco_observer_elastic_in_flight_requests",
                "Bulk requests that are not answered yet",
            )?,
            request_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "emco_observer_elastic_request_seconds",
                    "Time from sending a bulk request to its whole answer",
                )
                .buckets(vec![
                    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
                ]),
            )?,
        };
        for reason in Error::OF_SURROUNDINGS {
            metrics.failures.with_label_values(&[reason]);
        }
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.sent_bytes.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.items.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        Ok(metrics)
    }
}
