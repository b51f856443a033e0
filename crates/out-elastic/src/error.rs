//! Why a bulk request came to nothing, in words for the operator and labels for metrics.

use std::time::Duration;

/// What went wrong between us and the server. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings contradict themselves.
    #[error("settings of the elastic output: {0}")]
    Settings(&'static str),
    /// The request could not be compressed.
    #[error("compressing a bulk request")]
    Compress(#[source] std::io::Error),
    /// There was no whole answer.
    #[error("sending a bulk request")]
    Exchange(#[from] net::Error),
    /// The server does not know us, or does not let us write.
    #[error(
        "the server answered {status} to a bulk request: check username, password_file, \
         api_key_file or token_file and its privileges (create_doc, auto_configure); it said: {said}"
    )]
    Denied {
        /// 401 or 403.
        status: u16,
        /// The server's own words, shortened.
        said: String,
    },
    /// The server has too much to do.
    #[error(
        "the server answered {status} to a bulk request: it has too much to do; it said: {said}"
    )]
    Busy {
        /// 429 or 503.
        status: u16,
        /// Its `Retry-After`.
        after: Option<Duration>,
        /// The server's own words, shortened.
        said: String,
    },
    /// The server answered something else than success.
    #[error(
        "the server answered {status} to a bulk request: is {url} the address of Elasticsearch or \
         OpenSearch? it said: {said}"
    )]
    Status {
        /// The status.
        status: u16,
        /// Where the request went.
        url: String,
        /// The server's own words, shortened.
        said: String,
    },
    /// The answer says nothing about the items.
    #[error("the answer to a bulk request is no answer of the bulk API ({problem}): {said}")]
    NotBulk {
        /// What is wrong with it.
        problem: &'static str,
        /// The server's own words, shortened.
        said: String,
    },
    /// The answer has more or fewer items than the request.
    #[error("the answer to a bulk request has {answered} items for {sent}")]
    Count {
        /// Items in the answer.
        answered: usize,
        /// Items in the request.
        sent: usize,
    },
}

impl Error {
    /// Labels of what a server does wrong, or an operator: counted from 0 on, so that the first time is
    /// seen, too.
    pub(crate) const OF_SURROUNDINGS: [&str; 7] = [
        "secret_file",
        "tls",
        "not_bulk",
        "item_count",
        "http_429",
        "http_503",
        "http_5xx",
    ];

    /// A bounded name of the reason, for metrics and answers.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::Compress(_) => "compress",
            Self::Exchange(error) => error.label(),
            Self::Denied { status: 401, .. } => "http_401",
            Self::Denied { .. } => "http_403",
            Self::Busy { status: 429, .. } => "http_429",
            Self::Busy { .. } => "http_503",
            Self::Status { status, .. } => match status {
                500..=599 => "http_5xx",
                400..=499 => "http_4xx",
                300..=399 => "http_3xx",
                _ => "http_other",
            },
            Self::NotBulk { .. } => "not_bulk",
            Self::Count { .. } => "item_count",
        }
    }

    /// How long the server asked us to wait.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }
}
