//! The lane of spans: from the store to the exporter, a batch at a time, each once.
//!
//! A span waits as long as a line does: then its request has ended, its access record is read, and
//! its person is known if anybody knows it. Nothing wakes the lane but news, a span that becomes
//! due, and answers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use in_spans::{KIND_SPANS, SpanRun, SpanScratch};
use model::time::UnixNanos;
use out_otlp::{Batch, Exporter, Outcome, Rules, Words};
use prometheus::Registry;
use spool::{Reader, Spool};
use telemetry::cpu::{Meter, Work};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::environment;
use crate::lanes::otlp_settings;
use crate::renewal::{Renewal, Renewed, renewal};
use crate::settings::{Lanes, Otlp, Settings};
use crate::span_lookup::LedgerLookup;
use crate::span_store::{Cursor, SpanStore, Taken};

/// Name of the file with the cursor, in the state directory.
const CURSOR: &str = "traces-cursor";
/// Spans that come one by one leave together: the lane wakes at most that often for them.
const PAUSE: Duration = Duration::from_millis(250);
/// Spans looked at in one go, those that are dropped included.
const LOOK_MAX: u64 = 4_096;
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
    if lanes.otlp.is_none() {
        return Ok(SpanStore::of(spool));
    }
    let metrics = out_otlp::Metrics::new(registry)?;
    SpanStore::exported(spool, &state_dir.join(CURSOR), metrics)
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
            self.renewal.renew(means(settings, otlp, metrics)?);
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
        words: Words::default(),
        scratch: SpanScratch::default(),
        lookup,
        store: store.clone(),
        reader: None,
        drain: drain.clone(),
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
    rules: Rules,
    /// Nanoseconds.
    wait: u64,
}

struct SpanLane {
    store: SpanStore,
    means: Means,
    renewed: Renewed<Means>,
    words: Words,
    scratch: SpanScratch,
    lookup: LedgerLookup,
    /// Most spans of the next batch.
    limit: usize,
    /// Stands at the cursor.
    reader: Option<Reader>,
    drain: CancellationToken,
}

/// What there is to do.
enum Next {
    /// These spans are done with when the batch is.
    Batch {
        batch: Batch,
        cursor: Cursor,
        taken: Taken,
    },
    /// Nothing before then.
    Later(UnixNanos),
    Nothing,
}

impl SpanLane {
    async fn run(mut self) {
        loop {
            if let Some(means) = self.renewed.take() {
                self.renew(means);
            }
            match self.next() {
                Ok(Next::Batch {
                    batch,
                    cursor,
                    taken,
                }) => self.export(batch, cursor, taken).await,
                Ok(Next::Later(due)) => self.sleep(due).await,
                Ok(Next::Nothing) if self.drain.is_cancelled() => return,
                Ok(Next::Nothing) => {
                    tokio::select! {
                        () = self.store.news() => {}
                        () = self.drain.cancelled() => {}
                    }
                }
                Err(error) => {
                    self.reader = None;
                    tracing::error!(%error, "spans on disk cannot be read; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    fn renew(&mut self, means: Means) {
        self.means = means;
        self.limit = self.means.exporter.batch_spans();
        self.reader = None;
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
                self.reader = None;
                tracing::warn!(spans, "a batch of spans is too large for the receiver");
            }
            Err(error) => {
                self.store.give_back(&taken);
                self.reader = None;
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
        environment::now().minus(self.means.wait)
    }

    /// Makes the next batch of what is due.
    fn next(&mut self) -> Result<Next, spool::Error> {
        let due = self.due();
        let mut making = Making::from(self.store.cursor());
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.store.reader(),
        };
        while let Some(record) = reader.next()? {
            if record.at > due.0 {
                if making.is_nothing() {
                    return Ok(Next::Later(UnixNanos(record.at).plus(self.means.wait)));
                }
                return Ok(making.done());
            }
            if making.cursor.position != record.position {
                // what stood here before is gone
                making.cursor = Cursor {
                    position: record.position,
                    inside: 0,
                };
            }
            let segment = record.position.segment;
            if record.kind == KIND_SPANS && self.store.waits(segment) {
                let before = making.seen;
                let whole = self.fill(record.payload, &mut making);
                let spans = making.seen - before;
                self.store.take(segment, spans);
                making.taken.push((segment, spans));
                if !whole {
                    return Ok(making.done());
                }
            }
            making.cursor = Cursor {
                position: record.next,
                inside: 0,
            };
            if making.batch.len() >= self.limit || making.seen >= LOOK_MAX {
                self.reader = Some(reader);
                return Ok(making.done());
            }
        }
        if making.is_nothing() {
            return Ok(Next::Nothing);
        }
        Ok(making.done())
    }

    /// Puts the spans of a record into the batch; answers whether all had room.
    fn fill(&mut self, payload: &[u8], making: &mut Making) -> bool {
        let mut run = match SpanRun::new(payload, making.cursor.inside) {
            Ok(run) => run,
            Err(error) => {
                tracing::error!(error = net::chain(&error), "spans on disk are not read");
                return true;
            }
        };
        loop {
            let here = run.offset();
            let raw = match run.next_span() {
                Ok(Some(raw)) => raw,
                Ok(None) => return true,
                Err(error) => {
                    tracing::error!(error = net::chain(&error), "spans on disk are damaged");
                    return true;
                }
            };
            let facts = raw.facts(run.run(), &mut self.scratch);
            let batch = &mut making.batch;
            let fits = facts.as_ref().is_none_or(|span| batch.is_of(span.service));
            if batch.len() >= self.limit || making.seen >= LOOK_MAX || !fits {
                making.cursor.inside = here;
                return false;
            }
            making.seen += 1;
            let Some(facts) = facts else {
                batch.no_ids();
                continue;
            };
            let noise = self.means.rules.judge(&facts, &self.lookup);
            if let Some((rule, kept)) = noise {
                batch.noise(rule, kept);
            }
            if noise.is_none_or(|(_, kept)| kept)
                && let Some(span) = raw.whole(run.run())
            {
                batch.push(&span, &mut self.words, &self.lookup);
            }
        }
    }
}

/// A batch in the making.
struct Making {
    batch: Batch,
    cursor: Cursor,
    taken: Taken,
    seen: u64,
    from: Cursor,
}

impl Making {
    fn from(cursor: Cursor) -> Self {
        Self {
            batch: Batch::new(),
            cursor,
            taken: Taken::new(),
            seen: 0,
            from: cursor,
        }
    }

    /// Whether there is nothing to send and nothing to step over.
    fn is_nothing(&self) -> bool {
        self.seen == 0 && self.cursor == self.from
    }

    fn done(self) -> Next {
        Next::Batch {
            batch: self.batch,
            cursor: self.cursor,
            taken: self.taken,
        }
    }
}
