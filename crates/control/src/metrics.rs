//! What the control plane counts.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// A review takes microseconds; a namespace that has to be asked for takes milliseconds.
const BUCKETS: [f64; 8] = [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.05, 0.5, 2.0];

/// All of it. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Reviews by outcome: `injected`, `replaced`, `current`, `malformed`, or why a pod was skipped.
    pub reviews: IntCounterVec,
    /// Seconds that a review takes.
    pub review_seconds: Histogram,
    /// Things that are less than was asked for, by kind.
    pub notes: IntCounterVec,
    /// Events by whether they were sent: `sent`, `known` (another replica did), `failed`, `full`.
    pub events: IntCounterVec,
    /// Questions about tokens by outcome: `good`, `bad`, `failed`.
    pub token_reviews: IntCounterVec,
    /// Pods of injected namespaces by how it stands with their sidecar.
    pub pods: IntGaugeVec,
    /// Times that the pods of a namespace were read, by whether they could be: `done`, `failed`.
    pub pod_reads: IntCounterVec,
    /// Whether new pods get less, as the sidecar does not run.
    pub rolled_back: IntGauge,
    /// Certificates and authorities made.
    pub certificate_renewals: IntCounter,
    /// When the certificate that is shown expires, in seconds since 1970.
    pub certificate_expiry: IntGauge,
}

impl Metrics {
    /// Registers all of it.
    ///
    /// # Errors
    /// If something of the same name is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name, help, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let reviews = counters(
            "emco_observer_control_reviews_total",
            "Pods that the API server asked about, by what was done with them.",
            "outcome",
        )?;
        let notes = counters(
            "emco_observer_control_notes_total",
            "Sidecars that are less than was asked for, by what is missing.",
            "note",
        )?;
        let events = counters(
            "emco_observer_control_events_total",
            "Events for operators, by what became of them.",
            "outcome",
        )?;
        let token_reviews = counters(
            "emco_observer_control_token_reviews_total",
            "Questions to the API server about tokens of the hub's peers, by what it said.",
            "outcome",
        )?;
        let pod_reads = counters(
            "emco_observer_control_pod_reads_total",
            "Times that the pods of a namespace were read, by whether they could be.",
            "outcome",
        )?;
        let pods = IntGaugeVec::new(
            Opts::new(
                "emco_observer_control_pods",
                "Pods of injected namespaces, by how it stands with their sidecar.",
            ),
            &["standing"],
        )?;
        registry.register(Box::new(pods.clone()))?;
        let rolled_back = IntGauge::new(
            "emco_observer_control_rolled_back",
            "Whether new pods get less than they should, as the sidecar does not run.",
        )?;
        registry.register(Box::new(rolled_back.clone()))?;
        let review_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "emco_observer_control_review_duration_seconds",
                "How long reviews of pods take.",
            )
            .buckets(BUCKETS.to_vec()),
        )?;
        let certificate_renewals = IntCounter::new(
            "emco_observer_control_certificate_renewals_total",
            "Times that this replica renewed the certificate, its authority, or both.",
        )?;
        let certificate_expiry = IntGauge::new(
            "emco_observer_control_certificate_expiry_timestamp_seconds",
            "When the certificate of the webhook expires.",
        )?;
        registry.register(Box::new(review_seconds.clone()))?;
        registry.register(Box::new(certificate_renewals.clone()))?;
        registry.register(Box::new(certificate_expiry.clone()))?;
        Ok(Self {
            reviews,
            review_seconds,
            notes,
            events,
            token_reviews,
            pods,
            pod_reads,
            rolled_back,
            certificate_renewals,
            certificate_expiry,
        })
    }
}
