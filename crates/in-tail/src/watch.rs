//! inotify as a hint: something may have happened, look.
//!
//! Nothing is concluded from an event but "poll now", so a lost, late or doubled event costs at most
//! the wait for the next poll. Writes are watched at rest only: while files grow the next poll comes
//! soon anyway, and an event per written line would cost the writer and us.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

use crate::metrics::{Happening, Metrics};

const BUFFER_BYTES: usize = 4096;

/// What an event was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hint {
    /// A file grew.
    Growth,
    /// Names changed, or events were lost: list directories.
    Names,
}

/// The watched directories.
pub(crate) struct Watch {
    inotify: Option<AsyncFd<Inotify>>,
    directories: HashMap<PathBuf, WatchDescriptor>,
    growth: bool,
    metrics: Metrics,
}

impl Watch {
    /// Works, as a watch that never hints, where inotify is not to be had.
    pub(crate) fn open(metrics: Metrics) -> Self {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an Inotify owns one descriptor and never changes it"
        )]
        let inotify = match Inotify::init().and_then(AsyncFd::new) {
            Ok(inotify) => Some(inotify),
            Err(error) => {
                metrics.count(Happening::WatchUnavailable);
                tracing::warn!(%error, "inotify is not available, log files are polled");
                None
            }
        };
        Self {
            inotify,
            directories: HashMap::new(),
            growth: false,
            metrics,
        }
    }

    /// Watches exactly `wanted`, for writes too if `growth`; answers whether a directory is watched
    /// that was not before.
    pub(crate) fn follow(&mut self, wanted: &[PathBuf], growth: bool) -> bool {
        let Some(inotify) = &mut self.inotify else {
            return false;
        };
        let mut watches = inotify.get_ref().watches();
        self.directories.retain(|directory, watch| {
            let keep = wanted.contains(directory);
            if !keep && let Err(error) = watches.remove(watch.clone()) {
                tracing::debug!(%error, "watch was gone already");
            }
            keep
        });
        let switch = std::mem::replace(&mut self.growth, growth) != growth;
        let mut added = false;
        for directory in wanted {
            let known = self.directories.contains_key(directory);
            if known && !switch {
                continue;
            }
            // Adding again replaces the mask.
            if let Ok(watch) = watches.add(directory, mask(growth)) {
                added |= self.directories.insert(directory.clone(), watch).is_none();
            }
        }
        added
    }

    /// Whether every one of `wanted` hints.
    pub(crate) fn covers(&self, wanted: &[PathBuf]) -> bool {
        let covered = |directory| self.directories.contains_key(directory);
        self.inotify.is_some() && wanted.iter().all(covered)
    }

    /// Waits until something may have happened; for ever where inotify is not to be had. Nothing is
    /// lost when the wait is cancelled.
    pub(crate) async fn changed(&mut self) -> Hint {
        loop {
            let Some(inotify) = &mut self.inotify else {
                return std::future::pending().await;
            };
            match inotify.readable_mut().await {
                Ok(mut guard) => {
                    let mut buffer = [0; BUFFER_BYTES];
                    let hint = guard.try_io(|inotify| {
                        let events = inotify.get_mut().read_events(&mut buffer)?;
                        Ok(read(events, &mut self.directories, &self.metrics))
                    });
                    match hint {
                        Ok(Ok(Some(hint))) => return hint,
                        Ok(Err(error)) => self.give_up(&error),
                        Ok(Ok(None)) | Err(_) => {}
                    }
                }
                Err(error) => self.give_up(&error),
            }
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        self.metrics.count(Happening::WatchUnavailable);
        tracing::warn!(%error, "inotify failed, log files are polled");
        self.inotify = None;
        self.directories.clear();
    }
}

fn mask(growth: bool) -> WatchMask {
    let names = WatchMask::CREATE | WatchMask::MOVE | WatchMask::DELETE | WatchMask::DELETE_SELF;
    let names = names | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
    if growth {
        names | WatchMask::MODIFY
    } else {
        names
    }
}

fn read(
    events: inotify::Events<'_>,
    directories: &mut HashMap<PathBuf, WatchDescriptor>,
    metrics: &Metrics,
) -> Option<Hint> {
    let hint = |event: inotify::Event<&std::ffi::OsStr>| {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            metrics.count(Happening::WatchOverflow);
        }
        let moved = event.mask.contains(EventMask::MOVE_SELF);
        if event.mask.contains(EventMask::IGNORED) || moved {
            directories.retain(|_, watch| *watch != event.wd);
        }
        if event.mask == EventMask::MODIFY {
            Hint::Growth
        } else {
            Hint::Names
        }
    };
    events.map(hint).max()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn append(path: &Path) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.unwrap().write_all(b"x").unwrap();
    }

    async fn hint(watch: &mut Watch) -> Option<Hint> {
        tokio::time::timeout(Duration::from_secs(10), watch.changed())
            .await
            .ok()
    }

    #[tokio::test(start_paused = true)]
    async fn writes_hint_at_rest_only_and_names_always() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("0.log");
        append(&file);
        let mut watch = Watch::open(Metrics::new(&prometheus::Registry::new()).unwrap());
        let wanted = [root.path().to_path_buf()];
        assert!(watch.follow(&wanted, false) && watch.covers(&wanted));
        append(&file);
        assert_eq!(hint(&mut watch).await, None);
        assert!(!watch.follow(&wanted, true), "it was watched before");
        append(&file);
        assert_eq!(hint(&mut watch).await, Some(Hint::Growth));
        append(&root.path().join("1.log"));
        assert_eq!(hint(&mut watch).await, Some(Hint::Names));
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_is_gone_is_not_covered_any_more() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("rsync");
        std::fs::create_dir(&inner).unwrap();
        let mut watch = Watch::open(Metrics::new(&prometheus::Registry::new()).unwrap());
        let wanted = [inner.clone()];
        watch.follow(&wanted, false);
        std::fs::remove_dir(&inner).unwrap();
        while watch.covers(&wanted) {
            assert_eq!(hint(&mut watch).await, Some(Hint::Names));
        }
        std::fs::create_dir(&inner).unwrap();
        assert!(watch.follow(&wanted, false));
    }

    #[tokio::test(start_paused = true)]
    async fn lost_events_mean_listing_everything() {
        let root = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let mut watch = Watch::open(metrics.clone());
        watch.follow(&[root.path().to_path_buf()], true);
        let limit = std::fs::File::open("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = io::read_to_string(limit).unwrap().trim().parse().unwrap();
        let open = |name: &str| std::fs::File::create(root.path().join(name)).unwrap();
        let mut files = [open("0.log"), open("1.log")];
        // Equal neighbours are merged: write in turns.
        for _ in 0..=limit / 2 {
            for file in &mut files {
                file.write_all(b"x").unwrap();
            }
        }
        let overflowed = || {
            let families = registry.gather();
            let metrics = families
                .iter()
                .flat_map(prometheus::proto::MetricFamily::get_metric);
            let mut overflows = metrics.filter(|metric| {
                metric
                    .get_label()
                    .iter()
                    .any(|l| l.value() == "inotify_overflow")
            });
            overflows.any(|metric| metric.get_counter().get_value() > 0.0)
        };
        while !overflowed() {
            assert!(hint(&mut watch).await.is_some(), "no overflow seen");
        }
    }
}
