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
