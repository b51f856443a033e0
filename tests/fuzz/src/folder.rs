//! A folder for one run, in memory where there is such a place.

use std::path::Path;

use tempfile::TempDir;

pub(crate) fn new() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a folder can be made")
}
