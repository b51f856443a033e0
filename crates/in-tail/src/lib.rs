//! Finds, follows and re-reads log files: through rotation, restarts, truncation, gzip and deletion.
//!
//! The log file is the write-ahead log of what a container said. This crate gives every byte of it
//! exactly once and in order to one reader (the head), and any byte of it again to others (lanes) for
//! as long as they ask.
//!
//! It deliberately does not know what a line or a CRI record is (except that a first line identifies
//! a file), what was covered before (the caller says so, by [`FileKey`](model::ids::FileKey)) and what
//! becomes of the bytes.
//!
//! ```text
//! directories ─▶ watch (inotify: a hint) ─┐
//!               pace  (polls: the truth) ─┴▶ engine ─▶ Tailer::next ─▶ Event
//!                                              │ open files, by key
//!                                              └▶ FileSet::read(key, extent)
//! ```
//!
//! | module | does |
//! |---|---|
//! | [`settings`] | what to follow |
//! | [`identity`] | the key of a file |
//! | [`event`] | what the head is told |
//! | [`reader`] | reading again by key |
//!
//! ```no_run
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! use in_tail::{Event, Metrics, PodSettings, Resume, Settings, Tailer};
//!
//! let mut settings = Settings::default();
//! settings.pods.push(PodSettings {
//!     directory: "/var/log/pods/emco_rsync-0_4f1c".into(),
//!     ..PodSettings::default()
//! });
//! let metrics = Metrics::new(&prometheus::Registry::new())?;
//! let mut tailer = Tailer::open(settings, |_key| Resume { from: 0 }, metrics)?;
//! loop {
//!     if let Event::Chunk(chunk) = tailer.next().await {
//!         println!("{} at {}: {} bytes", chunk.file.key, chunk.offset, chunk.bytes.len());
//!     }
//! }
//! # }
//! ```

mod candidate;
mod container;
mod content;
mod disk;
mod engine;
pub mod error;
pub mod event;
mod generations;
pub mod identity;
mod listing;
pub mod metrics;
mod names;
mod own;
mod pace;
mod plain;
pub mod reader;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod task;
mod watch;

pub use error::{Error, ReadError};
pub use event::{
    Chunk, ContainerIndex, ContainerInfo, EndReason, Event, FileEnded, FileIndex, FileOpened,
    FileRef, Resume, Trouble,
};
pub use identity::PodIdentity;
pub use metrics::Metrics;
pub use own::is_own_output;
pub use reader::FileSet;
pub use settings::{PlainSettings, PodSettings, Replay, Settings};
pub use task::Tailer;

/// The longest chunk of one [`Event`].
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;
