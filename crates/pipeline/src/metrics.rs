//! The conservation of lines as numbers: read = delivered + dead-lettered + dropped + in flight.
//!
//! Lane totals move with the lane's checkpoint and are kept in it, so a restart changes none of
//! them, and at every moment, for every lane:
//! `records{all outcomes} + in_flight = entries in the log since the lane began`.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::entry::Totals;

/// The metric families of head and lanes; one set a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    read: IntCounter,
    logged: IntCounter,
    failed: IntCounter,
    waiting: IntGauge,
    records: IntCounterVec,
    dropped: IntCounterVec,
    dead_lettered: IntCounterVec,
    in_flight: IntGaugeVec,
    lag: IntGaugeVec,
    batches: IntCounterVec,
    bytes: IntCounterVec,
    retries: IntCounterVec,
    letters_dropped: IntCounterVec,
}

/// The head's share of [`Metrics`].
#[derive(Clone, Debug)]
pub struct HeadMetrics {
    /// Lines and requests given to the order queue.
    pub read: IntCounter,
    /// Lines and requests written to the verdict log.
    pub logged: IntCounter,
    /// How often the verdict log could not be written.
    pub failed: IntCounter,
    /// Lines that wait for their verdict.
    pub waiting: IntGauge,
}

/// One lane's share of [`Metrics`].
#[derive(Clone, Debug)]
pub struct LaneMetrics {
    name: String,
    families: Metrics,
    /// Entries in the log that the lane is not through with.
    pub in_flight: IntGauge,
    /// Entries in the log that the lane has not read.
    pub lag: IntGauge,
    /// Batches handed to the output, repetitions included.
    pub batches: IntCounter,
    /// Bytes handed to the output, repetitions included.
    pub bytes: IntCounter,
    /// Dead letters that were given up because their file was full or could not be written.
    pub letters_dropped: IntCounter,
}

impl Metrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When `registry` has metrics of these names already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let family = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let gauge = |name: &str, help: &str| {
            let family = IntGaugeVec::new(Opts::new(name, help), &["lane"])?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let waiting = IntGauge::new(
            "emco_observer_head_waiting_lines",
            "Lines that wait for their verdict.",
        )?;
        registry.register(Box::new(waiting.clone()))?;
        let lane = ["lane"].as_slice();
        let by_label = ["lane", "reason"].as_slice();
        Ok(Self {
            waiting,
            read: counter(
                "emco_observer_head_read_records_total",
                "Lines and requests that came in, before the verdict log.",
            )?,
            logged: counter(
                "emco_observer_head_logged_records_total",
                "Lines and requests written to the verdict log.",
            )?,
            failed: counter(
                "emco_observer_head_failed_writes_total",
                "How often the verdict log could not be written; lines wait until it can.",
            )?,
            records: family(
                "emco_observer_lane_records_total",
                "Entries of the verdict log a lane is through with, by outcome.",
                &["lane", "outcome"],
            )?,
            dropped: family(
                "emco_observer_lane_dropped_records_total",
                "Entries dropped, by reason.",
                by_label,
            )?,
            dead_lettered: family(
                "emco_observer_lane_dead_lettered_records_total",
                "Entries written to the dead-letter file, by reason.",
                by_label,
            )?,
            in_flight: gauge(
                "emco_observer_lane_in_flight_records",
                "Entries of the verdict log a lane is not through with.",
            )?,
            lag: gauge(
                "emco_observer_lane_lag_records",
                "Entries of the verdict log a lane has not read.",
            )?,
            batches: family(
                "emco_observer_lane_batches_total",
                "Batches handed to the output, repetitions included.",
                lane,
            )?,
            bytes: family(
                "emco_observer_lane_sent_bytes_total",
                "Bytes handed to the output, repetitions included.",
                lane,
            )?,
            retries: family(
                "emco_observer_lane_retries_total",
                "Answers that made a batch or items be sent again, by reason.",
                by_label,
            )?,
            letters_dropped: family(
                "emco_observer_lane_dropped_letters_total",
                "Dead letters given up because their file was full or not writable.",
                lane,
            )?,
        })
    }

    /// The head's counters. `logged` entries that are in the log already count as read and logged,
    /// so that a restart changes no total.
    pub fn head(&self, logged: u64) -> HeadMetrics {
        for counter in [&self.read, &self.logged] {
            counter.inc_by(logged.saturating_sub(counter.get()));
        }
        HeadMetrics {
            read: self.read.clone(),
            logged: self.logged.clone(),
            failed: self.failed.clone(),
            waiting: self.waiting.clone(),
        }
    }

    /// The counters of the lane called `name`.
    pub fn lane(&self, name: &str) -> LaneMetrics {
        let label = &[name];
        // on the page from the beginning: who watches for losses sees that there are none
        for reason in ["source_gone", "log_damaged"] {
            self.dropped.with_label_values(&[name, reason]);
        }
        LaneMetrics {
            name: name.to_owned(),
            in_flight: self.in_flight.with_label_values(label),
            lag: self.lag.with_label_values(label),
            batches: self.batches.with_label_values(label),
            bytes: self.bytes.with_label_values(label),
            letters_dropped: self.letters_dropped.with_label_values(label),
            families: self.clone(),
        }
    }
}

impl LaneMetrics {
    /// Adds what the lane is through with now.
    pub fn done(&self, done: &Totals) {
        for (outcome, count) in [
            ("delivered", done.delivered),
            ("duplicate", done.duplicates),
            ("dead_lettered", done.dead_lettered),
            ("dropped", done.dropped),
        ] {
            let labels = &[self.name.as_str(), outcome];
            self.families
                .records
                .with_label_values(labels)
                .inc_by(count);
        }
    }

    /// Counts an answer that asked for a repetition.
    pub fn retried(&self, reason: &str) {
        let labels = &[self.name.as_str(), reason];
        self.families.retries.with_label_values(labels).inc();
    }

    /// Counts entries that were dropped.
    pub fn dropped(&self, reason: &str, count: u64) {
        let labels = &[self.name.as_str(), reason];
        let family = &self.families.dropped;
        family.with_label_values(labels).inc_by(count);
    }

    /// Counts an entry that was written to the dead-letter file.
    pub fn dead_lettered(&self, reason: &str) {
        let labels = &[self.name.as_str(), reason];
        self.families.dead_lettered.with_label_values(labels).inc();
    }
}
