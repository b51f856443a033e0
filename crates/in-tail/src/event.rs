//! What the tailer tells its reader, in the order in which it has to be understood.
//!
//! Per container: `ContainerFound`, then for each file `FileOpened`, its `Chunk`s in the order of
//! their offsets, `FileEnded`; then the next file in the order in which the container wrote them. A
//! file that grows after its end was reported (a runtime that flushes late) is opened again at the
//! same [`FileRef`] and continues where it stopped. Between two containers there is no order.

use std::path::PathBuf;
use std::sync::Arc;

use model::ids::FileKey;
use model::time::UnixNanos;

use crate::identity::PodIdentity;

/// A container (or plain file) of this process; counts up from 0 and is never re-used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerIndex(pub u32);

/// A file of this process; counts up from 0, the same [`FileKey`] always has the same index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIndex(pub u32);

/// One file: what it is for ever, and a number for tables of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileRef {
    /// Its identity.
    pub key: FileKey,
    /// Its number in this process.
    pub index: FileIndex,
}

/// What is constant for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerInfo {
    /// The pod it belongs to; none for plain files.
    pub pod: Option<PodIdentity>,
    /// Its name; for plain files the configured name or the file's.
    pub name: String,
    /// Its directory, or the plain file itself.
    pub path: PathBuf,
}

impl ContainerInfo {
    /// Whether its files are CRI-framed; plain files are not.
    pub const fn is_cri(&self) -> bool {
        self.pod.is_some()
    }
}

/// What the caller knows about a file from before: see [`crate::Tailer::open`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The lowest uncompressed offset that is not covered yet; 0 for a file never seen.
    pub from: u64,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A container was seen for the first time.
    ContainerFound {
        /// Its number from now on.
        container: ContainerIndex,
        /// Who it is.
        info: Arc<ContainerInfo>,
    },
    /// The container was started again: what it had open before is over.
    RestartSeen {
        /// Which container.
        container: ContainerIndex,
        /// Its new restart count.
        restart: u32,
    },
    /// Chunks of this file follow.
    FileOpened(FileOpened),
    /// Bytes of a file.
    Chunk(Chunk<'a>),
    /// Nothing follows for this file unless it is opened again.
    FileEnded(FileEnded),
    /// The container's directory is gone and everything that could be read was.
    ContainerEnded {
        /// Which container.
        container: ContainerIndex,
    },
    /// Something cannot be read; said once until it changes, the tailer keeps trying.
    Trouble(Trouble),
    /// Everything there is was read; the next call waits.
    Idle,
}

/// A file from which chunks follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOpened {
    /// Its container.
    pub container: ContainerIndex,
    /// The file.
    pub file: FileRef,
    /// Where it was found; changes with rotation.
    pub path: PathBuf,
    /// Restart count of the container that wrote it; 0 for plain files.
    pub restart: u32,
    /// Offset of the first chunk that follows (includes what is replayed).
    pub start: u64,
    /// Offset of the first byte that is not replayed.
    pub from: u64,
    /// When a plain file was first seen, over all runs (zero for CRI files).
    pub first_seen: UnixNanos,
}

/// Bytes of one file, at most [`crate::CHUNK_BYTES_MAX`], cut anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its container.
    pub container: ContainerIndex,
    /// The file.
    pub file: FileRef,
    /// Uncompressed offset of the first byte.
    pub offset: u64,
    /// The bytes; valid until the next call.
    pub bytes: &'a [u8],
    /// Whether all of it was covered before ([`Resume::from`]): evidence only.
    pub replayed: bool,
}

/// Why a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// A newer file of the same run of the container follows.
    Rotated,
    /// The container was started again.
    Restarted,
    /// Its content was replaced in place; what had not been read was looked for in a copy.
    Truncated,
    /// It was deleted together with its directory.
    Deleted,
    /// It is damaged (gzip) and cannot be read further.
    Damaged,
}

/// The end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEnded {
    /// Its container.
    pub container: ContainerIndex,
    /// The file.
    pub file: FileRef,
    /// Uncompressed offset behind the last byte that was read.
    pub end: u64,
    /// Why.
    pub reason: EndReason,
}

/// Something that cannot be read.
#[derive(Debug)]
pub struct Trouble {
    /// The path in question.
    pub path: PathBuf,
    /// What was being done and why it failed.
    pub error: crate::Error,
}
