//! What an operator may say about a forward destination.

use std::path::PathBuf;
use std::time::Duration;

use net::{Endpoint, TlsSettings};
use serde::Deserialize;

/// A receiver that speaks the forward protocol, e.g. Fluentd's `in_forward`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardSettings {
    /// `host:port` of the receiver.
    pub endpoint: Endpoint,
    /// Tag of every message; routing at the receiver goes by it.
    #[serde(default = "tag")]
    pub tag: String,
    /// Whether messages are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Messages sent and not yet acknowledged, at most; 1 is stop and wait.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// Largest batch in bytes before compression; a larger one goes back to be split. Must stay well
    /// below the receiver's `chunk_size_limit`: what exceeds that is dropped there without an answer.
    #[serde(default = "chunk_bytes_max")]
    pub chunk_bytes_max: usize,
    /// Longest wait for a connection, and again for TLS and for the handshake, in seconds.
    #[serde(default = "connect_timeout_seconds")]
    pub connect_timeout_seconds: u64,
    /// Longest wait for an acknowledgement in seconds; then the connection is given up.
    #[serde(default = "ack_timeout_seconds")]
    pub ack_timeout_seconds: u64,
    /// TLS, where the receiver wants it; an empty section trusts the system's authorities.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// File with the receiver's `shared_key`; without it there is no handshake.
    #[serde(default)]
    pub shared_key_file: Option<PathBuf>,
    /// User name, where the receiver also wants a user.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password of `username`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// What we call ourselves in the handshake; receivers print it in their logs.
    #[serde(default = "client_hostname")]
    pub client_hostname: String,
}

/// How messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: inside a cluster bytes are cheaper than CPU.
    #[default]
    None,
    /// gzip, fastest level; costs more CPU than everything else together.
    Gzip,
}

impl ForwardSettings {
    /// The defaults for a receiver at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tag: tag(),
            compression: Compression::None,
            in_flight_max: in_flight_max(),
            chunk_bytes_max: chunk_bytes_max(),
            connect_timeout_seconds: connect_timeout_seconds(),
            ack_timeout_seconds: ack_timeout_seconds(),
            tls: None,
            shared_key_file: None,
            username: None,
            password_file: None,
            client_hostname: client_hostname(),
        }
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds)
    }

    pub(crate) const fn ack_timeout(&self) -> Duration {
        Duration::from_secs(self.ack_timeout_seconds)
    }
}

fn tag() -> String {
    "emco.logs".to_owned()
}

const fn in_flight_max() -> usize {
    4
}

const fn chunk_bytes_max() -> usize {
    4 << 20
}

const fn connect_timeout_seconds() -> u64 {
    10
}

const fn ack_timeout_seconds() -> u64 {
    60
}

fn client_hostname() -> String {
    "emco-observer".to_owned()
}
