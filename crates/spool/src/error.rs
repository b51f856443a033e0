//! What can go wrong with a spool.

use std::io;
use std::path::PathBuf;

/// Why a spool operation failed. The queue is unchanged unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The batch would make the queue larger than its bound; nothing was written.
    #[error("batch of {needed} bytes refused: {used} of {bytes_max} bytes are in use")]
    Full {
        /// Bytes the batch would add, with its header.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The batch is larger than any batch may be.
    #[error("batch of {bytes} bytes is larger than {max} bytes")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// [`crate::PAYLOAD_BYTES_MAX`].
        max: usize,
    },
    /// The directory could not be created, opened or listed.
    #[error("opening spool directory {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A segment could not be read, written, cut or removed.
    #[error("{doing} spool segment {segment}")]
    Segment {
        /// What was being done.
        doing: &'static str,
        /// Its number.
        segment: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Makes a `map_err` closure for an operation on a segment.
    pub(crate) fn segment(doing: &'static str, segment: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Segment {
            doing,
            segment,
            source,
        }
    }
}
