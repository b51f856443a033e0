//! The files of one container's output: which there are, what the next is called, which have to go.
//!
//! | name | is |
//! |---|---|
//! | `<n>.log` | what the `n`th run of the command writes now, or wrote last |
//! | `<n>.log.<YYYYMMDD-HHMMSS>` | what it wrote before; further digits behind it count those of one second |
//!
//! These are the names that kubelet gives. The oldest files go first, and they go before there would
//! be too much.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use model::time::UnixNanos;

/// Most files that are kept: a command that fails again and again leaves a small one each time.
const FILES_MAX: usize = 20;
/// One file may have this part of all bytes.
const FILE_SHARE: u64 = 5;
/// The sidecar is another user.
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The directory of one container's output.
pub(super) struct Folder {
    path: PathBuf,
    bytes_max: u64,
    /// The stamp of the file that was rotated last.
    stamp: String,
}

/// A file that is there; in the order in which they were written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    run: u32,
    /// The live one is the newest of its run.
    live: bool,
    name: String,
    bytes: u64,
}

impl Folder {
    pub(super) const fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self {
            path,
            bytes_max,
            stamp: String::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How long a file may become.
    pub(super) const fn file_bytes_max(&self) -> u64 {
        self.bytes_max / FILE_SHARE
    }

    /// Begins a file for run `run`, or for a new run, and makes room for it.
    pub(super) fn begin(&self, run: Option<u32>) -> io::Result<(u32, File)> {
        self.make()?;
        let kept = self.kept()?;
        self.make_room(&kept);
        let next = kept.last().map_or(0, |last| last.run.saturating_add(1));
        if let Some(run) = run
            && let Ok(file) = self.create(run)
        {
            return Ok((run, file));
        }
        self.create(next).map(|file| (next, file))
    }

    /// The live file of this run gets the name of one that is not written any more.
    pub(super) fn retire(&mut self, run: u32, now: UnixNanos) -> io::Result<()> {
        let stamp = next_stamp(&self.stamp, now);
        fs::rename(
            self.path.join(format!("{run}.log")),
            self.path.join(format!("{run}.log.{stamp}")),
        )?;
        self.stamp = stamp;
        Ok(())
    }

    /// Makes the directory, readable to the sidecar whatever the application's mask is.
    fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Ok(()) => fs::set_permissions(&self.path, Permissions::from_mode(DIRECTORY_MODE)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.path)?;
                fs::set_permissions(&self.path, Permissions::from_mode(DIRECTORY_MODE))
            }
            Err(error) => Err(error),
        }
    }

    fn create(&self, run: u32) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.append(true).create_new(true).mode(FILE_MODE);
        let file = options.open(self.path.join(format!("{run}.log")))?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(file)
    }

    fn kept(&self) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let Some((run, stamp)) = name.split_once(".log") else {
                continue;
            };
            if let Ok(run) = run.parse() {
                kept.push(Kept {
                    run,
                    live: stamp.is_empty(),
                    bytes: entry.metadata().map_or(0, |data| data.len()),
                    name,
                });
            }
        }
        kept.sort();
        Ok(kept)
    }

    /// Removes the oldest until a file of full length fits.
    fn make_room(&self, kept: &[Kept]) {
        let room = self.bytes_max.saturating_sub(self.file_bytes_max());
        let mut bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
        for (at, old) in kept.iter().enumerate() {
            if bytes <= room && kept.len() - at < FILES_MAX {
                break;
            }
            // one that cannot be removed does not keep newer ones
            if fs::remove_file(self.path.join(&old.name)).is_ok() {
                bytes = bytes.saturating_sub(old.bytes);
            }
        }
    }
}

/// `YYYYMMDD-HHMMSS`, later than `last` in any case: with a counter behind it within one second, or
/// if the clock was set back.
fn next_stamp(last: &str, now: UnixNanos) -> String {
    let mut time = Vec::new();
    now.write_rfc3339(&mut time);
    let digits = time.into_iter().filter(u8::is_ascii_digit);
    let mut stamp: String = digits.take(14).map(char::from).collect();
    stamp.insert(8.min(stamp.len()), '-');
    let (second, counter) = last.split_at_checked(stamp.len()).unwrap_or_default();
    if stamp.as_str() > second {
        return stamp;
    }
    let counter = counter.parse::<u32>().unwrap_or(0).saturating_add(1);
    format!("{second}{counter:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_795_406_977 * SECOND;

    #[test]
    fn stamps_are_kubelets_and_never_go_back() {
        let mut last = String::new();
        let mut seen = Vec::new();
        for now in [NOW, NOW + 1, NOW + 2, NOW + SECOND, NOW, NOW + 2 * SECOND] {
            last = next_stamp(&last, UnixNanos(now));
            seen.push(last.clone());
        }
        assert_eq!(seen[0], "20261123-040937");
        assert_eq!(seen[1], "20261123-040937000000001");
        assert_eq!(seen[4], "20261123-040938000000001");
        assert_eq!(seen[5], "20261123-040939");
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    }

    #[test]
    fn every_run_has_the_next_number_and_the_oldest_files_go() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("output/clm");
        let mut folder = Folder::new(path.clone(), 500);
        let names = || {
            let mut names: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let fill = |run: u32| fs::write(path.join(format!("{run}.log")), [b'x'; 100]).unwrap();
        assert_eq!(folder.begin(None).unwrap().0, 0);
        fill(0);
        for at in 0..4 {
            folder.retire(0, UnixNanos(NOW + at * SECOND)).unwrap();
            assert_eq!(folder.begin(Some(0)).unwrap().0, 0);
            fill(0);
        }
        assert_eq!(names().len(), 5);
        fs::write(path.join("others"), "").unwrap();
        let (run, _) = folder.begin(None).unwrap();
        assert_eq!(run, 1);
        let expected = [
            "0.log",
            "0.log.20261123-040938",
            "0.log.20261123-040939",
            "0.log.20261123-040940",
            "1.log",
            "others",
        ];
        assert_eq!(names(), expected);
        for run in 2..30 {
            assert_eq!(Folder::new(path.clone(), 500).begin(None).unwrap().0, run);
        }
        assert_eq!(names().len(), FILES_MAX + 1);
        assert_eq!(folder.begin(Some(29)).unwrap().0, 30, "it is taken");
    }

    #[test]
    fn the_sidecar_may_read_what_another_user_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        Folder::new(path.clone(), 500).begin(None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), DIRECTORY_MODE);
        assert_eq!(mode(&path.join("0.log")), FILE_MODE);
    }
}
