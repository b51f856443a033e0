//! Waits until a file may have changed, by whatever way: written in place, replaced by a rename, or
//! swapped behind symbolic links as Kubernetes does with a `ConfigMap`.
//!
//! Not the file is watched but the names that lead to it: every directory in which one of them could
//! be made to mean something else. An event is a hint to look; nothing is concluded from it.
//!
//! ```text
//! /etc/o/settings.yaml ─▶ ..data/settings.yaml     names: /etc/o: settings.yaml, ..data
//! /etc/o/..data ────────▶ ..2026_11_23/                   /etc/o/..2026_11_23: settings.yaml
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

const BUFFER_BYTES: usize = 4096;
/// More links than this on the way to a file are a loop.
const LINKS_MAX: usize = 32;
/// How often the file is looked at where inotify is not to be had.
const POLL_EVERY: Duration = Duration::from_secs(10);

/// A name in a directory.
type Name = (PathBuf, OsString);

/// The names that lead to one file.
pub(crate) struct Watch {
    path: PathBuf,
    inotify: Option<AsyncFd<Inotify>>,
    directories: BTreeMap<PathBuf, WatchDescriptor>,
    names: Vec<Name>,
}

impl Watch {
    /// Watches from now on; what inotify cannot do is done by looking every 10 s.
    pub(crate) fn open(path: &Path) -> Self {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an Inotify owns one descriptor and never changes it"
        )]
        let inotify = match Inotify::init().and_then(AsyncFd::new) {
            Ok(inotify) => Some(inotify),
            Err(error) => {
                tracing::warn!(%error, "inotify is not available, the settings file is polled");
                None
            }
        };
        let mut watch = Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            inotify,
            directories: BTreeMap::new(),
            names: Vec::new(),
        };
        watch.renew();
        watch
    }

    /// Follows the names as they lead to the file now.
    pub(crate) fn renew(&mut self) {
        self.names = names(&self.path, |path| std::fs::read_link(path));
        let Some(inotify) = &mut self.inotify else {
            return;
        };
        let mut watches = inotify.get_ref().watches();
        let names = &self.names;
        self.directories.retain(|directory, watch| {
            let keep = names.iter().any(|(wanted, _)| wanted == directory);
            if !keep && let Err(error) = watches.remove(watch.clone()) {
                tracing::debug!(%error, "watch was gone already");
            }
            keep
        });
        let mask = WatchMask::CREATE
            | WatchMask::MOVE
            | WatchMask::CLOSE_WRITE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        for (directory, _) in names {
            // A directory that is not there comes to be in one that is watched.
            if let Ok(watch) = watches.add(directory, mask) {
                self.directories.insert(directory.clone(), watch);
            }
        }
    }

    /// Waits until the file may have changed. Nothing is lost when the wait is cancelled.
    pub(crate) async fn changed(&mut self) {
        loop {
            let Some(inotify) = &mut self.inotify else {
                return tokio::time::sleep(POLL_EVERY).await;
            };
            let mut buffer = [0; BUFFER_BYTES];
            let (directories, names) = (&self.directories, &self.names);
            let read = match inotify.readable_mut().await {
                Ok(mut guard) => guard.try_io(|inotify| {
                    let events = inotify.get_mut().read_events(&mut buffer)?;
                    // all of them: what is left unread would be lost with the buffer
                    Ok(events.fold(false, |any, event| {
                        any | concerns(&event, directories, names)
                    }))
                }),
                Err(error) => Ok(Err(error)),
            };
            match read {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "inotify failed, the settings file is polled");
                    self.inotify = None;
                }
            }
        }
    }
}

fn concerns(
    event: &inotify::Event<&std::ffi::OsStr>,
    directories: &BTreeMap<PathBuf, WatchDescriptor>,
    names: &[Name],
) -> bool {
    let about_all =
        EventMask::Q_OVERFLOW | EventMask::IGNORED | EventMask::MOVE_SELF | EventMask::DELETE_SELF;
    if event.mask.intersects(about_all) {
        return true;
    }
    names.iter().any(|(directory, name)| {
        Some(name.as_os_str()) == event.name && directories.get(directory) == Some(&event.wd)
    })
}

/// Every name that `path` depends on, as `read_link` says.
fn names(path: &Path, read_link: impl Fn(&Path) -> io::Result<PathBuf>) -> Vec<Name> {
    let mut found = Vec::new();
    let mut links = 0;
    let mut rest: Vec<PathBuf> = components(path);
    let mut here = PathBuf::from("/");
    while let Some(component) = rest.pop() {
        match component.components().next() {
            Some(Component::RootDir) => here = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                here.pop();
            }
            Some(Component::Normal(name)) => {
                let at = here.join(name);
                let link = read_link(&at);
                let is_link = link.is_ok();
                if is_link || rest.is_empty() || !at.is_dir() {
                    found.push((here.clone(), name.to_owned()));
                }
                match link {
                    Ok(target) if links < LINKS_MAX => {
                        links += 1;
                        rest.extend(components(&target));
                    }
                    Ok(_) => return found,
                    Err(_) => here = at,
                }
            }
            _ => {}
        }
    }
    found
}

/// The components of `path`, the first one last.
fn components(path: &Path) -> Vec<PathBuf> {
    let components = path.components();
    components
        .rev()
        .map(|component| component.as_os_str().into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(10);

    fn config_map(root: &Path, version: &str, text: &str) {
        std::fs::create_dir(root.join(version)).unwrap();
        std::fs::write(root.join(version).join("settings.yaml"), text).unwrap();
        symlink(version, root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }

    #[test]
    fn all_names_on_the_way_are_known() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        config_map(&root, "..v1", "a");
        symlink("..data/settings.yaml", root.join("settings.yaml")).unwrap();
        let found = names(&root.join("settings.yaml"), |path| std::fs::read_link(path));
        let name = |directory: &Path, name: &str| (directory.to_owned(), OsString::from(name));
        let expected = [
            name(&root, "settings.yaml"),
            name(&root, "..data"),
            name(&root.join("..v1"), "settings.yaml"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let found = names(&root.join("a"), |path| std::fs::read_link(path));
        assert!(found.len() > 1 && found.len() <= LINKS_MAX + 1);
    }

    #[tokio::test]
    async fn every_way_of_changing_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let path = root.join("later/settings.yaml");
        let mut watch = Watch::open(&path);
        let steps: [(&str, &dyn Fn()); 6] = [
            ("its directory is made", &|| {
                std::fs::create_dir(root.join("later")).unwrap();
            }),
            ("it is made", &|| std::fs::write(&path, "a").unwrap()),
            ("it is written", &|| std::fs::write(&path, "b").unwrap()),
            ("it is replaced", &|| {
                std::fs::write(root.join("new"), "c").unwrap();
                std::fs::rename(root.join("new"), &path).unwrap();
            }),
            ("it is removed", &|| std::fs::remove_file(&path).unwrap()),
            ("its directory goes", &|| {
                std::fs::remove_dir(root.join("later")).unwrap();
            }),
        ];
        for (what, step) in steps {
            step();
            assert!(timeout(SOON, watch.changed()).await.is_ok(), "{what}");
            watch.renew();
        }
    }

    #[tokio::test]
    async fn a_config_map_is_followed_through_its_swaps() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        config_map(&root, "..v1", "a");
        let path = root.join("settings.yaml");
        symlink("..data/settings.yaml", &path).unwrap();
        let mut watch = Watch::open(&path);
        for version in ["..v2", "..v3", "..v4"] {
            config_map(&root, version, version);
            assert!(timeout(SOON, watch.changed()).await.is_ok(), "{version}");
            watch.renew();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn other_files_in_the_directory_are_no_news() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("settings.yaml");
        std::fs::write(&path, "a").unwrap();
        let mut watch = Watch::open(&path);
        std::fs::write(root.path().join("other"), "x").unwrap();
        assert!(timeout(SOON, watch.changed()).await.is_err());
    }
}
