//! What can go wrong in the pipeline's files.

use std::io;
use std::path::PathBuf;

/// Why a pipeline operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The verdict log is at its bound; wait for [`crate::LogHandle::room`] and try again.
    #[error("verdict log is full until the slowest lane moves on")]
    Full,
    /// The verdict log or a dead-letter file could not be opened, read or written.
    #[error("{doing}")]
    Spool {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: spool::Error,
    },
    /// The checkpoint file could not be opened, read or written.
    #[error("{doing} checkpoint {}", path.display())]
    Checkpoint {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// More lanes are configured than a checkpoint can hold.
    #[error("checkpoint of {lanes} lanes needs {bytes} bytes, more than a slot holds")]
    TooManyLanes {
        /// Configured lanes.
        lanes: usize,
        /// Size of their checkpoint.
        bytes: usize,
    },
    /// A lane of this name was not given to [`crate::VerdictLog::open`].
    #[error("verdict log has no lane {name}")]
    UnknownLane {
        /// The name asked for.
        name: String,
    },
}

impl Error {
    /// Makes a `map_err` closure that keeps "full" apart.
    pub(crate) fn spool(doing: &'static str) -> impl FnOnce(spool::Error) -> Self {
        move |source| match source {
            spool::Error::Full { .. } => Self::Full,
            source => Self::Spool { doing, source },
        }
    }
}
