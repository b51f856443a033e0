//! The whole lane over a real log, with a paused clock.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::document::{Body, Constants, Document};
use model::line::Extent;
use model::record::Record;
use model::time::{Day, UnixNanos};
use model::verdict::Verdict;
use spool::{Limits, QueueMetrics};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dead_letter::DeadLetters;
use crate::entry::{Entry, FileEntry, LineEntry, Part};
use crate::head::{Container, OrderQueue};
use crate::metrics::Metrics;
use crate::output::{Encoder, Output};
use crate::verdict_log::VerdictLog;
use crate::{Documents, Lost};

/// Documents without text; every seventh line's file is gone.
struct Offsets {
    record: Record,
    constants: Constants,
    gone: bool,
    rests: Arc<AtomicU32>,
}

impl Documents for Offsets {
    fn idle(&mut self) {
        self.rests.fetch_add(1, Ordering::Relaxed);
    }

    fn document(
        &mut self,
        entry: Entry<'_>,
        with: &mut dyn FnMut(&Document<'_>),
    ) -> Result<(), Lost> {
        let Entry::Line(line) = entry else {
            return Err(Lost { label: "request" });
        };
        if self.gone && line.first.extent.offset % 7 == 6 {
            return Err(Lost {
                label: "source_gone",
            });
        }
        with(&Document {
            id: DocumentId::Line(FileKey::default(), line.first.extent.offset),
            home: line.home,
            time: line.time,
            sequence: line.first.extent.offset,
            body: Body::Line(&self.record, b""),
            verdict: &line.verdict,
            constants: &self.constants,
        });
        Ok(())
    }
}

struct Decimal;

impl Encoder for Decimal {
    fn encode(&mut self, document: &Document<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{};", document.sequence).as_bytes());
    }
}

/// What the destination has, in the order it came.
type Store = Arc<Mutex<Vec<u64>>>;

/// How the destination behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Takes everything at once.
    Healthy,
    /// Takes a batch and its answer is lost, from this item on.
    SilentFrom(u64),
    /// Refuses the first attempts, then takes everything; rejects item 3.
    Slow(u32),
    /// Ends by itself.
    Gone,
}

struct Destination {
    store: Store,
    manner: Manner,
}

impl Output for Destination {
    async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        answers: mpsc::Sender<(BatchId, Answer)>,
        stop: CancellationToken,
    ) {
        let mut refusals = 0;
        if matches!(self.manner, Manner::Gone) {
            return;
        }
        while let Some(batch) = tokio::select! {
            batch = batches.recv() => batch,
            () = stop.cancelled() => None,
        } {
            let items = items(&batch);
            let answer = match self.manner {
                Manner::Slow(count) if refusals < count => {
                    refusals += 1;
                    Answer::Retry {
                        after: None,
                        label: "connect",
                    }
                }
                Manner::Slow(_) => {
                    let outcomes = items.iter().map(|item| match item {
                        3 => ItemOutcome::Rejected {
                            label: "mapping",
                            reason: "no".to_owned(),
                        },
                        _ => ItemOutcome::Delivered,
                    });
                    Answer::Items(outcomes.collect())
                }
                _ => Answer::Delivered,
            };
            let silent =
                matches!(self.manner, Manner::SilentFrom(from) if items.iter().any(|i| *i >= from));
            if !matches!(answer, Answer::Retry { .. }) {
                let taken = items
                    .iter()
                    .filter(|item| !matches!(self.manner, Manner::Slow(_)) || **item != 3);
                self.store.lock().unwrap().extend(taken);
            }
            if !silent && answers.send((batch.id, answer)).await.is_err() {
                return;
            }
        }
    }
}

struct Bench {
    log: VerdictLog,
    metrics: Metrics,
    registry: prometheus::Registry,
    store: Store,
    rests: Arc<AtomicU32>,
    appended: u64,
}

impl Bench {
    fn open(dir: &Path, store: &Store) -> Self {
        let limits = Limits::default();
        let (log, recovery) = VerdictLog::open(
            &dir.join("log"),
            limits,
            &["forward"],
            QueueMetrics::default(),
        )
        .unwrap();
        assert_eq!(recovery.notes, Vec::<String>::new());
        let registry = prometheus::Registry::new();
        Self {
            appended: recovery.sequence,
            metrics: Metrics::new(&registry).unwrap(),
            registry,
            log,
            store: Arc::clone(store),
            rests: Arc::default(),
        }
    }

    fn append(&mut self, count: u64) {
        let file = self.log.register_file(FileEntry::default());
        let mut order = OrderQueue::new(1 << 16, self.metrics.head(self.appended));
        for _ in 0..count {
            let line = LineEntry {
                first: Part {
                    file,
                    extent: Extent {
                        offset: self.appended,
                        bytes: 1,
                    },
                },
                time: UnixNanos(self.appended),
                home: Day(1),
                verdict: Verdict::default(),
                ..LineEntry::default()
            };
            order.offer_decided(Container(0), line).unwrap();
            self.appended += 1;
        }
        order.write(&mut self.log).unwrap();
    }

    fn lane(&self, dir: &Path, manner: Manner, gone: bool) -> LaneHandle {
        let letters = DeadLetters::open(
            &dir.join("letters"),
            Limits::default(),
            QueueMetrics::default(),
        );
        let lane = Lane {
            name: "forward".to_owned(),
            settings: settings(),
            log: self.log.handle(),
            documents: Box::new(Offsets {
                record: Record::default(),
                constants: Constants::default(),
                gone,
                rests: Arc::clone(&self.rests),
            }),
            encoder: Box::new(Decimal),
            letters: Some(letters.unwrap()),
            metrics: self.metrics.lane("forward"),
            meter: telemetry::cpu::Meter::new(&prometheus::Registry::new()).unwrap(),
        };
        let store = Arc::clone(&self.store);
        lane.spawn(Destination { store, manner }).unwrap()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of these tests are small"
    )]
    fn metric(&self, name: &str, label: Option<&str>) -> u64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        let labelled = |metric: &&prometheus::proto::Metric| {
            label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
        };
        let values = family
            .get_metric()
            .iter()
            .filter(labelled)
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value());
        values.sum::<f64>() as u64
    }

    /// read = delivered + dead-lettered + dropped + in flight
    #[track_caller]
    fn assert_conserved(&self) {
        let done = self.metric("emco_observer_lane_records_total", None);
        let in_flight = self.metric("emco_observer_lane_in_flight_records", None);
        let read = self.metric("emco_observer_head_logged_records_total", None);
        assert_eq!(done + in_flight, read);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(5)
}

#[tokio::test(start_paused = true)]
async fn a_drained_lane_has_delivered_everything_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut bench = Bench::open(dir.path(), &store);
    let lane = bench.lane(dir.path(), Manner::Healthy, false);
    for _ in 0..10 {
        bench.append(137);
        tokio::task::yield_now().await;
    }
    let report = lane.drain(soon()).await;
    assert!(report.level && report.left == 0);
    assert_eq!(*store.lock().unwrap(), (0..1370).collect::<Vec<_>>());
    bench.assert_conserved();
    assert_eq!(
        bench.metric("emco_observer_lane_records_total", Some("delivered")),
        1370
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_sends_exactly_what_was_not_acknowledged_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut bench = Bench::open(dir.path(), &store);
    bench.append(500);
    let lane = bench.lane(dir.path(), Manner::SilentFrom(200), false);
    let report = lane.drain(soon()).await;
    assert!(!report.level && report.position.sequence <= 200);
    let committed = report.position.sequence;
    drop(bench);

    let again = Store::default();
    let mut bench = Bench::open(dir.path(), &again);
    bench.append(10);
    let lane = bench.lane(dir.path(), Manner::Healthy, false);
    assert!(lane.drain(soon()).await.level);
    assert_eq!(*again.lock().unwrap(), (committed..510).collect::<Vec<_>>());
    let both: BTreeSet<u64> = store
        .lock()
        .unwrap()
        .iter()
        .chain(&*again.lock().unwrap())
        .copied()
        .collect();
    assert_eq!(both.len(), 510, "at least once");
    bench.assert_conserved();
    assert_eq!(
        bench.metric("emco_observer_lane_records_total", Some("delivered")),
        510
    );
}

#[tokio::test(start_paused = true)]
async fn refused_rejected_and_lost_entries_are_all_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut bench = Bench::open(dir.path(), &store);
    bench.append(70);
    let lane = bench.lane(dir.path(), Manner::Slow(9), true);
    let report = lane.drain(soon()).await;
    assert!(report.level, "{report:?}");
    bench.assert_conserved();
    for (outcome, count) in [("delivered", 59), ("dead_lettered", 1), ("dropped", 10)] {
        let counted = bench.metric("emco_observer_lane_records_total", Some(outcome));
        assert_eq!(counted, count, "{outcome}");
    }
    assert_eq!(
        bench.metric("emco_observer_lane_retries_total", Some("connect")),
        9
    );
    assert_eq!(
        bench.metric(
            "emco_observer_lane_dropped_records_total",
            Some("source_gone")
        ),
        10
    );
    let letters = DeadLetters::open(
        &dir.path().join("letters"),
        Limits::default(),
        QueueMetrics::default(),
    );
    let letters = letters.unwrap();
    let mut reader = letters.reader();
    let letter = reader.next().unwrap().unwrap();
    assert_eq!(
        (letter.label, letter.reason, letter.item),
        ("mapping", "no", &b"3;"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_line_leaves_without_a_flush_of_the_batch_and_the_lane_then_rests() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut bench = Bench::open(dir.path(), &store);
    let lane = bench.lane(dir.path(), Manner::Healthy, false);
    bench.append(1);
    let start = Instant::now();
    while store.lock().unwrap().is_empty() {
        tokio::time::advance(Duration::from_millis(50)).await;
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(start.elapsed() <= Duration::from_millis(300));
    assert!(!lane.is_finished());
    assert!(lane.drain(soon()).await.level);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_ends_by_itself_ends_the_lane_and_nothing_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut bench = Bench::open(dir.path(), &store);
    bench.append(20);
    let lane = bench.lane(dir.path(), Manner::Gone, false);
    while !lane.is_finished() {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let report = lane.abort().await;
    assert_eq!((report.position.sequence, report.left), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_lane_at_rest_never_wakes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let mut bench = Bench::open(dir.path(), &store);
    let lane = bench.lane(dir.path(), Manner::Healthy, false);
    bench.append(5);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.lock().unwrap().len(), 5);
    let before = bench.rests.load(Ordering::Relaxed);
    assert!(before > 0);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(
        bench.rests.load(Ordering::Relaxed),
        before,
        "every turn at rest is counted"
    );
    assert!(lane.drain(soon()).await.level);
}
