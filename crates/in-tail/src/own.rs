//! Which files hold what this process itself writes. Following one would feed us our own words: each
//! line delivered could make another.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Device and inode of our standard output and error, where these are files; they stay open, so both
/// name the same files as long as we run, through every rotation.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnOutput([Option<(u64, u64)>; 2]);

impl OwnOutput {
    /// Of this process.
    pub(crate) fn of_process() -> Self {
        Self(["/proc/self/fd/1", "/proc/self/fd/2"].map(|path| file(Path::new(path))))
    }

    /// Whether it is the file with these numbers.
    pub(crate) fn is(&self, device: u64, inode: u64) -> bool {
        self.0.contains(&Some((device, inode)))
    }

    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self([file(path), None])
    }
}

/// Whether `path` is a file that holds what this process writes. Such a file is not followed.
pub fn is_own_output(path: &Path) -> bool {
    let own = OwnOutput::of_process();
    file(path).is_some_and(|(device, inode)| own.is(device, inode))
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    let numbers = (metadata.dev(), metadata.ino());
    metadata.is_file().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk as _, OsDisk};

    #[test]
    fn our_own_file_is_not_there_whatever_its_name() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::write(path("app.log"), "ours\n").unwrap();
        let disk = OsDisk::new(None).with_own(OwnOutput::at(&path("app.log")));
        std::fs::rename(path("app.log"), path("app.log.1")).unwrap();
        std::fs::write(path("app.log"), "theirs\n").unwrap();
        assert!(disk.stat(&path("app.log")).is_ok());
        assert!(disk.stat(&path("app.log.1")).is_err());
        assert!(disk.stat(root.path()).is_ok());
    }

    #[test]
    fn other_files_are_not_ours() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("app.log"), "x").unwrap();
        assert!(!is_own_output(&root.path().join("app.log")));
        assert!(!is_own_output(&root.path().join("none")));
        assert!(!is_own_output(Path::new("/dev/null")));
    }
}
