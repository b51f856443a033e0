//! Why a connection to a receiver came to its end, in words for the operator and labels for metrics.

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong between us and a receiver. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings contradict themselves.
    #[error("settings of the forward output: {0}")]
    Settings(&'static str),
    /// No connection was made.
    #[error("connecting to the forward receiver")]
    Connect(#[from] net::Error),
    /// A file with a secret cannot be read.
    #[error("reading the secret in {path}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A secret is set and the receiver does not ask for one.
    #[error(
        "the receiver sent no HELO within {} s: it expects no shared key; remove shared_key_file \
         here or add a <security> section there", waited.as_secs()
    )]
    NoHelo {
        /// How long we waited.
        waited: Duration,
    },
    /// The receiver asks for a secret and none is set.
    #[error("the receiver wants a handshake with a shared key; set shared_key_file")]
    SecurityExpected,
    /// The receiver began the handshake and did not end it.
    #[error("the receiver did not answer the handshake within {} s", waited.as_secs())]
    HandshakeTimeout {
        /// How long we waited.
        waited: Duration,
    },
    /// The receiver does not accept our key, user or password.
    #[error("the receiver refused the handshake: {reason}")]
    Refused {
        /// Its own words, shortened.
        reason: String,
    },
    /// The receiver could not prove that it knows the shared key.
    #[error(
        "the receiver does not know our shared key although it accepted ours: it is not who it \
         should be"
    )]
    WrongDigest,
    /// An acknowledgement did not come.
    #[error(
        "no acknowledgement within {} s: the receiver hangs, its buffer is full, or the message \
         exceeds its chunk_size_limit", waited.as_secs()
    )]
    AckTimeout {
        /// How long we waited.
        waited: Duration,
    },
    /// An acknowledgement names a chunk that is not in flight.
    #[error("the receiver acknowledged a chunk that is not in flight")]
    UnknownAck,
    /// What came is not part of the protocol.
    #[error("the receiver sent what is no {expected}; is it a forward receiver?")]
    Garbage {
        /// What should have come.
        expected: &'static str,
    },
    /// What came does not end.
    #[error("the receiver sent a message longer than {max} bytes; is it a forward receiver?")]
    Oversized {
        /// The cap.
        max: usize,
    },
    /// The receiver closed the connection.
    #[error("the receiver closed the connection with {in_flight} messages in flight")]
    Closed {
        /// How many messages were not acknowledged.
        in_flight: usize,
    },
    /// The receiver closed the connection inside a message of its own.
    #[error("the receiver closed the connection in the middle of an answer")]
    ClosedInside,
    /// The connection broke.
    #[error("talking to the forward receiver")]
    Io(#[source] std::io::Error),
}

impl Error {
    /// Labels of what a receiver does wrong: counted from 0 on, so that the first time is seen, too.
    pub(crate) const OF_RECEIVERS: [&str; 5] = [
        "ack_timeout",
        "unknown_ack",
        "closed_inside_answer",
        "garbage",
        "closed",
    ];

    /// A bounded name of the reason, for metrics and answers.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::Connect(error) => error.label(),
            Self::Secret { .. } => "secret_file",
            Self::NoHelo { .. } => "no_helo",
            Self::SecurityExpected => "security_expected",
            Self::HandshakeTimeout { .. } => "handshake_timeout",
            Self::Refused { .. } => "handshake_refused",
            Self::WrongDigest => "wrong_digest",
            Self::AckTimeout { .. } => "ack_timeout",
            Self::UnknownAck => "unknown_ack",
            Self::Garbage { .. } => "garbage",
            Self::Oversized { .. } => "oversized",
            Self::Closed { .. } => "closed",
            Self::ClosedInside => "closed_inside_answer",
            Self::Io(_) => "io",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_from_0_on_are_labels() {
        let waited = Duration::ZERO;
        let errors = [
            Error::AckTimeout { waited },
            Error::UnknownAck,
            Error::ClosedInside,
        ];
        for error in errors {
            assert!(Error::OF_RECEIVERS.contains(&error.label()), "{error}");
        }
    }
}
