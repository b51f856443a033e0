//! Counters of the spools of one process.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metric families; one set a process, one label value a queue.
#[derive(Clone, Debug)]
pub struct Metrics {
    bytes: IntGaugeVec,
    appended: IntCounterVec,
    refused: IntCounterVec,
    damaged: IntCounterVec,
}

/// The metrics of one queue.
///
/// The default counts without being exposed anywhere.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    /// Bytes on disk.
    pub bytes: IntGauge,
    /// Batches appended.
    pub appended: IntCounter,
    /// Batches refused because the queue was full.
    pub refused: IntCounter,
    /// Places where damage was found and skipped, torn tails included.
    pub damaged: IntCounter,
}

impl Metrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When `registry` has metrics of these names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let label = &["queue"];
        let counter = |name: &str, help: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), label)?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let bytes = IntGaugeVec::new(
            Opts::new("emco_observer_spool_bytes", "Bytes on disk."),
            label,
        )?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(Self {
            bytes,
            appended: counter("emco_observer_spool_batches_total", "Batches appended.")?,
            refused: counter(
                "emco_observer_spool_refused_batches_total",
                "Batches refused because the queue was full.",
            )?,
            damaged: counter(
                "emco_observer_spool_damages_total",
                "Torn tails and damaged places that were skipped.",
            )?,
        })
    }

    /// The metrics of the queue called `name`.
    pub fn queue(&self, name: &'static str) -> QueueMetrics {
        let label = &[name];
        QueueMetrics {
            bytes: self.bytes.with_label_values(label),
            appended: self.appended.with_label_values(label),
            refused: self.refused.with_label_values(label),
            damaged: self.damaged.with_label_values(label),
        }
    }
}

impl Default for QueueMetrics {
    #[expect(clippy::expect_used, reason = "the names are constant and valid")]
    fn default() -> Self {
        let counter = || IntCounter::new("unregistered", "-").expect("a valid name");
        Self {
            bytes: IntGauge::new("unregistered", "-").expect("a valid name"),
            appended: counter(),
            refused: counter(),
            damaged: counter(),
        }
    }
}
