//! What an operator may say about an Elasticsearch or OpenSearch destination.

use std::path::PathBuf;
use std::time::Duration;

use net::{Endpoint, TlsSettings};
use serde::Deserialize;

/// A server with the bulk API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticSettings {
    /// `http(s)://host[:port][/path]` of the server.
    pub endpoint: Endpoint,
    /// Log lines go to `<this>-<YYYY.MM.DD>`, the day being the line's own.
    #[serde(default = "index_prefix")]
    pub index_prefix: String,
    /// Request documents go to `<this>-<YYYY.MM.DD>`.
    #[serde(default = "request_index_prefix")]
    pub request_index_prefix: String,
    /// Whether requests are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Requests sent and not answered yet, at most.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// Largest batch in bytes before compression; a larger one goes back to be split. Must stay below
    /// the server's `http.max_content_length` and that of every proxy on the way.
    #[serde(default = "bulk_bytes_max")]
    pub bulk_bytes_max: usize,
    /// Longest wait for a connection, in seconds.
    #[serde(default = "connect_timeout_seconds")]
    pub connect_timeout_seconds: u64,
    /// Longest time of one request in seconds.
    #[serde(default = "request_timeout_seconds")]
    pub request_timeout_seconds: u64,
    /// Whom to trust where the endpoint is `https`; the system's authorities by default.
    #[serde(default)]
    pub tls: TlsSettings,
    /// User name, for basic authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password of `username`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// File with an API key in its encoded form, instead of a user.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// File with a bearer token, instead of a user.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: inside a cluster bytes are cheaper than CPU.
    #[default]
    None,
    /// gzip, fastest level.
    Gzip,
}

impl ElasticSettings {
    /// The defaults for a server at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            index_prefix: index_prefix(),
            request_index_prefix: request_index_prefix(),
            compression: Compression::None,
            in_flight_max: in_flight_max(),
            bulk_bytes_max: bulk_bytes_max(),
            connect_timeout_seconds: connect_timeout_seconds(),
            request_timeout_seconds: request_timeout_seconds(),
            tls: TlsSettings::default(),
            username: None,
            password_file: None,
            api_key_file: None,
            token_file: None,
        }
    }

    /// In how many ways we would say who we are.
    pub(crate) fn ways_to_prove(&self) -> usize {
        let ways = [
            self.username.is_some(),
            self.api_key_file.is_some(),
            self.token_file.is_some(),
        ];
        ways.into_iter().filter(|is_set| *is_set).count()
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds)
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }
}

fn index_prefix() -> String {
    "emco-logs".to_owned()
}

fn request_index_prefix() -> String {
    "emco-requests".to_owned()
}

const fn in_flight_max() -> usize {
    2
}

const fn bulk_bytes_max() -> usize {
    16 << 20
}

const fn connect_timeout_seconds() -> u64 {
    10
}

const fn request_timeout_seconds() -> u64 {
    60
}
