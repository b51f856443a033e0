//! What the forward output counts.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::Error;

/// Figures of all forward outputs of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) connections: IntCounter,
    pub(crate) failures: IntCounterVec,
    pub(crate) sent_chunks: IntCounter,
    pub(crate) sent_bytes: IntCounter,
    pub(crate) acknowledged_chunks: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) ack_seconds: Histogram,
}

impl Metrics {
    /// Makes the figures and registers them.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("emco_observer_forward_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let failures = IntCounterVec::new(
            Opts::new(
                "emco_observer_forward_failures_total",
                "Connections to forward receivers that failed or ended early, by reason",
            ),
            &["reason"],
        )?;
        for reason in Error::OF_RECEIVERS {
            failures.with_label_values(&[reason]);
        }
        let in_flight = IntGauge::new(
            "emco_observer_forward_in_flight_chunks",
            "Chunks sent to forward receivers and not acknowledged yet",
        )?;
        let ack_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "emco_observer_forward_ack_seconds",
                "Time from sending a chunk to its acknowledgement",
            )
            .buckets(vec![
                0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            ]),
        )?;
        registry.register(Box::new(failures.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(ack_seconds.clone()))?;
        Ok(Self {
            connections: counter(
                "connections_total",
                "Connections opened to forward receivers",
            )?,
            failures,
            sent_chunks: counter("sent_chunks_total", "Chunks handed to the network")?,
            sent_bytes: counter("sent_bytes_total", "Bytes of chunks handed to the network")?,
            acknowledged_chunks: counter(
                "acknowledged_chunks_total",
                "Chunks acknowledged by forward receivers",
            )?,
            in_flight,
            ack_seconds,
        })
    }
}
