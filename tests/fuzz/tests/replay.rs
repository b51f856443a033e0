//! Replays the inputs that are kept: seeds of our own, and what fuzzing found.

#![expect(clippy::unwrap_used, reason = "what cannot be read is a failed test")]

use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// The files of a target in `folder`; none if it has none there.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(target);
    let Ok(entries) = path.read_dir() else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn replay(folder: &str, target: &str) {
    let run = fuzz::find(target).unwrap().run;
    for path in inputs(folder, target) {
        let data = std::fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(|| run(&data));
        assert!(result.is_ok(), "{} breaks a promise", path.display());
    }
}

/// A test for each target, so that they run side by side.
macro_rules! replays {
    ($($target:ident)*) => {
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
        $(
            #[test]
            fn $target() {
                assert!(!inputs("seeds", stringify!($target)).is_empty(), "no seeds");
                replay("seeds", stringify!($target));
                replay("regressions", stringify!($target));
            }
        )*
    };
}

replays! {
    framer decoder secrets spans journal traces spool verdict_log verdict_batch dead_letters plain_state
    forward bulk hub manifests
}

#[test]
fn every_target_is_replayed_and_every_folder_has_a_target() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    for folder in ["seeds", "regressions"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in path.read_dir().unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                names.iter().any(|known| name == *known),
                "{folder}/{name:?}"
            );
        }
    }
}
