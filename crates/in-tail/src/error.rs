//! What can go wrong while following files.

use std::io;
use std::path::PathBuf;

use model::ids::FileKey;

/// Why following cannot begin, or what cannot be read for now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory's name is not `<namespace>_<pod>_<uid>` and no identity is configured.
    #[error(
        "reading the pod's identity from {path}: the name is not <namespace>_<pod>_<uid>; \
         set `identity` beside `directory`"
    )]
    PodName {
        /// The configured directory.
        path: PathBuf,
    },
    /// A directory cannot be listed; tried again at every poll.
    #[error("listing log directory {path}")]
    List {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file cannot be opened or read; tried again at every poll.
    #[error("reading log file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A compressed file is damaged; what came before the damage was read.
    #[error("decompressing {path} at uncompressed offset {offset}")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// Where it broke.
        offset: u64,
        /// The decoder's answer.
        #[source]
        source: io::Error,
    },
    /// The state of plain files cannot be written: after a restart they would be read again.
    #[error("writing the state of plain files to {path}")]
    State {
        /// The state file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Why bytes of a file cannot be read again.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No file with this identity is there any more, or it is shorter than the extent: the bytes are
    /// lost for good.
    #[error("log file {key} is gone")]
    Gone {
        /// The file that is gone.
        key: FileKey,
    },
    /// The file is there and cannot be read now; trying again later may help.
    #[error("reading log file {key} again")]
    Io {
        /// The file.
        key: FileKey,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}
