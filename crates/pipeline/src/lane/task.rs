//! The loop of a lane: moves entries, batches and answers between the engine and the world.

use std::time::{Duration, SystemTime};

use model::time::UnixNanos;
use telemetry::cpu::{Meter, Work};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letter::DeadLetters;
use crate::documents::Documents;
use crate::entry::{Position, Totals};
use crate::error::Error;
use crate::lane::engine::{Engine, Event};
use crate::lane::settings::LaneSettings;
use crate::metrics::LaneMetrics;
use crate::output::{Answer, Batch, BatchId, Encoder, Output};
use crate::verdict_log::{LogHandle, LogReader};

// Entries that are rendered before other tasks get their turn.
const ENTRIES_A_TURN: usize = 1024;
// How long an output may take to end after it was told to.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
// Pause after the log could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What a lane is made of.
pub struct Lane {
    /// Its name: in the verdict log, in metrics, in log lines.
    pub name: String,
    /// How it batches and repeats.
    pub settings: LaneSettings,
    /// The log it reads and commits to.
    pub log: LogHandle,
    /// Makes documents of entries.
    pub documents: Box<dyn Documents>,
    /// Makes items of documents.
    pub encoder: Box<dyn Encoder>,
    /// Where items go that the destination will never take; without one they are dropped, counted.
    pub letters: Option<DeadLetters>,
    /// Its metrics.
    pub metrics: LaneMetrics,
    /// Counts what it costs, as work for lines.
    pub meter: Meter,
}

/// A running lane. Dropping it ends the lane at once, like [`LaneHandle::abort`].
#[derive(Debug)]
pub struct LaneHandle {
    task: JoinHandle<LaneReport>,
    drain: watch::Sender<Option<Instant>>,
}

/// How a lane ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// Whether everything in the log was finished.
    pub level: bool,
    /// Up to where it committed.
    pub position: Position,
    /// Entries of the log it had not finished.
    pub left: u64,
}

impl Lane {
    /// Starts the lane and its output on the current runtime.
    ///
    /// # Errors
    /// [`Error::UnknownLane`] if the log was opened without it.
    pub fn spawn(self, output: impl Output) -> Result<LaneHandle, Error> {
        let (position, totals) = self.log.position(&self.name)?;
        let reader = self.log.reader(&self.name)?;
        let (batches, batches_out) = mpsc::channel(self.settings.in_flight_max.max(1));
        let (answers_in, answers) = mpsc::channel(self.settings.in_flight_max.max(1));
        let (drain, draining) = watch::channel(None);
        let stop = CancellationToken::new();
        self.metrics.done(&totals);
        let meter = self.meter.clone();
        let run = Run {
            engine: Engine::new(self.settings, position, fastrand::u64(..)),
            committed: position,
            lane: self,
            reader,
            batches,
            answers,
            draining,
            read_again: None,
        };
        let output = output.run(batches_out, answers_in, stop.clone());
        let output = tokio::spawn(meter.measure(Work::Lines, output));
        let task = tokio::spawn(meter.measure(Work::Lines, run.run(output, stop)));
        Ok(LaneHandle { task, drain })
    }
}

impl LaneHandle {
    /// Finishes what is in the log and in flight, but not longer than until `deadline`; commits and
    /// ends. Append nothing to the log after this.
    pub async fn drain(self, deadline: Instant) -> LaneReport {
        self.drain.send_replace(Some(deadline));
        self.task.await.unwrap_or_default()
    }

    /// Ends at once; what is in flight stays unanswered and is sent again by the next process.
    pub async fn abort(self) -> LaneReport {
        self.drain(Instant::now()).await
    }

    /// Whether the lane has ended by itself, because its output did.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

struct Run {
    lane: Lane,
    engine: Engine,
    reader: LogReader,
    batches: mpsc::Sender<Batch>,
    answers: mpsc::Receiver<(BatchId, Answer)>,
    draining: watch::Receiver<Option<Instant>>,
    committed: Position,
    read_again: Option<Instant>,
}

/// Why the loop goes round again.
enum Turn {
    Again,
    End,
}

impl Run {
    async fn run(mut self, mut output: JoinHandle<()>, stop: CancellationToken) -> LaneReport {
        while matches!(self.turn().await, Turn::Again) {}
        self.settle();
        let end = self.lane.log.end();
        let report = LaneReport {
            level: self.committed.sequence >= end.sequence,
            position: self.committed,
            left: end.sequence.saturating_sub(self.committed.sequence),
        };
        // Closing the channel ends an output that has nothing in flight; others are stopped.
        drop(self.batches);
        if !self.engine.is_idle() {
            stop.cancel();
        }
        self.answers.close();
        match tokio::time::timeout(STOP_PATIENCE, &mut output).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(lane = self.lane.name, %error, "output failed"),
            Err(_) => output.abort(),
        }
        report
    }

    async fn turn(&mut self) -> Turn {
        self.engine.set_disk_pressed(self.lane.log.is_pressed());
        while let Ok((id, answer)) = self.answers.try_recv() {
            self.engine.answer(now(), id, answer);
        }
        self.read();
        let deadline = *self.draining.borrow_and_update();
        let level = !self.reader.is_behind();
        if level && deadline.is_some() {
            self.engine.close();
        }
        while let Some(batch) = self.engine.next_batch(now()) {
            self.lane.metrics.batches.inc();
            self.lane.metrics.bytes.inc_by(batch.bytes.len() as u64);
            if self.batches.try_send(batch).is_err() {
                tracing::error!(lane = self.lane.name, "output ended by itself");
                return Turn::End;
            }
        }
        self.settle();
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if over || deadline.is_some() && level && self.engine.is_idle() {
            return Turn::End;
        }
        if !level && self.engine.wants_entries() && self.read_again.is_none() {
            tokio::task::yield_now().await;
            return Turn::Again;
        }
        if level && self.engine.is_idle() {
            self.engine.shrink();
            self.lane.documents.idle();
        }
        self.wait(deadline).await
    }

    /// Sleeps until there is something to do.
    async fn wait(&mut self, drain: Option<Instant>) -> Turn {
        let reads = self.engine.wants_entries() && self.read_again.is_none();
        let due = self.engine.deadline().map(Instant::from_std);
        let wake = [due, drain, self.read_again].into_iter().flatten().min();
        tokio::select! {
            answer = self.answers.recv() => {
                let Some((id, answer)) = answer else {
                    tracing::error!(lane = self.lane.name, "output ended by itself");
                    return Turn::End;
                };
                self.engine.answer(now(), id, answer);
            }
            () = self.reader.readable(), if reads => {}
            () = sleep_until(wake), if wake.is_some() => {}
            changed = self.draining.changed() => {
                if changed.is_err() {
                    return Turn::End;
                }
            }
        }
        self.read_again = self.read_again.filter(|again| *again > Instant::now());
        Turn::Again
    }

    /// Puts some entries into the engine.
    // in a loop of its own: the rest is compiled where it is used, for size
    #[inline(never)]
    fn read(&mut self) {
        if self.read_again.is_some() {
            return;
        }
        let at = now();
        for _ in 0..ENTRIES_A_TURN {
            if !self.engine.wants_entries() {
                return;
            }
            match self.reader.next() {
                Ok(Some((position, entry))) => {
                    let (engine, encoder) = (&mut self.engine, &mut self.lane.encoder);
                    let mut rendered = false;
                    let found = self.lane.documents.document(entry, &mut |document| {
                        if !std::mem::replace(&mut rendered, true) {
                            engine.item(at, position, document.id, |out| {
                                encoder.encode(document, out);
                            });
                        }
                    });
                    if !rendered {
                        let reason = found.err().map_or("no_document", |lost| lost.label);
                        self.engine.lost(at, position, reason);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(lane = self.lane.name, %error, "verdict log not readable, trying again");
                    self.read_again = Some(Instant::now() + READ_PAUSE);
                    return;
                }
            }
        }
    }

    /// Writes what the engine is through with: dead letters first, then the commit.
    fn settle(&mut self) {
        for event in self.engine.take_events() {
            match event {
                Event::Retried(reason) => self.lane.metrics.retried(reason),
                Event::Dropped(reason, count) => self.lane.metrics.dropped(reason, count),
            }
        }
        self.write_letters();
        if let Some(commit) = self.engine.take_commit() {
            self.commit(commit.position, &commit.done);
        }
        let end = self.lane.log.end().sequence;
        let gauge = |from: Position| {
            let distance = end.saturating_sub(from.sequence);
            i64::try_from(distance).unwrap_or(i64::MAX)
        };
        self.lane.metrics.in_flight.set(gauge(self.committed));
        self.lane.metrics.lag.set(gauge(self.reader.position()));
    }

    fn commit(&mut self, position: Position, done: &Totals) {
        if let Err(error) = self.lane.log.commit(&self.lane.name, position, done) {
            tracing::warn!(lane = self.lane.name, %error, "checkpoint not written");
        }
        self.committed = position;
        self.lane.metrics.done(done);
    }

    fn write_letters(&mut self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        });
        for letter in self.engine.take_letters() {
            self.lane.metrics.dead_lettered(letter.label);
            let put = self
                .lane
                .letters
                .as_mut()
                .map(|letters| letters.put(UnixNanos(now), &letter));
            let dropped = match put {
                Some(Ok(dropped)) => dropped,
                Some(Err(error)) => {
                    let (lane, id) = (&self.lane.name, letter.id);
                    tracing::error!(lane, %id, label = letter.label, %error, "dead letter lost");
                    1
                }
                None => 1,
            };
            self.lane.metrics.letters_dropped.inc_by(dropped);
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
