//! Which logs cannot be read, as our health tells it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use telemetry::health::Health;

/// The part of our health that stands for the logs we follow.
const LOGS: &str = "logs";
/// Most paths that are remembered as not readable.
const TROUBLED_MAX: usize = 256;

/// Directories and files that could not be read when they were looked at last.
pub(crate) struct Readable {
    health: Health,
    troubled: BTreeSet<PathBuf>,
}

impl Readable {
    /// Nothing was looked at yet.
    pub(crate) const fn new(health: Health) -> Self {
        Self {
            health,
            troubled: BTreeSet::new(),
        }
    }

    /// `path` is not there (yet), or cannot be read.
    pub(crate) fn fails(&mut self, path: &Path, why: &str) {
        self.health.set(LOGS, why);
        if self.troubled.len() < TROUBLED_MAX {
            self.troubled.insert(path.to_owned());
        }
    }

    /// `path` is read.
    pub(crate) fn works(&mut self, path: &Path) {
        if self.troubled.is_empty() {
            return;
        }
        self.troubled.retain(|troubled| !path.starts_with(troubled));
        if self.troubled.is_empty() {
            self.health.clear(LOGS);
        }
    }
}
