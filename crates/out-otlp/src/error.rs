//! Why an export came to nothing, in words for the operator and labels for metrics.

use std::time::Duration;

/// What went wrong between us and the receiver. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings contradict themselves.
    #[error("settings of the otlp output: {0}")]
    Settings(&'static str),
    /// The exporter of the library could not be made.
    #[error("making the exporter for {url}")]
    Build {
        /// Where it sends to.
        url: String,
        /// The cause.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The body could not be compressed.
    #[error("compressing spans")]
    Compress(#[source] std::io::Error),
    /// There was no whole answer.
    #[error("sending spans")]
    Exchange(#[from] net::Error),
    /// The receiver cannot take spans now, or not at this address.
    #[error("the receiver answered {status} to spans{}; it said: {said}", hint(*status))]
    Status {
        /// The status.
        status: u16,
        /// Its `Retry-After`.
        after: Option<Duration>,
        /// Its own words, shortened.
        said: String,
    },
}

impl Error {
    /// Names of reasons that are shown before they happen: what receivers answer.
    pub(crate) const OF_SERVERS: [&'static str; 9] = [
        "secret_file",
        "tls",
        "http_401",
        "http_403",
        "http_404",
        "http_429",
        "http_4xx",
        "http_503",
        "http_5xx",
    ];

    /// A bounded name of the reason, for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Settings(_) | Self::Build { .. } => "settings",
            Self::Compress(_) => "compress",
            Self::Exchange(error) => error.label(),
            Self::Status { status, .. } => match status {
                401 => "http_401",
                403 => "http_403",
                404 => "http_404",
                429 => "http_429",
                503 => "http_503",
                500..=599 => "http_5xx",
                400..=499 => "http_4xx",
                300..=399 => "http_3xx",
                _ => "http_other",
            },
        }
    }

    /// How long the receiver asked us to wait.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { after, .. } => *after,
            _ => None,
        }
    }
}

const fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => ": check token_file, or what is in front of it",
        404 | 405 | 300..=399 => ": is the url that of an OTLP receiver over HTTP?",
        429 | 503 => ": it has too much to do",
        _ => "",
    }
}
