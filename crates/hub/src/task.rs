//! The client's tasks: one teller a replica, one task for short polls, one for the long poll. All of
//! them sleep until there is something to tell or to ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use net::Backoff;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::client::{Shared, lock};
use crate::error::Error;
use crate::questions::{Cursor, Learned};
use crate::replica::Replica;
use crate::wire::{Receipt, Tell, VERSION, WAIT_MS_MAX, WireFact};

/// Facts in one request.
const TELL_MAX: usize = 512;
/// How long the first fact of a batch waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// How long a short poll waits for an answer, and so the most that a new question waits for it.
const SHORT_WAIT: Duration = Duration::from_millis(100);
/// The least time between two long polls, so that new members do not restart it all the time.
const LONG_PACE: Duration = Duration::from_secs(2);
/// How long the last facts may take to be told after `stop`.
const FLUSH: Duration = Duration::from_secs(1);

/// Tells one replica everything, in order; everything that is still kept once more when it has
/// begun a new life.
pub(crate) async fn tell_replica(shared: Arc<Shared>, index: usize) {
    let Some(replica) = shared.replicas.get(index) else {
        return;
    };
    let mut backoff = backoff();
    let mut teller = Teller {
        shared: &shared,
        replica,
        // What went away before is not lost for whom it was never kept.
        place: lock(&shared.outbox).first(),
        life: 0,
    };
    loop {
        if !teller.is_behind() {
            tokio::select! {
                () = replica.told.notified() => sleep(LINGER).await,
                () = shared.stop.cancelled() => break,
            }
            continue;
        }
        let told = tokio::select! {
            told = teller.tell() => told,
            () = shared.stop.cancelled() => break,
        };
        if told.is_ok() {
            backoff.reset();
            continue;
        }
        tokio::select! {
            () = sleep(backoff.next(fastrand::f64())) => {}
            () = shared.stop.cancelled() => break,
        }
    }
    let flush = async { while teller.is_behind() && teller.tell().await.is_ok() {} };
    if timeout(FLUSH, flush).await.is_err() {
        tracing::debug!(peer = %replica.endpoint(), "the last facts were not told in time");
    }
}

/// Where one replica stands in the outbox.
struct Teller<'a> {
    shared: &'a Shared,
    replica: &'a Replica,
    place: u64,
    /// The life that was told what stands before `place`.
    life: u64,
}

impl Teller<'_> {
    /// Whether there is something to tell; starts over for a new life.
    fn is_behind(&mut self) -> bool {
        let outbox = lock(&self.shared.outbox);
        let life = self.replica.life();
        if life != self.life {
            if self.life != 0 {
                self.place = outbox.first();
            }
            self.life = life;
        }
        outbox.batch(self.place, 1).is_some()
    }

    async fn tell(&mut self) -> Result<(), Error> {
        let Some(batch) = lock(&self.shared.outbox).batch(self.place, TELL_MAX) else {
            return Ok(());
        };
        let lost = &self.shared.metrics.lost;
        lost.with_label_values(&["no_room"]).inc_by(batch.lost);
        // Counted once, whatever becomes of this attempt.
        self.place += batch.lost;
        let tell = Tell {
            version: VERSION,
            facts: batch.facts.iter().map(WireFact::from).collect(),
        };
        let limit = self.shared.settings.answer_max;
        let exchange = self.replica.exchange("/v1/tell", &tell, limit);
        let refused = match exchange.await {
            Ok(Receipt { refused, .. }) => refused,
            Err(error) if is_final(&error) => batch.facts.len() as u64,
            Err(error) => return Err(error),
        };
        lost.with_label_values(&["refused"]).inc_by(refused);
        self.place = batch.next;
        Ok(())
    }
}

/// Asks what is new, in short polls.
pub(crate) async fn poll_fresh(shared: Arc<Shared>, learned: mpsc::Sender<Learned>) {
    let mut backoff = backoff();
    while !shared.stop.is_cancelled() {
        let subjects = {
            let mut questions = lock(&shared.questions);
            questions.expire(Instant::now());
            shared.gauge(&mut questions);
            questions.fresh()
        };
        if subjects.is_empty() {
            tokio::select! {
                () = shared.asked.notified() => {}
                () = shared.stop.cancelled() => {}
            }
            continue;
        }
        let begun = Instant::now();
        let asked = tokio::select! {
            asked = shared.ask_any(&subjects, Cursor::default(), SHORT_WAIT) => asked,
            () = shared.stop.cancelled() => return,
        };
        let (facts, cursor, pause) = match asked {
            Ok(reply) => {
                backoff.reset();
                // A hub with no room for waiting questions answers at once.
                let pause = if reply.facts.is_empty() {
                    SHORT_WAIT.saturating_sub(begun.elapsed())
                } else {
                    Duration::ZERO
                };
                (reply.facts, Cursor::new(reply.hub, reply.upto), pause)
            }
            Err(_) => (
                Vec::new(),
                Cursor::default(),
                backoff.next(fastrand::f64()).max(SHORT_WAIT),
            ),
        };
        if !shared.pass_on(facts, &learned).await {
            return;
        }
        if lock(&shared.questions).settle(&subjects, cursor, Instant::now()) > 0 {
            shared.joined.notify_one();
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Keeps one long poll open for everything else.
pub(crate) async fn poll_standing(shared: Arc<Shared>, learned: mpsc::Sender<Learned>) {
    let mut backoff = backoff();
    let mut cursor = Cursor::default();
    while !shared.stop.is_cancelled() {
        let subjects = {
            let mut questions = lock(&shared.questions);
            questions.expire(Instant::now());
            shared.gauge(&mut questions);
            cursor = cursor.meet(questions.take_floor());
            questions.standing()
        };
        if subjects.is_empty() {
            tokio::select! {
                () = shared.joined.notified() => {}
                () = shared.stop.cancelled() => {}
            }
            continue;
        }
        let begun = Instant::now();
        let more_joined = async {
            sleep(LONG_PACE).await;
            shared.joined.notified().await;
        };
        let wait = Duration::from_millis(WAIT_MS_MAX);
        let asked = tokio::select! {
            asked = shared.ask_any(&subjects, cursor, wait) => asked,
            () = more_joined => continue,
            () = shared.stop.cancelled() => return,
        };
        let pause = match asked {
            Ok(reply) => {
                backoff.reset();
                let pause = if reply.facts.is_empty() {
                    LONG_PACE.saturating_sub(begun.elapsed())
                } else {
                    Duration::ZERO
                };
                cursor = Cursor::new(reply.hub, reply.upto);
                if !shared.pass_on(reply.facts, &learned).await {
                    return;
                }
                pause
            }
            Err(_) => backoff.next(fastrand::f64()).max(SHORT_WAIT),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Whether saying the same again would be answered the same.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Status {
            status: 400 | 413,
            ..
        }
    )
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(30))
}
