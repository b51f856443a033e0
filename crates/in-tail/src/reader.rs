//! Random access to followed files by identity, for those who come after the head.
//!
//! A file stays open from the moment the head opened it until nobody needs it any more, so it can be
//! read after it was renamed, compressed or deleted. A file that is not open (after our restart, or
//! closed for the bound on open files) is searched for by its key, compressed or not. What is read is
//! checked against the file's beginning, so a truncated file never yields another content's bytes.
//!
//! Readers go forward in small steps: each call is served from a window of [`WINDOW_BYTES`], so a line
//! costs a lock and a copy; a handful of readers at different places have a window each.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::ids::FileKey;
use model::line::Extent;

use crate::candidate::Candidate;
use crate::content::{Content, Got};
use crate::disk::{Disk as _, OsDisk};
use crate::engine::{Opened, SharedGenerations, lock, pod_identity};
use crate::error::ReadError;
use crate::event::ContainerInfo;
use crate::identity::{Prefix, file_key};
use crate::listing;
use crate::metrics::{Happening, Metrics};
use crate::settings::Settings;

/// How much is read ahead.
pub const WINDOW_BYTES: usize = 64 * 1024;
/// How much of an extent that is too long for a window is read at a time.
const DIRECT_BYTES: usize = 1024 * 1024;
const WINDOWS_MAX: usize = 4;
/// A search may run into a rotation: it is repeated before a file counts as gone.
const SEARCHES: usize = 3;

/// Files by identity, kept open until released. Shared between tasks; every call is short and blocks
/// on the page cache only.
pub struct FileSet {
    disk: OsDisk,
    settings: Settings,
    generations: SharedGenerations,
    metrics: Metrics,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    files: HashMap<FileKey, Slot>,
    windows: Vec<Window>,
    /// Counts calls: what has a lower number was used longer ago.
    calls: u64,
    /// [`Shelf::calls`] at the last [`FileSet::retain`].
    retained: u64,
}

struct Slot {
    source: Source,
    path: PathBuf,
    used: u64,
}

enum Source {
    Open(Box<Content<OsDisk>>, Prefix),
    Closed,
    Gone,
}

struct Window {
    key: FileKey,
    start: u64,
    /// Always [`WINDOW_BYTES`] long, so that filling it again costs no clearing.
    bytes: Vec<u8>,
    filled: usize,
    used: u64,
}

impl Window {
    fn get(&self, key: FileKey, extent: Extent) -> Option<&[u8]> {
        if self.key != key {
            return None;
        }
        let from = usize::try_from(extent.offset.checked_sub(self.start)?).ok()?;
        let bytes = usize::try_from(extent.bytes).ok()?;
        let filled = self.bytes.get(..self.filled)?;
        filled.get(from..from.checked_add(bytes)?)
    }
}

impl FileSet {
    pub(crate) fn new(
        settings: Settings,
        disk: OsDisk,
        generations: SharedGenerations,
        metrics: Metrics,
    ) -> Self {
        Self {
            disk,
            settings,
            generations,
            metrics,
            shelf: Mutex::default(),
        }
    }

    /// Appends the extent's bytes to `into`.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if no file with this key has these bytes any more, [`ReadError::Io`] if it
    /// cannot be read now; `into` is unchanged.
    pub fn read(&self, key: FileKey, extent: Extent, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut shelf = lock(&self.shelf);
        shelf.calls += 1;
        let now = shelf.calls;
        for window in &mut shelf.windows {
            if let Some(bytes) = window.get(key, extent) {
                into.extend_from_slice(bytes);
                window.used = now;
                return Ok(());
            }
        }
        let length = usize::try_from(extent.bytes).unwrap_or(usize::MAX);
        let before = into.len();
        let outcome = if length > WINDOW_BYTES / 2 {
            self.read_direct(&mut shelf, key, extent, length, into)
        } else {
            self.read_window(&mut shelf, key, extent, length, into)
        };
        self.metrics.open.set(shelf.open_files());
        outcome.map_err(|error| {
            into.truncate(before);
            match error {
                None => ReadError::Gone { key },
                Some(source) => ReadError::Io { key, source },
            }
        })
    }

    /// Nobody needs this file any more.
    pub fn release(&self, key: FileKey) {
        let mut shelf = lock(&self.shelf);
        shelf.files.remove(&key);
        shelf.windows.retain(|window| window.key != key);
        self.metrics.open.set(shelf.open_files());
    }

    /// Releases every file that `keep` does not want, and what was read ahead and not used since the
    /// last call. Call it now and then, also without a release in mind. The file the head reads now has to be kept if its lines will be asked for.
    pub fn retain(&self, mut keep: impl FnMut(FileKey) -> bool) {
        let mut shelf = lock(&self.shelf);
        let since = std::mem::replace(&mut shelf.retained, 0);
        shelf.retained = shelf.calls;
        // What was gone is searched once more, at most once between two calls.
        let gone = |slot: &Slot| matches!(slot.source, Source::Gone);
        shelf.files.retain(|key, slot| keep(*key) && !gone(slot));
        let Shelf { files, windows, .. } = &mut *shelf;
        windows.retain(|window| window.used > since && files.contains_key(&window.key));
        self.metrics.open.set(shelf.open_files());
    }

    /// Takes over what the head opened.
    pub(crate) fn take_over(&self, opened: Vec<Opened<OsDisk>>) {
        if opened.is_empty() {
            return;
        }
        let mut shelf = lock(&self.shelf);
        for Opened { key, path, source } in opened {
            let source = match source {
                Some((file, gzip, prefix)) => {
                    Source::Open(Box::new(Content::new(&self.disk, file, gzip)), prefix)
                }
                None => Source::Gone,
            };
            let used = shelf.calls;
            shelf.files.insert(key, Slot { source, path, used });
        }
        self.close_some(&mut shelf);
        self.metrics.open.set(shelf.open_files());
    }

    /// Piece by piece, so that an extent that is not there costs no memory.
    fn read_direct(
        &self,
        shelf: &mut Shelf,
        key: FileKey,
        extent: Extent,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), Option<io::Error>> {
        let mut done = 0;
        while done < length {
            let piece = DIRECT_BYTES.min(length - done);
            let start = into.len();
            into.resize(start + piece, 0);
            let room = into.get_mut(start..).unwrap_or_default();
            self.fill(shelf, key, extent.offset + done as u64, room, piece)?;
            done += piece;
        }
        Ok(())
    }

    fn read_window(
        &self,
        shelf: &mut Shelf,
        key: FileKey,
        extent: Extent,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), Option<io::Error>> {
        let mut window = shelf.take_window();
        window.bytes.resize(WINDOW_BYTES, 0);
        window.filled = self.fill(shelf, key, extent.offset, &mut window.bytes, length)?;
        window.key = key;
        window.start = extent.offset;
        window.used = shelf.calls;
        into.extend_from_slice(window.get(key, extent).unwrap_or_default());
        shelf.windows.push(window);
        Ok(())
    }

    /// Reads at least `least` bytes at `offset`; an error of `None` means gone.
    fn fill(
        &self,
        shelf: &mut Shelf,
        key: FileKey,
        offset: u64,
        into: &mut [u8],
        least: usize,
    ) -> Result<usize, Option<io::Error>> {
        if let Some(filled) = self.fill_open(shelf, key, offset, into, least)? {
            return Ok(filled);
        }
        // What is open may have been truncated, or closed for the bound.
        let used = shelf.calls;
        let found = self.search(key, offset.saturating_add(least as u64))?;
        if let Some((source, path)) = found {
            shelf.files.insert(key, Slot { source, path, used });
            self.close_some(shelf);
            let filled = self.fill_open(shelf, key, offset, into, least)?;
            return filled.ok_or(None);
        }
        self.metrics.count(Happening::Gone);
        tracing::warn!(%key, offset, "log file is gone, its bytes cannot be read again");
        let slot = shelf.files.entry(key).or_insert_with(|| Slot {
            source: Source::Gone,
            path: PathBuf::new(),
            used,
        });
        if matches!(slot.source, Source::Closed) {
            slot.source = Source::Gone;
        }
        Err(None)
    }

    /// Reads from what is open; none if it is not open or has too little.
    fn fill_open(
        &self,
        shelf: &mut Shelf,
        key: FileKey,
        offset: u64,
        into: &mut [u8],
        least: usize,
    ) -> Result<Option<usize>, Option<io::Error>> {
        let calls = shelf.calls;
        let Some(slot) = shelf.files.get_mut(&key) else {
            return Ok(None);
        };
        slot.used = calls;
        match &mut slot.source {
            Source::Gone => Err(None),
            Source::Closed => Ok(None),
            Source::Open(content, prefix) => {
                let filled = read_all(&self.disk, content, *prefix, offset, into)?;
                let enough = filled >= least;
                self.metrics
                    .reread
                    .inc_by(if enough { filled as u64 } else { 0 });
                Ok(enough.then_some(filled))
            }
        }
    }

    /// Finds the file with this key and at least `bytes` bytes.
    fn search(
        &self,
        key: FileKey,
        bytes: u64,
    ) -> Result<Option<(Source, PathBuf)>, Option<io::Error>> {
        let mut failure = None;
        for _ in 0..SEARCHES {
            let mut containers = self.containers(&mut failure);
            containers.extend(self.settings.files.iter().map(|plain| ContainerInfo {
                pod: None,
                name: String::new(),
                path: plain.path.clone(),
            }));
            for container in containers {
                if let Some(found) = self.search_in(&container, key, bytes, &mut failure) {
                    return Ok(Some(found));
                }
            }
            if let Some(error) = failure.take() {
                return Err(Some(error));
            }
        }
        Ok(None)
    }

    fn containers(&self, failure: &mut Option<io::Error>) -> Vec<ContainerInfo> {
        let mut containers = Vec::new();
        for pod in &self.settings.pods {
            let Ok(identity) = pod_identity(pod) else {
                continue;
            };
            let names = note(self.disk.list(&pod.directory), failure).unwrap_or_default();
            containers.extend(names.into_iter().map(|name| ContainerInfo {
                pod: Some(identity.clone()),
                path: pod.directory.join(&name),
                name,
            }));
        }
        containers
    }

    fn search_in(
        &self,
        container: &ContainerInfo,
        key: FileKey,
        bytes: u64,
        failure: &mut Option<io::Error>,
    ) -> Option<(Source, PathBuf)> {
        let others: Vec<PathBuf> = self.settings.files.iter().map(|f| f.path.clone()).collect();
        let listed = note(listing::list(&self.disk, container, &others), failure)?;
        for listed in listed {
            let opened = Candidate::open(&self.disk, listed).and_then(|mut candidate| {
                candidate.look(&self.disk)?;
                Ok(candidate)
            });
            let Some(candidate) = note(opened, failure) else {
                continue;
            };
            let long_enough = candidate.gzip || candidate.stat.bytes >= bytes;
            if long_enough && self.is(container, &candidate, key) {
                let (path, prefix) = (candidate.path.clone(), candidate.prefix);
                let (_, content) = note(candidate.into_content(&self.disk), failure)?;
                return Some((Source::Open(Box::new(content), prefix), path));
            }
        }
        None
    }

    fn is(&self, container: &ContainerInfo, candidate: &Candidate<OsDisk>, key: FileKey) -> bool {
        let head = &candidate.head;
        let Some(pod) = &container.pod else {
            let live = candidate.order.is_live();
            return lock(&self.generations).can_be(key, &container.path, head, live);
        };
        let restart = candidate.order.restart;
        let found = listing::cri_key(container, restart, head);
        let found = found.unwrap_or_else(|| file_key(&pod.uid, &container.name, restart, head));
        found == key
    }

    /// Keeps the bound on open files: closes what was used longest ago, if possible what can be
    /// opened again.
    fn close_some(&self, shelf: &mut Shelf) {
        let max = self.settings.open_files_max.max(1);
        while shelf.open_count() > max {
            let by_use = |reopenable: bool| {
                let open = shelf
                    .files
                    .iter()
                    .filter_map(|(key, slot)| match &slot.source {
                        Source::Open(content, _) => Some((key, slot, content)),
                        Source::Closed | Source::Gone => None,
                    });
                open.filter(|(_, slot, content)| {
                    !reopenable || self.is_named(&slot.path, &content.file)
                })
                .min_by_key(|(_, slot, _)| slot.used)
                .map(|(key, _, _)| *key)
            };
            let Some(key) = by_use(true).or_else(|| by_use(false)) else {
                break;
            };
            if let Some(slot) = shelf.files.get_mut(&key) {
                slot.source = Source::Closed;
            }
        }
    }

    fn is_named(&self, path: &Path, file: &Arc<File>) -> bool {
        let named = self.disk.stat(path);
        let open = self.disk.stat_open(file);
        matches!((named, open), (Ok(named), Ok(open)) if named.same_file(&open))
    }
}

impl Shelf {
    fn open_count(&self) -> usize {
        let open = |slot: &&Slot| matches!(slot.source, Source::Open(..));
        self.files.values().filter(open).count()
    }

    fn open_files(&self) -> i64 {
        i64::try_from(self.open_count()).unwrap_or(i64::MAX)
    }

    /// A window to fill: a new one, or the one used longest ago.
    fn take_window(&mut self) -> Window {
        let oldest = self.windows.iter().enumerate();
        let oldest = oldest
            .min_by_key(|(_, window)| window.used)
            .map(|(at, _)| at);
        match oldest {
            Some(oldest) if self.windows.len() >= WINDOWS_MAX => self.windows.swap_remove(oldest),
            _ => Window {
                key: FileKey::default(),
                start: 0,
                bytes: Vec::new(),
                filled: 0,
                used: 0,
            },
        }
    }
}

/// Fills `into` as far as the content goes; 0 if it is another content by now.
fn read_all(
    disk: &OsDisk,
    content: &mut Content<OsDisk>,
    prefix: Prefix,
    offset: u64,
    into: &mut [u8],
) -> Result<usize, Option<io::Error>> {
    loop {
        match content.read(disk, prefix, offset, into) {
            Ok(Got::Bytes(bytes)) => return Ok(bytes),
            Ok(Got::Skipped) => {}
            Ok(Got::End | Got::Replaced) => return Ok(0),
            Err(error) => return Err(Some(error)),
        }
    }
}

/// Remembers a failure that may pass; what is not there is none.
fn note<T>(outcome: io::Result<T>, failure: &mut Option<io::Error>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            if !absent.contains(&error.kind()) && failure.is_none() {
                *failure = Some(error);
            }
            None
        }
    }
}
