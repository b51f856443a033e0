//! One connection's state: the handshake, and the chunks that are not acknowledged yet.
//!
//! ```text
//! with a shared key:     Helo ──HELO/PING──▶ Pong ──PONG ok──▶ Ready
//! without:               Ready
//! Ready: sent(chunk) … ack(chunk) in any order; an ack for anything else ends the connection
//! ```
//! The engine sees bytes and instants and answers with actions; it owns no socket, no clock and no
//! randomness. An error is final: what is in flight then ([`Engine::into_unanswered`]) was not
//! acknowledged.

use std::fmt;
use std::time::{Duration, Instant};

use pipeline::output::BatchId;

use crate::Error;
use crate::wire::{self, ChunkId, Helo, Pong};

/// Who we are to a receiver that asks.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// What we call ourselves.
    pub(crate) hostname: String,
    /// The secret both sides know.
    pub(crate) shared_key: Vec<u8>,
    /// User and password, if the receiver wants them.
    pub(crate) login: Option<(String, Vec<u8>)>,
    /// Fresh for every connection.
    pub(crate) salt: String,
}

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the whole handshake.
    pub(crate) handshake: Duration,
    /// From sending a chunk to its acknowledgement.
    pub(crate) ack: Duration,
    /// Chunks in flight.
    pub(crate) in_flight_max: usize,
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Chunks may be sent from now on.
    Ready,
    /// This batch was acknowledged, this long after it was sent.
    Acknowledged(BatchId, Duration),
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Engine {
    phase: Phase,
    limits: Limits,
    opened: Instant,
    keepalive: bool,
    sent_before: bool,
    received: Vec<u8>,
    in_flight: Vec<InFlight>,
}

#[derive(Debug)]
enum Phase {
    Helo(Credentials),
    Pong(Credentials, Helo),
    Ready,
}

#[derive(Debug)]
struct InFlight {
    batch: BatchId,
    chunk: ChunkId,
    sent: Instant,
}

impl Engine {
    /// The state of a connection that was just opened.
    pub(crate) fn new(credentials: Option<Credentials>, limits: Limits, now: Instant) -> Self {
        Self {
            phase: credentials.map_or(Phase::Ready, Phase::Helo),
            limits,
            opened: now,
            keepalive: true,
            sent_before: false,
            received: Vec::new(),
            in_flight: Vec::with_capacity(limits.in_flight_max),
        }
    }

    /// Whether another chunk may be sent now.
    pub(crate) const fn has_room(&self) -> bool {
        matches!(self.phase, Phase::Ready)
            && self.in_flight.len() < self.limits.in_flight_max
            && (self.keepalive || !self.sent_before)
    }

    /// How many chunks are not acknowledged.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the receiver wants the connection closed: it allows one chunk, and that is done.
    pub(crate) const fn is_used_up(&self) -> bool {
        !self.keepalive && self.sent_before && self.in_flight.is_empty()
    }

    /// Notes that `batch` is being sent as `chunk`.
    pub(crate) fn sent(&mut self, batch: BatchId, chunk: ChunkId, now: Instant) {
        self.sent_before = true;
        self.in_flight.push(InFlight {
            batch,
            chunk,
            sent: now,
        });
    }

    /// When something is overdue; `None` while nothing is awaited.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Helo(_) | Phase::Pong(..) => Some(self.opened + self.limits.handshake),
            Phase::Ready => self
                .in_flight
                .iter()
                .map(|chunk| chunk.sent + self.limits.ack)
                .min(),
        }
    }

    /// Tells the engine the time.
    ///
    /// # Errors
    /// If something is overdue.
    pub(crate) fn on_time(&self, now: Instant) -> Result<(), Error> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let waited = self.limits.handshake;
        Err(match self.phase {
            Phase::Helo(_) => Error::NoHelo { waited },
            Phase::Pong(..) => Error::HandshakeTimeout { waited },
            Phase::Ready => Error::AckTimeout {
                waited: self.limits.ack,
            },
        })
    }

    /// Takes what the receiver sent, in pieces of any size. Actions that were decided before an
    /// error count.
    ///
    /// # Errors
    /// If the receiver refuses us or breaks the protocol.
    pub(crate) fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Result<(), Error> {
        let mut received = std::mem::take(&mut self.received);
        received.extend_from_slice(bytes);
        let mut rest = received.as_slice();
        while !rest.is_empty()
            && let Some(length) = self.next(rest, now, actions)?
        {
            rest = rest.get(length..).unwrap_or_default();
        }
        let used = received.len() - rest.len();
        received.drain(..used);
        self.received = received;
        Ok(())
    }

    /// The receiver closed the connection: in which sense?
    pub(crate) const fn on_close(&self) -> Error {
        if self.received.is_empty() {
            Error::Closed {
                in_flight: self.in_flight.len(),
            }
        } else {
            Error::ClosedInside
        }
    }

    /// What was sent and not acknowledged.
    pub(crate) fn into_unanswered(self) -> impl Iterator<Item = BatchId> {
        self.in_flight.into_iter().map(|chunk| chunk.batch)
    }

    /// Handles one message at the front of `rest` and answers its length; `None` if it is not
    /// complete.
    fn next(
        &mut self,
        rest: &[u8],
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Result<Option<usize>, Error> {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Ready => self.on_ack(rest, now, actions),
            Phase::Helo(credentials) => {
                let Some((helo, length)) = wire::read_helo(rest)? else {
                    self.phase = Phase::Helo(credentials);
                    return Ok(None);
                };
                self.keepalive = helo.keepalive;
                actions.push(Action::Send(credentials.ping(&helo)));
                self.phase = Phase::Pong(credentials, helo);
                Ok(Some(length))
            }
            Phase::Pong(credentials, helo) => {
                let Some((pong, length)) = wire::read_pong(rest)? else {
                    self.phase = Phase::Pong(credentials, helo);
                    return Ok(None);
                };
                credentials.check(&helo, pong)?;
                actions.push(Action::Ready);
                Ok(Some(length))
            }
        }
    }

    fn on_ack(
        &mut self,
        rest: &[u8],
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Result<Option<usize>, Error> {
        match wire::begins_like_helo(rest) {
            Some(true) => return Err(Error::SecurityExpected),
            Some(false) => {}
            None => return Ok(None),
        }
        let Some((chunk, length)) = wire::read_ack(rest)? else {
            return Ok(None);
        };
        let known = |sent: &InFlight| sent.chunk.as_bytes() == chunk;
        let at = self
            .in_flight
            .iter()
            .position(known)
            .ok_or(Error::UnknownAck)?;
        let done = self.in_flight.remove(at);
        actions.push(Action::Acknowledged(
            done.batch,
            now.saturating_duration_since(done.sent),
        ));
        Ok(Some(length))
    }
}

impl Credentials {
    fn ping(&self, helo: &Helo) -> Vec<u8> {
        let login = self
            .login
            .as_ref()
            .map(|(username, password)| (username.as_str(), password.as_slice()));
        wire::ping(helo, &self.hostname, &self.salt, &self.shared_key, login)
    }

    fn check(&self, helo: &Helo, pong: Pong) -> Result<(), Error> {
        if !pong.accepted {
            return Err(Error::Refused {
                reason: pong.reason,
            });
        }
        let expected = wire::key_digest(&self.salt, &pong.hostname, &helo.nonce, &self.shared_key);
        if pong.digest != expected.as_bytes() {
            return Err(Error::WrongDigest);
        }
        Ok(())
    }
}

/// Without the secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.login.as_ref().map(|(user, _)| user);
        write!(f, "Credentials({}, user {user:?})", self.hostname)
    }
}

#[cfg(test)]
mod tests;
