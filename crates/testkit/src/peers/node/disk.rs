//! The file system in which kubelet keeps the volumes of pods: one of its own, that a test can fill without
//! harm to the machine.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Enough for all that pods of tests write.
const SIZE: &str = "size=1g";
/// What fills it.
const FILLER: &str = "filler";
const PIECE: usize = 1 << 20;

/// A mounted file system; unmounted with everything else in the node's folder.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
impl Disk {
    /// Mounts it at `folder`.
    pub(super) fn mount(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("make the folder of kubelet");
        let mount = ["-t", "tmpfs", "-o", SIZE, "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(&folder).status();
        assert!(mounted.expect("call mount").success(), "mounted");
        Self(folder)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no byte in it free.
    pub(super) fn fill(&self) {
        let mut filler = fs::File::create(self.0.join(FILLER)).expect("make the filler");
        for size in [PIECE, 4096, 1] {
            let piece = vec![0; size];
            while filler.write_all(&piece).is_ok() {}
        }
    }

    /// What it was before.
    pub(super) fn free(&self) {
        fs::remove_file(self.0.join(FILLER)).expect("take the filler away");
    }
}
