//! Several bulk requests at a time, for a lane.
//!
//! After a request that failed as a whole nothing is sent for a while (back-off with jitter, or as long
//! as the server asked for); one batch waits here, and the lane's channel fills behind it: that is the
//! back-pressure. Without work nothing ticks.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use net::Backoff;
use pipeline::output::{Answer, Batch, BatchId, ItemOutcome, Output};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::{ElasticSettings, Error, Metrics};

/// A server with the bulk API.
#[derive(Debug)]
pub struct Elastic {
    client: Client,
    metrics: Metrics,
}

impl Elastic {
    /// Checks the settings; opens nothing yet.
    ///
    /// # Errors
    /// [`Error::Settings`] if they contradict themselves.
    pub fn new(settings: ElasticSettings, metrics: Metrics) -> Result<Self, Error> {
        let problem = if settings.endpoint.scheme() == net::Scheme::Tcp {
            Some("endpoint begins with http:// or https://")
        } else if settings.in_flight_max == 0 {
            Some("in_flight_max is 0")
        } else if settings.username.is_some() != settings.password_file.is_some() {
            Some("username and password_file go together")
        } else if settings.ways_to_prove() > 1 {
            Some("username, api_key_file and token_file exclude each other")
        } else if !is_index_name(&settings.index_prefix)
            || !is_index_name(&settings.request_index_prefix)
        {
            Some("an index prefix has lower-case letters, digits, '-', '_' and '.' only")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(Error::Settings(problem));
        }
        Ok(Self {
            client: Client::new(settings),
            metrics,
        })
    }
}

impl Output for Elastic {
    async fn run(
        self,
        batches: mpsc::Receiver<Batch>,
        answers: mpsc::Sender<(BatchId, Answer)>,
        stop: CancellationToken,
    ) {
        let mut task = Task {
            client: self.client,
            metrics: self.metrics,
            batches,
            answers,
            backoff: Backoff::default(),
            resume: None,
        };
        // What is in flight when `stop` comes stays unanswered: the lane keeps it.
        tokio::select! {
            _ = task.run() => {}
            () = stop.cancelled() => {}
        }
        task.metrics.in_flight.set(0);
    }
}

/// The lane is gone: nobody wants answers any more.
struct LaneGone;

/// A request that ended.
struct Done {
    batch: BatchId,
    items: usize,
    took: Duration,
    result: Result<Answer, Error>,
}

struct Task {
    client: Client,
    metrics: Metrics,
    batches: mpsc::Receiver<Batch>,
    answers: mpsc::Sender<(BatchId, Answer)>,
    backoff: Backoff,
    /// Nothing is sent before.
    resume: Option<Instant>,
}

impl Task {
    async fn run(&mut self) -> Result<(), LaneGone> {
        let mut requests = FuturesUnordered::new();
        let mut waiting: Option<Batch> = None;
        let mut lane_open = true;
        while lane_open || waiting.is_some() || !requests.is_empty() {
            let room = requests.len() < self.client.settings().in_flight_max;
            let resume = self.resume;
            tokio::select! {
                batch = self.batches.recv(), if lane_open && waiting.is_none() => match batch {
                    Some(batch) if batch.ends.is_empty() => {
                        self.answer(batch.id, Answer::Delivered).await?;
                    }
                    Some(batch) => waiting = Some(batch),
                    None => lane_open = false,
                },
                Some(done) = requests.next() => {
                    self.show_in_flight(requests.len());
                    self.finish(done).await?;
                }
                () = reached(resume), if room && waiting.is_some() => {
                    self.resume = None;
                    if let Some(batch) = waiting.take() {
                        requests.push(self.start(batch));
                        self.show_in_flight(requests.len());
                    }
                }
            }
        }
        Ok(())
    }

    /// The request for `batch`; it borrows nothing, so that others can be taken meanwhile.
    fn start(&self, batch: Batch) -> impl Future<Output = Done> + use<> {
        self.metrics.requests.inc();
        self.metrics.sent_bytes.inc_by(batch.bytes.len() as u64);
        let client = self.client.clone();
        async move {
            let sent = Instant::now();
            let result = client.send(&batch).await;
            Done {
                batch: batch.id,
                items: batch.ends.len(),
                took: sent.elapsed(),
                result,
            }
        }
    }

    async fn finish(&mut self, done: Done) -> Result<(), LaneGone> {
        self.metrics
            .request_seconds
            .observe(done.took.as_secs_f64());
        let answer = match done.result {
            Ok(answer) => {
                self.backoff.reset();
                self.count(&answer, done.items);
                answer
            }
            Err(error) => {
                self.report(&error);
                let wait = self.backoff.next(fastrand::f64());
                let wait = error.retry_after().unwrap_or_default().max(wait);
                self.resume = self.resume.max(Some(Instant::now() + wait));
                Answer::Retry {
                    after: error.retry_after(),
                    label: error.label(),
                }
            }
        };
        self.answer(done.batch, answer).await
    }

    fn count(&self, answer: &Answer, items: usize) {
        let count = |outcome: &str, items: usize| {
            let counter = self.metrics.items.with_label_values(&[outcome]);
            counter.inc_by(items as u64);
        };
        match answer {
            Answer::Delivered => count("delivered", items),
            Answer::TooLarge | Answer::Retry { .. } => count("split", items),
            Answer::Items(outcomes) => {
                for outcome in outcomes {
                    count(name(outcome), 1);
                }
                self.report_rejected(outcomes);
            }
        }
    }

    fn report(&self, error: &Error) {
        self.metrics
            .failures
            .with_label_values(&[error.label()])
            .inc();
        tracing::warn!(
            endpoint = %self.client.settings().endpoint,
            reason = error.label(),
            failures_in_a_row = self.backoff.failures() + 1,
            error = net::chain(error),
            "bulk request failed, it will be sent again"
        );
    }

    fn report_rejected(&self, outcomes: &[ItemOutcome]) {
        let mut rejected = outcomes.iter().filter_map(|outcome| match outcome {
            ItemOutcome::Rejected { label, reason } => Some((label, reason)),
            _ => None,
        });
        if let Some((label, reason)) = rejected.next() {
            tracing::warn!(
                endpoint = %self.client.settings().endpoint,
                items = rejected.count() + 1,
                reason = label,
                said = reason,
                "the server will never take these documents; the first one's reason is given"
            );
        }
    }

    async fn answer(&self, batch: BatchId, answer: Answer) -> Result<(), LaneGone> {
        self.answers
            .send((batch, answer))
            .await
            .map_err(|_| LaneGone)
    }

    fn show_in_flight(&self, requests: usize) {
        let in_flight = i64::try_from(requests).unwrap_or(i64::MAX);
        self.metrics.in_flight.set(in_flight);
    }
}

/// Waits for a moment, if there is one; at once does not mean at the timer's next tick.
async fn reached(moment: Option<Instant>) {
    if let Some(moment) = moment {
        sleep_until(moment.into()).await;
    }
}

const fn name(outcome: &ItemOutcome) -> &'static str {
    match outcome {
        ItemOutcome::Delivered => "delivered",
        ItemOutcome::Duplicate => "duplicate",
        ItemOutcome::Retry { .. } => "retry",
        ItemOutcome::Rejected { .. } => "rejected",
    }
}

fn is_index_name(prefix: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    prefix.bytes().all(allowed) && prefix.starts_with(|c: char| c.is_ascii_alphanumeric())
}
