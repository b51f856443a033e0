//! One process installs at a time.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{interrupt, say};

/// All recipes together, on a machine that does something else as well.
const BOUND: Duration = Duration::from_mins(40);
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until nobody else installs into `directory`; nobody else does as long as the file lives.
pub(super) fn take(directory: &Path) -> Result<File> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    let path = directory.join(".lock");
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    let mut is_told = false;
    interrupt::poll_until(BOUND, PAUSE, || {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(())),
            Err(Errno::WOULDBLOCK) => {
                if !std::mem::replace(&mut is_told, true) {
                    say::note(format_args!(
                        "waiting for another process that installs peers"
                    ));
                }
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    })?
    .with_context(|| format!("{} is still locked after {BOUND:?}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();
        let path = folder.path().to_path_buf();
        let second = std::thread::spawn(move || take(&path).is_ok());
        assert!(!second.is_finished(), "it waits");
        drop(first);
        assert!(second.join().unwrap());
    }
}
