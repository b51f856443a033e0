//! Random access to followed files by identity.

use model::ids::FileKey;
use model::line::Extent;

use crate::error::ReadError;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Files by identity, kept open until released.
pub struct FileSet {}

impl FileSet {
    pub(crate) fn new(_settings: &Settings, _metrics: Metrics) -> Self {
        Self {}
    }

    /// Appends the extent's bytes to `into`; on error `into` is unchanged.
    pub fn read(
        &self,
        key: FileKey,
        _extent: Extent,
        _into: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        Err(ReadError::Gone { key })
    }

    /// Nobody needs this file any more.
    pub fn release(&self, _key: FileKey) {}

    /// Releases every file that `keep` does not want.
    pub fn retain(&self, _keep: impl FnMut(FileKey) -> bool) {}
}
