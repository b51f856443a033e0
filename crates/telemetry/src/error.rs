//! What can go wrong while setting up or rendering own signals.

/// Why own signals could not be set up or shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not in the form `level` or `target=level,…`.
    #[error("log filter {filter:?} is not understood")]
    Filter {
        /// The rejected text.
        filter: String,
        /// Where it went wrong.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs were set up before in this process.
    #[error("logs are set up already")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
    /// A metric could not be registered or rendered.
    #[error("metrics registry refused")]
    Metrics(#[from] prometheus::Error),
}
