//! What can go wrong on the way to a peer.

use std::path::PathBuf;
use std::time::Duration;

/// Why something did not get to its peer, or back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text in the settings names no endpoint.
    #[error("{text:?} is no endpoint: {problem}; write host:port or http(s)://host[:port][/path]")]
    Endpoint {
        /// What was written.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name has no address, or nobody listens there.
    #[error("connecting to {peer}")]
    Connect {
        /// Host and port.
        peer: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The peer did not answer in time.
    #[error("{doing} {peer} took longer than {} s", limit.as_secs_f32())]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// Host and port.
        peer: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// The TLS handshake failed.
    #[error("starting TLS with {peer}")]
    Tls {
        /// Host and port.
        peer: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file with certificates or a key cannot be used.
    #[error("reading {path}: {problem}")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file with a secret cannot be read, or what is in it cannot be used.
    #[error("reading the secret in {}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// One of the two files that say who we are is not named.
    #[error("cert_file and key_file go together: set {missing} beside {path}")]
    TlsHalf {
        /// The file that is named.
        path: PathBuf,
        /// The setting that is not.
        missing: &'static str,
    },
    /// A certificate that we should show cannot be used.
    #[error("taking a certificate and its key: {problem}")]
    Identity {
        /// What is wrong with it.
        problem: String,
    },
    /// The settings for TLS contradict themselves.
    #[error("setting up TLS")]
    TlsSetup(#[source] rustls::Error),
    /// The machine has no trusted roots and no file names others.
    #[error("no trusted certificate authority found on this machine; set ca_file")]
    NoRoots,
    /// The request could not be built, e.g. for a header that is no header.
    #[error("building the request for {peer}")]
    Request {
        /// Host and port.
        peer: String,
        /// The cause.
        #[source]
        source: http::Error,
    },
    /// The exchange broke off.
    #[error("talking HTTP to {peer}")]
    Exchange {
        /// Host and port.
        peer: String,
        /// Whether no connection could be made at all.
        connect: bool,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The body is longer than whoever reads it allows.
    #[error("body is longer than {max} bytes")]
    BodyTooLong {
        /// The cap in bytes.
        max: usize,
    },
    /// The body broke off.
    #[error("reading a body")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body says it is compressed and is not, or in a way that is not supported.
    #[error("decompressing a body: {0}")]
    Encoding(String),
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// A bounded name of the reason, for metrics and answers.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Endpoint { .. } | Self::Request { .. } | Self::TlsSetup(_) => "settings",
            Self::Connect { .. } | Self::Exchange { connect: true, .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } => "tls",
            Self::TlsFile { .. } | Self::TlsHalf { .. } | Self::Identity { .. } | Self::NoRoots => {
                "tls_files"
            }
            Self::Secret { .. } => "secret_file",
            Self::Exchange { connect: false, .. } => "closed",
            Self::BodyTooLong { .. } => "body_too_long",
            Self::Body(_) => "body",
            Self::Encoding(_) => "encoding",
            Self::Listen { .. } => "listen",
        }
    }
}

/// An error and everything below it as one sentence, for a log line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
