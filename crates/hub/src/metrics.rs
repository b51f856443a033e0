//! What is counted, on both sides.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Counters of a hub.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    pub(crate) facts: IntCounterVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) remembered: IntGaugeVec,
    pub(crate) forgotten: IntCounterVec,
    pub(crate) waiting: IntGauge,
    pub(crate) turned_away: IntCounter,
}

/// Counters of a client.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    pub(crate) questions: IntCounter,
    pub(crate) open_questions: IntGauge,
    pub(crate) forgotten_questions: IntCounterVec,
    pub(crate) learned: IntCounterVec,
    pub(crate) told: IntCounter,
    pub(crate) lost: IntCounterVec,
    pub(crate) failures: IntCounterVec,
}

impl ServerMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// If `registry` has one of the names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            facts: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "emco_observer_hub_facts_total",
                        "Facts that peers stated, by what became of them",
                    ),
                    &["outcome"],
                )?,
            )?,
            requests: register(
                registry,
                IntCounterVec::new(
                    Opts::new("emco_observer_hub_requests_total", "Requests of peers"),
                    &["path", "outcome"],
                )?,
            )?,
            remembered: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "emco_observer_hub_remembered_objects",
                        "Traces, conflicts and AppContexts that are remembered",
                    ),
                    &["kind"],
                )?,
            )?,
            forgotten: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "emco_observer_hub_forgotten_objects_total",
                        "What was forgotten for room, before its time",
                    ),
                    &["kind"],
                )?,
            )?,
            waiting: register(
                registry,
                IntGauge::new(
                    "emco_observer_hub_waiting_questions",
                    "Questions that wait for an answer",
                )?,
            )?,
            turned_away: register(
                registry,
                IntCounter::new(
                    "emco_observer_hub_turned_away_questions_total",
                    "Questions that could not wait because too many do",
                )?,
            )?,
        })
    }
}

impl ClientMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// If `registry` has one of the names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            questions: register(
                registry,
                IntCounter::new(
                    "emco_observer_hub_client_questions_total",
                    "Different questions that were asked",
                )?,
            )?,
            open_questions: register(
                registry,
                IntGauge::new(
                    "emco_observer_hub_client_open_questions",
                    "Questions whose answer is waited for or watched",
                )?,
            )?,
            forgotten_questions: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "emco_observer_hub_client_forgotten_questions_total",
                        "Questions that were given up without an answer",
                    ),
                    &["reason"],
                )?,
            )?,
            learned: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "emco_observer_hub_client_learned_facts_total",
                        "Facts that were learned from the hub",
                    ),
                    &["kind"],
                )?,
            )?,
            told: register(
                registry,
                IntCounter::new(
                    "emco_observer_hub_client_told_facts_total",
                    "Different facts that were given to the client to tell",
                )?,
            )?,
            lost: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "emco_observer_hub_client_lost_facts_total",
                        "Facts that a replica was not told",
                    ),
                    &["reason"],
                )?,
            )?,
            failures: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "emco_observer_hub_client_failures_total",
                        "Exchanges with a replica that failed",
                    ),
                    &["reason"],
                )?,
            )?,
        };
        for kind in ["person", "conflict", "contradiction", "operation"] {
            metrics.learned.with_label_values(&[kind]);
        }
        Ok(metrics)
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
