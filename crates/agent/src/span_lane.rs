//! The lane of spans: from the store to the exporter, a batch at a time, each once.
//!
//! A span waits as long as a line does: then its request has ended, its access record is read, and
//! its person is known if anybody knows it. Nothing wakes the lane but news, a span that becomes
//! due, and answers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use model::time::UnixNanos;
use out_otlp::{Batch, Exporter, NoiseSettings, Outcome, Rules};
use prometheus::Registry;
use spool::Spool;
use telemetry::cpu::{Meter, Work};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::environment;
use crate::lanes::otlp_settings;
use crate::renewal::{Renewal, Renewed, renewal};
use crate::settings::{Lanes, Otlp, Settings};
use crate::span_batches::{Batches, Next, Take};
use crate::span_lookup::LedgerLookup;
use crate::span_store::{Cursor, SpanStore, Taken};

/// Name of the file with the cursor, in the state directory.
const CURSOR: &str = "traces-cursor";
/// Spans that come one by one leave together: the lane wakes at most that often for them.
const PAUSE: Duration = Duration::from_millis(250);
/// After an error of our own.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The store in `spool`: for the ledger alone, or for an exporter as well.
///
/// # Errors
/// If the exporter's cursor cannot be opened.
pub(crate) fn open_store(
    lanes: &Lanes,
    spool: Spool,
    state_dir: &Path,
    registry: &Registry,
) -> Result<SpanStore> {
    let Some(otlp) = &lanes.otlp else {
        return Ok(SpanStore::of(spool));
    };
    let metrics = out_otlp::Metrics::new(registry)?;
    let store = SpanStore::exported(spool, &state_dir.join(CURSOR), metrics)?;
    store.set_noise(otlp_settings(otlp)?.noise);
    Ok(store)
}

/// A running lane.
pub(crate) struct SpanLaneHandle {
    task: JoinHandle<()>,
    drain: CancellationToken,
    store: SpanStore,
    renewal: Renewal<Means>,
}

impl SpanLaneHandle {
    /// Goes on as `settings` say now.
    ///
    /// # Errors
    /// If they contradict themselves.
    pub(crate) fn renew(&self, settings: &Settings) -> Result<()> {
        if let (Some(otlp), Some(metrics)) = (&settings.lanes.otlp, self.store.metrics()) {
            let means = means(settings, otlp, metrics)?;
            self.store.set_noise(means.noise);
            self.renewal.renew(means);
        }
        Ok(())
    }

    /// Whether it ended by itself.
    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// No span waits for its person any more; the lane ends when all are delivered.
    pub(crate) fn hurry(&self) {
        self.drain.cancel();
    }

    /// Delivers what can be delivered until `deadline`; answers how many spans are left.
    pub(crate) async fn drain(self, deadline: Instant) -> u64 {
        self.hurry();
        let mut task = self.task;
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
        }
        self.store.left()
    }
}

/// Starts the lane, if there is to be one.
///
/// # Errors
/// If the settings contradict themselves.
pub(crate) fn spawn(
    settings: &Settings,
    store: &SpanStore,
    lookup: LedgerLookup,
    meter: &Meter,
) -> Result<Option<SpanLaneHandle>> {
    let (Some(otlp), Some(metrics)) = (&settings.lanes.otlp, store.metrics()) else {
        return Ok(None);
    };
    let means = means(settings, otlp, metrics)?;
    let (renewal, renewed) = renewal();
    let drain = CancellationToken::new();
    let lane = SpanLane {
        limit: means.exporter.batch_spans(),
        means,
        renewed,
        batches: Batches::new(store.clone(), lookup),
        store: store.clone(),
        drain: drain.clone(),
        begun: environment::now(),
    };
    Ok(Some(SpanLaneHandle {
        task: tokio::spawn(meter.measure(Work::Spans, lane.run())),
        drain,
        store: store.clone(),
        renewal,
    }))
}

fn means(settings: &Settings, otlp: &Otlp, metrics: out_otlp::Metrics) -> Result<Means> {
    let otlp = otlp_settings(otlp)?;
    Ok(Means {
        noise: otlp.noise,
        rules: Rules::new(otlp.noise),
        exporter: Exporter::new(otlp, resource(), metrics)
            .context("cannot set up the OTLP destination")?,
        wait: u64::try_from(settings.attribution.wait.as_nanos()).unwrap_or(u64::MAX),
    })
}

/// Attributes of the pod.
fn resource() -> Vec<(&'static str, String)> {
    let Some(pod) = environment::pod_identity() else {
        return Vec::new();
    };
    vec![
        ("k8s.namespace.name", pod.namespace),
        ("k8s.pod.name", pod.name),
        ("k8s.pod.uid", pod.uid),
    ]
}

/// What settings say of the lane; replaced when they change.
struct Means {
    exporter: Exporter,
    noise: NoiseSettings,
    rules: Rules,
    /// Nanoseconds.
    wait: u64,
}

struct SpanLane {
    store: SpanStore,
    means: Means,
    renewed: Renewed<Means>,
    batches: Batches,
    /// Most spans of the next batch.
    limit: usize,
    drain: CancellationToken,
    /// What is on disk from before waits as if it had come then: access records and people are
    /// learned anew.
    begun: UnixNanos,
}

impl SpanLane {
    async fn run(mut self) {
        loop {
            if let Some(means) = self.renewed.take() {
                self.renew(means);
            }
            let take = Take {
                due: self.due(),
                limit: self.limit,
                rules: &mut self.means.rules,
            };
            match self.batches.next(take) {
                Ok(Next::Batch {
                    batch,
                    cursor,
                    taken,
                }) => self.export(batch, cursor, taken).await,
                Ok(Next::Later(arrived)) => {
                    self.sleep(arrived.max(self.begun).plus(self.means.wait))
                        .await;
                }
                Ok(Next::Nothing) if self.drain.is_cancelled() => return,
                Ok(Next::Nothing) => {
                    tokio::select! {
                        () = self.store.news() => {}
                        () = self.drain.cancelled() => {}
                    }
                }
                Err(error) => {
                    self.batches.start_again();
                    tracing::error!(%error, "spans on disk cannot be read; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    fn renew(&mut self, means: Means) {
        self.means = means;
        self.limit = self.means.exporter.batch_spans();
        self.batches.start_again();
    }

    async fn sleep(&self, due: UnixNanos) {
        let wait = Duration::from_nanos(due.since(environment::now()));
        tokio::select! {
            () = tokio::time::sleep(wait.max(PAUSE)) => {}
            () = self.drain.cancelled() => {}
        }
    }

    async fn export(&mut self, batch: Batch, cursor: Cursor, taken: Taken) {
        let spans = batch.len();
        let exported = tokio::select! {
            exported = self.means.exporter.export(batch) => exported,
            means = self.renewed.next() => {
                // sent again by the new exporter; what the old receiver has is there twice at most
                self.store.give_back(&taken);
                self.renew(means);
                return;
            }
        };
        match exported {
            Ok(Outcome::Done) => {
                self.store.commit(cursor, &taken);
                self.limit = self.limit.saturating_mul(2);
                self.limit = self.limit.min(self.means.exporter.batch_spans());
            }
            Ok(Outcome::TooLarge) => {
                self.limit = (spans / 2).max(1);
                self.store.give_back(&taken);
                self.batches.start_again();
                tracing::warn!(spans, "a batch of spans is too large for the receiver");
            }
            Err(error) => {
                self.store.give_back(&taken);
                self.batches.start_again();
                let error = net::chain(&error);
                tracing::error!(error, "spans cannot be exported; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
        // lines and new spans have their turn
        tokio::task::yield_now().await;
    }

    /// The newest moment at which spans arrived that are due now.
    fn due(&self) -> UnixNanos {
        if self.drain.is_cancelled() {
            return UnixNanos(u64::MAX);
        }
        let due = environment::now().minus(self.means.wait);
        if due < self.begun { UnixNanos(0) } else { due }
    }
}
