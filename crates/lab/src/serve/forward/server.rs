//! Listens for forward connections: reads messages, stores them, acknowledges what is committed.

use std::net::SocketAddr;
use std::sync::Arc;

use model::time::UnixNanos;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wire::{self, Framer, Message};
use crate::serve::DRAIN_MAX;
use crate::serve::document;
use crate::serve::metrics::Metrics;
use crate::serve::store::{self, Incoming, Lane, Pending, Store};

/// Connections at one time; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 128;
/// Messages of one connection that may wait for their commit.
const UNACKNOWLEDGED_MAX: usize = 64;
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// A bound forward receiver that is not served yet.
pub(crate) struct Forward {
    listener: TcpListener,
    store: Store,
    metrics: Arc<Metrics>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the peer sent {0}")]
    Wire(#[from] wire::Error),
    #[error("the peer went away in the middle of a message ({bytes} bytes of it had come)")]
    Unfinished { bytes: usize },
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("documents could not be stored: {0}")]
    Store(#[from] store::Error),
}

/// A message on its way into the store.
struct Sent {
    pending: Pending,
    ack: Option<Vec<u8>>,
}

impl Forward {
    pub(crate) async fn bind(
        address: SocketAddr,
        store: Store,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            store,
            metrics,
        })
    }

    pub(crate) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Receives until `stop`; what was read by then is committed and, if the peer takes it in time,
    /// acknowledged before it returns.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                continue;
            };
            let connection = Connection {
                peer,
                store: self.store.clone(),
                metrics: Arc::clone(&self.metrics),
                stop: stop.clone(),
            };
            connections.spawn(async move {
                connection.run(stream).await;
                drop(permit);
            });
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::warn!("forward peers did not take their last acknowledgements in time");
        }
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a forward connection");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            None
        }
    }
}

struct Connection {
    peer: SocketAddr,
    store: Store,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        self.metrics.forward_connections.inc();
        let ended = self.exchange(stream).await;
        self.metrics.forward_connections.dec();
        let peer = self.peer;
        let Err(error) = ended else {
            tracing::debug!(%peer, "forward connection closed");
            return;
        };
        let reason = match &error {
            Ended::Wire(error) => error.label(),
            Ended::Unfinished { .. } => "unfinished",
            Ended::Io(_) => "connection",
            Ended::Store(_) => "store",
        };
        self.metrics
            .forward_errors
            .with_label_values(&[reason])
            .inc();
        tracing::warn!(%peer, %error, "forward connection closed");
    }

    async fn exchange(&self, stream: TcpStream) -> Result<(), Ended> {
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        let (sent, answers) = mpsc::channel(UNACKNOWLEDGED_MAX);
        // Both halves end on their own: the reader when the peer, its bytes or the stop end it, the
        // acknowledger when the reader is gone and everything it sent is answered.
        let (read, acknowledged) = tokio::join!(
            self.read(reading, sent),
            acknowledge(writing, answers, &self.metrics)
        );
        read.and(acknowledged)
    }

    async fn read(&self, mut stream: OwnedReadHalf, sent: mpsc::Sender<Sent>) -> Result<(), Ended> {
        let mut framer = Framer::default();
        loop {
            while let Some(bytes) = framer.next()? {
                let Some(message) = self.store_message(bytes).await? else {
                    continue;
                };
                if sent.send(message).await.is_err() {
                    return Ok(());
                }
            }
            let spare = framer.spare();
            spare.reserve(READ_BYTES);
            let count = tokio::select! {
                count = stream.read_buf(spare) => count?,
                () = self.stop.cancelled() => return Ok(()),
                () = sent.closed() => return Ok(()),
            };
            if count == 0 {
                return match framer.left() {
                    0 => Ok(()),
                    bytes => Err(Ended::Unfinished { bytes }),
                };
            }
        }
    }

    async fn store_message(&self, bytes: &[u8]) -> Result<Option<Sent>, Ended> {
        // Room for the message and for what it becomes: text of about twice its size.
        let room = self.store.room(bytes.len().saturating_mul(3)).await?;
        let Some(message) = Message::parse(bytes)? else {
            self.metrics.forward_heartbeats.inc();
            return Ok(None);
        };
        let rows = message
            .entries
            .into_iter()
            .map(|entry| row(entry.time, entry.json));
        let rows = rows.collect::<Result<Vec<Incoming>, wire::Error>>()?;
        let pending = self.store.write(Lane::Forward, rows, room).await?;
        Ok(Some(Sent {
            pending,
            ack: message.ack,
        }))
    }
}

/// Acknowledges messages in the order they came, each after its commit.
async fn acknowledge(
    mut stream: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Sent>,
    metrics: &Metrics,
) -> Result<(), Ended> {
    while let Some(sent) = answers.recv().await {
        sent.pending.committed().await?;
        metrics.forward_messages.inc();
        if let Some(ack) = sent.ack {
            stream.write_all(&ack).await?;
        }
    }
    Ok(())
}

fn row(time: UnixNanos, json: String) -> Result<Incoming, wire::Error> {
    document::from_forward(time, json)
        .map_err(|_| wire::Error::NotAMessage("a record that is no JSON object"))
}
