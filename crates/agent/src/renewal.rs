//! A destination whose settings can change while its lane goes on.
//!
//! ```text
//! lane ─batches─▶ Renewing ─▶ output as settings say now ─▶ peer
//!      ◀─answers─         ◀─
//! ```
//! When settings change, the old output gets no more batches and some time to finish what it has;
//! what it has not answered then is answered in its place with "again", and the lane sends it to the
//! new one. Ids make it harmless if the old peer had stored it already.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pipeline::output::{Answer, Batch, BatchId, Output};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long an output may take to finish once its settings have changed.
const FINISH: Duration = Duration::from_secs(2);
/// Why a batch is sent again.
const LABEL: &str = "settings";

/// The output of a lane that can be renewed.
pub(crate) struct Renewing<O> {
    first: O,
    renewed: Renewed<O>,
}

/// Renews the output of one lane.
pub(crate) struct Renewal<O>(Arc<Slot<O>>);

/// Hears of a new output.
pub(crate) struct Renewed<O>(Arc<Slot<O>>);

/// The newest output that is not used yet.
struct Slot<O> {
    next: Mutex<Option<O>>,
    filled: Notify,
}

/// An output that begins as `first`, and what renews it.
pub(crate) fn renewing<O>(first: O) -> (Renewing<O>, Renewal<O>) {
    let (renewal, renewed) = renewal();
    (Renewing { first, renewed }, renewal)
}

/// For a lane that renews its output itself.
pub(crate) fn renewal<O>() -> (Renewal<O>, Renewed<O>) {
    let slot = Arc::new(Slot {
        next: Mutex::new(None),
        filled: Notify::new(),
    });
    (Renewal(Arc::clone(&slot)), Renewed(slot))
}

impl<O> Renewal<O> {
    /// Goes on with `output`; one that was not used yet is replaced.
    pub(crate) fn renew(&self, output: O) {
        *self.0.lock() = Some(output);
        self.0.filled.notify_one();
    }
}

impl<O> Slot<O> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<O>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O> Renewed<O> {
    /// The newest output, if it was not fetched yet.
    pub(crate) fn take(&self) -> Option<O> {
        self.0.lock().take()
    }

    /// Waits for a new output.
    pub(crate) async fn next(&self) -> O {
        loop {
            if let Some(output) = self.take() {
                return output;
            }
            self.0.filled.notified().await;
        }
    }
}

impl<O: Output> Output for Renewing<O> {
    async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        answers: mpsc::Sender<(BatchId, Answer)>,
        stop: CancellationToken,
    ) {
        let mut output = self.first;
        while let Some(next) = serve(output, &self.renewed, (&mut batches, &answers), &stop).await {
            output = next;
        }
    }
}

/// Lets `output` work until there is a new one; nothing when it ended, or nobody wants answers.
async fn serve<O: Output>(
    output: O,
    renewed: &Renewed<O>,
    (batches, answers): (&mut mpsc::Receiver<Batch>, &mpsc::Sender<(BatchId, Answer)>),
    stop: &CancellationToken,
) -> Option<O> {
    let (to_output, its_batches) = mpsc::channel(1);
    let (its_answers, mut from_output) = mpsc::channel(1);
    let end = stop.child_token();
    let mut running = Box::pin(output.run(its_batches, its_answers, end.clone()));
    let mut lane = Lane {
        answers,
        flying: BTreeSet::new(),
    };
    let mut to_output = Some(to_output);
    let mut held: Option<Batch> = None;
    let mut is_closed = false;
    let next = loop {
        if is_closed {
            to_output = None;
        }
        tokio::select! {
            answer = from_output.recv() => match answer {
                Some(answer) => lane.answer(answer).await?,
                // it has ended
                None => return None,
            },
            () = &mut running => {
                while let Ok(answer) = from_output.try_recv() {
                    lane.answer(answer).await?;
                }
                return None;
            }
            batch = batches.recv(), if held.is_none() && !is_closed => match batch {
                Some(batch) => {
                    lane.flying.insert(batch.id);
                    held = Some(batch);
                }
                None => is_closed = true,
            },
            room = reserve(to_output.as_ref()), if held.is_some() => match (room, held.take()) {
                (Some(room), Some(batch)) => room.send(batch),
                _ => return None,
            },
            next = renewed.next(), if !is_closed => break next,
        }
    };
    drop(to_output);
    let finish = async {
        loop {
            tokio::select! {
                () = &mut running => return Some(()),
                Some(answer) = from_output.recv() => lane.answer(answer).await?,
            }
        }
    };
    let finished = timeout(FINISH, finish).await;
    if finished.is_err() {
        end.cancel();
        // it may be waiting for room for an answer
        loop {
            tokio::select! {
                () = &mut running => break,
                Some(answer) = from_output.recv() => lane.answer(answer).await?,
            }
        }
    }
    while let Ok(answer) = from_output.try_recv() {
        lane.answer(answer).await?;
    }
    lane.give_back().await?;
    Some(next)
}

async fn reserve(to_output: Option<&mpsc::Sender<Batch>>) -> Option<mpsc::Permit<'_, Batch>> {
    to_output?.reserve().await.ok()
}

/// The side of the lane.
struct Lane<'a> {
    answers: &'a mpsc::Sender<(BatchId, Answer)>,
    /// Batches without an answer.
    flying: BTreeSet<BatchId>,
}

impl Lane<'_> {
    async fn answer(&mut self, (id, answer): (BatchId, Answer)) -> Option<()> {
        self.flying.remove(&id);
        self.answers.send((id, answer)).await.ok()
    }

    async fn give_back(&mut self) -> Option<()> {
        while let Some(id) = self.flying.pop_first() {
            let again = Answer::Retry {
                after: None,
                label: LABEL,
            };
            self.answers.send((id, again)).await.ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
