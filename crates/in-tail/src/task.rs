//! The driver: moves bytes between the operating system and the engine.

use std::sync::Arc;

use model::ids::FileKey;

use crate::error::Error;
use crate::event::{Event, Resume};
use crate::metrics::Metrics;
use crate::reader::FileSet;
use crate::settings::Settings;

/// Follows all configured files.
pub struct Tailer {
    files: Arc<FileSet>,
}

impl Tailer {
    /// Begins to follow.
    #[expect(clippy::needless_pass_by_value, reason = "final shape")]
    pub fn open(
        settings: Settings,
        _resume: impl Fn(FileKey) -> Resume + Send + 'static,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        Ok(Self {
            files: Arc::new(FileSet::new(&settings, metrics)),
        })
    }

    /// The files for reading again.
    pub fn files(&self) -> Arc<FileSet> {
        Arc::clone(&self.files)
    }

    /// The next thing that happened; cancel-safe.
    pub async fn next(&mut self) -> Event<'_> {
        std::future::pending().await
    }
}
