//! What can go wrong, as sentences.

/// Why a hub or its client cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address in the settings names no endpoint.
    #[error("using {address:?} as the address of the hub")]
    Address {
        /// What was written.
        address: String,
        /// What is wrong with it.
        #[source]
        source: net::Error,
    },
    /// The file with the token cannot be read, or holds none.
    #[error("proving who we are to the hub")]
    Token(#[source] net::Error),
    /// The exchange with a replica failed.
    #[error("talking to the hub")]
    Exchange(#[source] net::Error),
    /// A replica did not answer in time.
    #[error("the hub did not answer in time")]
    Hangs,
    /// A replica answered with a status that is no success.
    #[error("the hub answered with status {status}: {text}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of what it said.
        text: String,
    },
    /// What a peer sent is not the protocol.
    #[error("reading what the peer sent: {0}")]
    NotProtocol(#[source] serde_json::Error),
    /// A peer speaks another version.
    #[error("the peer speaks version {theirs} of the hub protocol, this program speaks 1")]
    Version {
        /// Its version; 0 if it does not say.
        theirs: u32,
    },
}

impl Error {
    /// A bounded name of the reason, for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Address { .. } | Self::Token(_) => "settings",
            Self::Exchange(source) => source.label(),
            Self::Hangs => "timeout",
            Self::Status { .. } => "status",
            Self::NotProtocol(_) => "protocol",
            Self::Version { .. } => "version",
        }
    }
}
