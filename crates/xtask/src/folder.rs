//! The folder of one run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{interrupt, say};

/// The folder of one run. It stays when the run failed, so that one can look into it; it goes when the
/// run passed or was interrupted.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    /// Makes `keep`, or a folder of its own among temporary files.
    pub(crate) fn create(keep: Option<&Path>) -> Result<Self> {
        let own = || std::env::temp_dir().join(format!("emco-demo-{}", std::process::id()));
        let path = keep.map_or_else(own, Path::to_path_buf);
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        let path =
            std::fs::canonicalize(&path).with_context(|| format!("look at {}", path.display()))?;
        let mut entries =
            std::fs::read_dir(&path).with_context(|| format!("list {}", path.display()))?;
        ensure!(entries.next().is_none(), "{} is not empty", path.display());
        Ok(Self {
            path,
            is_kept: keep.is_some(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, unless somebody asked for it.
    pub(crate) fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        if !self.is_kept {
            self.is_kept = true;
            if std::fs::remove_dir_all(&self.path).is_err() {
                say::note(format_args!("{} is left", self.path.display()));
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if interrupt::is_interrupted() {
            self.remove();
        } else if !self.is_kept {
            say::note(format_args!("look into {}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_our_own_is_removed_and_one_asked_for_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let asked = home.path().join("kept");
        Folder::create(Some(&asked)).unwrap().discard();
        assert!(asked.is_dir());
        let own = Folder::create(None).unwrap();
        let path = own.path().to_path_buf();
        assert!(path.is_dir());
        own.discard();
        assert!(!path.is_dir());
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), "x").unwrap();
        let error = Folder::create(Some(home.path())).unwrap_err();
        assert!(error.to_string().ends_with("is not empty"), "{error}");
    }
}
