//! Moves bytes between lane, engine and socket.
//!
//! A connection is opened for the first batch and kept; it is not opened again before there is
//! something to send, so an idle output neither ticks nor reconnects. After a failure the next
//! attempt waits (back-off with jitter) with one batch in its hands, and the lane's channel fills
//! behind it: that is the back-pressure.

use std::io::Write;
use std::time::Instant;

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use flate2::write::GzEncoder;
use net::{Backoff, Stream};
use pipeline::output::{Answer, Batch, BatchId, ItemOutcome, Output};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::engine::{Action, Engine};
use crate::wire::{self, ChunkId};
use crate::{Compression, Error, ForwardSettings, Metrics};

/// How much is read from a receiver at once, in bytes; acknowledgements have 31.
const READ_BYTES: usize = 4096;

/// A receiver that speaks the forward protocol.
#[derive(Debug)]
pub struct Forward {
    client: Client,
    metrics: Metrics,
}

impl Forward {
    /// Checks the settings; opens nothing yet.
    ///
    /// # Errors
    /// [`Error::Settings`] if they contradict themselves.
    pub fn new(settings: ForwardSettings, metrics: Metrics) -> Result<Self, Error> {
        let problem = if settings.endpoint.scheme() != net::Scheme::Tcp {
            Some("endpoint is written host:port, without http://")
        } else if settings.in_flight_max == 0 {
            Some("in_flight_max is 0")
        } else if settings.username.is_some() != settings.password_file.is_some() {
            Some("username and password_file go together")
        } else if settings.username.is_some() && settings.shared_key_file.is_none() {
            Some("username needs a shared_key_file: receivers ask for both")
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

impl Output for Forward {
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

struct Task {
    client: Client,
    metrics: Metrics,
    batches: mpsc::Receiver<Batch>,
    answers: mpsc::Sender<(BatchId, Answer)>,
    backoff: Backoff,
    /// No connection is opened before.
    resume: Option<Instant>,
}

impl Task {
    async fn run(&mut self) -> Result<(), LaneGone> {
        while let Some(batch) = self.batches.recv().await {
            let Some(batch) = self.admit(batch).await? else {
                continue;
            };
            if let Some(resume) = self.resume.take() {
                sleep_until(resume.into()).await;
            }
            let error = match self.client.connect().await {
                Ok((stream, engine)) => {
                    self.metrics.connections.inc();
                    self.serve(stream, engine, batch).await?
                }
                Err(error) => {
                    self.retry(batch.id, error.label()).await?;
                    Some(error)
                }
            };
            if let Some(error) = error {
                self.report(&error);
                self.resume = Some(Instant::now() + self.backoff.next(fastrand::f64()));
            }
        }
        Ok(())
    }

    /// Answers what need not or cannot be sent.
    async fn admit(&self, batch: Batch) -> Result<Option<Batch>, LaneGone> {
        let answer = if batch.ends.is_empty() {
            Answer::Delivered
        } else if batch.bytes.len() <= self.client.settings().chunk_bytes_max {
            return Ok(Some(batch));
        } else if batch.ends.len() > 1 {
            Answer::TooLarge
        } else {
            Answer::Items(vec![ItemOutcome::Rejected {
                label: "too_large",
                reason: format!("{} bytes exceed chunk_bytes_max", batch.bytes.len()),
            }])
        };
        self.answer(batch.id, answer).await.map(|()| None)
    }

    /// Uses one connection to its end, beginning with `first`; answers everything that was sent on
    /// it. `None` if the connection ended in peace.
    async fn serve(
        &mut self,
        stream: Stream,
        engine: Engine,
        first: Batch,
    ) -> Result<Option<Error>, LaneGone> {
        let mut connection = Connection {
            engine,
            waiting: Some(first),
            outgoing: Outgoing::default(),
            lane_open: true,
        };
        let ended = self.exchange(stream, &mut connection).await?;
        self.metrics.in_flight.set(0);
        let label = ended.as_ref().map_or("closed", Error::label);
        let waiting = connection.waiting.map(|batch| batch.id);
        for id in connection.engine.into_unanswered().chain(waiting) {
            self.retry(id, label).await?;
        }
        Ok(ended)
    }

    async fn exchange(
        &mut self,
        stream: Stream,
        connection: &mut Connection,
    ) -> Result<Option<Error>, LaneGone> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = [0; READ_BYTES];
        loop {
            if let Err(error) = self.refill(connection) {
                return Ok(Some(error));
            }
            if connection.is_over() {
                return Ok(None);
            }
            let deadline = connection.engine.deadline();
            tokio::select! {
                read = reader.read(&mut buffer) => {
                    let bytes = match read {
                        Ok(0) => return Ok(connection.closed()),
                        Ok(length) => buffer.get(..length).unwrap_or_default(),
                        Err(error) => return Ok(Some(Error::Io(error))),
                    };
                    if let Err(error) = self.received(connection, bytes).await? {
                        return Ok(Some(error));
                    }
                }
                sent = connection.outgoing.send(&mut writer), if connection.outgoing.is_busy() => {
                    if let Err(error) = sent {
                        return Ok(Some(Error::Io(error)));
                    }
                }
                batch = self.batches.recv(), if connection.wants_batch() => match batch {
                    Some(batch) => connection.waiting = self.admit(batch).await?,
                    None => connection.lane_open = false,
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    if let Err(error) = connection.engine.on_time(Instant::now()) {
                        return Ok(Some(error));
                    }
                }
            }
        }
    }

    /// Hands the waiting batch to the socket once there is room.
    fn refill(&self, connection: &mut Connection) -> Result<(), Error> {
        if connection.outgoing.is_busy() || !connection.engine.has_room() {
            return Ok(());
        }
        let Some(batch) = connection.waiting.take() else {
            return Ok(());
        };
        let chunk = ChunkId::new(fastrand::u128(..));
        let gzip = self.client.settings().compression == Compression::Gzip;
        connection.engine.sent(batch.id, chunk, Instant::now());
        let entries = if gzip {
            compress(&batch.bytes).map_err(Error::Io)?
        } else {
            batch.bytes
        };
        let head = wire::message_head(&self.client.settings().tag, entries.len());
        let tail = wire::message_tail(chunk, batch.ends.len(), gzip);
        let bytes = head.len() + entries.len() + tail.len();
        connection.outgoing.put(head.into(), entries, tail.into());
        self.metrics.sent_chunks.inc();
        self.metrics.sent_bytes.inc_by(bytes as u64);
        self.show_in_flight(&connection.engine);
        Ok(())
    }

    async fn received(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
    ) -> Result<Result<(), Error>, LaneGone> {
        let mut actions = Vec::new();
        let result = connection
            .engine
            .on_bytes(bytes, Instant::now(), &mut actions);
        for action in actions {
            match action {
                Action::Send(ping) => {
                    connection
                        .outgoing
                        .put(ping.into(), Bytes::new(), Bytes::new());
                }
                Action::Ready => tracing::debug!("forward receiver accepted the handshake"),
                Action::Acknowledged(batch, took) => {
                    self.backoff.reset();
                    self.metrics.acknowledged_chunks.inc();
                    self.metrics.ack_seconds.observe(took.as_secs_f64());
                    self.answer(batch, Answer::Delivered).await?;
                }
            }
        }
        self.show_in_flight(&connection.engine);
        Ok(result)
    }

    async fn retry(&self, batch: BatchId, label: &'static str) -> Result<(), LaneGone> {
        self.answer(batch, Answer::Retry { after: None, label })
            .await
    }

    async fn answer(&self, batch: BatchId, answer: Answer) -> Result<(), LaneGone> {
        self.answers
            .send((batch, answer))
            .await
            .map_err(|_| LaneGone)
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
            "forward connection failed, what was in flight will be sent again"
        );
    }

    fn show_in_flight(&self, engine: &Engine) {
        let in_flight = i64::try_from(engine.in_flight()).unwrap_or(i64::MAX);
        self.metrics.in_flight.set(in_flight);
    }
}

/// What belongs to one connection besides its socket.
struct Connection {
    engine: Engine,
    /// Taken from the lane, not sent yet.
    waiting: Option<Batch>,
    outgoing: Outgoing,
    lane_open: bool,
}

impl Connection {
    fn wants_batch(&self) -> bool {
        self.lane_open && self.waiting.is_none() && self.engine.has_room()
    }

    /// Whether there is nothing left to do on it.
    fn is_over(&self) -> bool {
        let idle =
            self.waiting.is_none() && self.engine.in_flight() == 0 && !self.outgoing.is_busy();
        self.engine.is_used_up() || (!self.lane_open && idle)
    }

    /// What the receiver's close means; a close while nothing is awaited means nothing.
    fn closed(&self) -> Option<Error> {
        match self.engine.on_close() {
            Error::Closed { in_flight: 0 } if self.waiting.is_none() => None,
            error => Some(error),
        }
    }
}

/// A message on its way into the socket; sending may be interrupted at any await and goes on where
/// it was.
#[derive(Default)]
struct Outgoing {
    bytes: Option<Chain<Chain<Bytes, Bytes>, Bytes>>,
}

impl Outgoing {
    const fn is_busy(&self) -> bool {
        self.bytes.is_some()
    }

    fn put(&mut self, head: Bytes, entries: Bytes, tail: Bytes) {
        self.bytes = Some(head.chain(entries).chain(tail));
    }

    async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        if let Some(bytes) = &mut self.bytes {
            while bytes.has_remaining() {
                if writer.write_buf(bytes).await? == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
            }
            writer.flush().await?;
        }
        self.bytes = None;
        Ok(())
    }
}

fn compress(entries: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(entries.len() / 4),
        flate2::Compression::fast(),
    );
    encoder.write_all(entries)?;
    Ok(encoder.finish()?.into())
}
