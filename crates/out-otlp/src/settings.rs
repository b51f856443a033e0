//! What an operator may say about an OTLP destination.

use std::path::PathBuf;
use std::time::Duration;

use net::{Endpoint, TlsSettings};
use serde::Deserialize;

use crate::error::Error;
use crate::rules::NoiseSettings;

/// A receiver of OTLP over HTTP, and what it gets.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// `http(s)://host[:port][/path]` of the receiver; `/v1/traces` is appended. Usually port 4318.
    pub endpoint: Endpoint,
    /// Most spans of one request; 256 by default.
    #[serde(default = "batch_spans")]
    pub batch_spans: usize,
    /// Whether requests are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Longest wait for a connection, in seconds.
    #[serde(default = "connect_timeout_seconds")]
    pub connect_timeout_seconds: u64,
    /// Longest time of one request in seconds; then it is sent again.
    #[serde(default = "request_timeout_seconds")]
    pub request_timeout_seconds: u64,
    /// Whom to trust where the endpoint is `https`; the system's authorities by default.
    #[serde(default)]
    pub tls: TlsSettings,
    /// File with the bearer token by which the receiver knows us; read again for every request.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// How much of what is rarely looked at is exported.
    #[serde(default)]
    pub noise: NoiseSettings,
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

impl OtlpSettings {
    /// The defaults for a receiver at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            batch_spans: batch_spans(),
            compression: Compression::None,
            connect_timeout_seconds: connect_timeout_seconds(),
            request_timeout_seconds: request_timeout_seconds(),
            tls: TlsSettings::default(),
            token_file: None,
            noise: NoiseSettings::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.endpoint.scheme() == net::Scheme::Tcp {
            return Err(Error::Settings("endpoint begins with http:// or https://"));
        }
        if self.batch_spans == 0 {
            return Err(Error::Settings("batch_spans is 0"));
        }
        Ok(())
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds)
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }
}

const fn batch_spans() -> usize {
    256
}

const fn connect_timeout_seconds() -> u64 {
    10
}

const fn request_timeout_seconds() -> u64 {
    10
}
