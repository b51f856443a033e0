//! Follows all containers; knows no clock, no operating system and no task.
//!
//! The driver says when to look ([`Engine::poll`]) and then takes steps until there is nothing more
//! to do ([`Step::Wait`]). Everything the engine sees of the world comes through [`Disk`], so a test
//! can simulate rotation, deletion, truncation and crashes at any step.
//!
//! Fairness: containers that settings name `first` go before all others; the others take turns, one
//! chunk each.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::ids::FileKey;
use model::time::UnixNanos;

use crate::CHUNK_BYTES_MAX;
use crate::container::Container;
use crate::disk::Disk;
use crate::error::Error;
use crate::event::{
    ContainerIndex, ContainerInfo, FileEnded, FileIndex, FileOpened, FileRef, Resume, Trouble,
};
use crate::generations::Generations;
use crate::identity::{PodIdentity, Prefix};
use crate::metrics::{Happening, Metrics};
use crate::settings::{PlainSettings, PodSettings, Replay, Settings};

const BUFFER_BYTES_MIN: usize = 16 * 1024;
/// Containers of one pod that are followed; a pod has a handful.
const CONTAINERS_MAX: usize = 256;
/// Paths whose trouble is remembered, so that it is said once.
const TROUBLES_MAX: usize = 256;

/// The moment in which the engine works.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// Since some fixed moment; never goes back.
    pub(crate) at: Duration,
    /// What files' time stamps are compared with.
    pub(crate) wall: UnixNanos,
}

/// One thing the driver passes on, or does.
#[derive(Debug)]
pub(crate) enum Step {
    ContainerFound(ContainerIndex, Arc<ContainerInfo>),
    RestartSeen(ContainerIndex, u32),
    FileOpened(FileOpened),
    Chunk(ChunkStep),
    FileEnded(FileEnded),
    ContainerEnded(ContainerIndex),
    Trouble(Trouble),
    Idle,
    /// Let other tasks run, then step again.
    Yield,
    /// Nothing to do until the next poll.
    Wait(Wait),
}

/// A chunk whose bytes are in the engine's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkStep {
    pub(crate) container: ContainerIndex,
    pub(crate) file: FileRef,
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
    pub(crate) replayed: bool,
}

/// What the engine is waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Something was read since the last wait.
    pub(crate) grew: bool,
    /// A rotated file may still get its last bytes: look again soon.
    pub(crate) soon: bool,
    /// A directory is missing, so it cannot be watched.
    pub(crate) absent: bool,
}

/// A file that has been opened, for those who read it again.
pub(crate) struct Opened<D: Disk> {
    pub(crate) key: FileKey,
    pub(crate) path: PathBuf,
    /// None if the bytes are known to be gone.
    pub(crate) source: Option<(D::File, bool, Prefix)>,
}

/// Generations are looked up by those who read again as well.
pub(crate) type SharedGenerations = Arc<Mutex<Generations>>;

/// What containers share.
pub(crate) struct Context<D: Disk> {
    pub(crate) disk: D,
    pub(crate) metrics: Metrics,
    pub(crate) steps: VecDeque<Step>,
    pub(crate) opened: Vec<Opened<D>>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) plain_paths: Vec<PathBuf>,
    generations: SharedGenerations,
    resume: Box<dyn Fn(FileKey) -> Resume + Send>,
    files: HashMap<FileKey, FileIndex>,
    troubles: HashMap<PathBuf, io::ErrorKind>,
    state: PathBuf,
}

/// See the module.
pub(crate) struct Engine<D: Disk> {
    context: Context<D>,
    containers: Vec<Container<D>>,
    pods: Vec<Pod>,
    next: usize,
    /// Something was handed out since the last `Idle`.
    busy: bool,
    grew: bool,
}

struct Pod {
    settings: PodSettings,
    identity: PodIdentity,
    present: bool,
}

impl<D: Disk> Engine<D> {
    /// Of validated settings; nothing is read before the first poll.
    pub(crate) fn new(
        settings: &Settings,
        disk: D,
        generations: SharedGenerations,
        resume: impl Fn(FileKey) -> Resume + Send + 'static,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let mut engine = Self {
            context: Context {
                disk,
                metrics,
                steps: VecDeque::new(),
                opened: Vec::new(),
                buffer: Vec::new(),
                plain_paths: settings.files.iter().map(|f| f.path.clone()).collect(),
                generations,
                resume: Box::new(resume),
                files: HashMap::new(),
                troubles: HashMap::new(),
                state: settings.state.clone().unwrap_or_default(),
            },
            containers: Vec::new(),
            pods: Vec::new(),
            next: 0,
            busy: true,
            grew: false,
        };
        for pod in &settings.pods {
            engine.pods.push(Pod {
                identity: pod_identity(pod)?,
                settings: pod.clone(),
                present: false,
            });
        }
        for plain in &settings.files {
            engine.add_plain(plain);
        }
        Ok(engine)
    }

    /// Time to look: at followed files, and with `scan` at directories too.
    pub(crate) fn poll(&mut self, scan: bool) {
        self.context.metrics.polls.inc();
        if scan {
            for index in 0..self.pods.len() {
                self.discover(index);
            }
        }
        for container in &mut self.containers {
            container.wake(scan);
        }
    }

    /// The next thing to do.
    pub(crate) fn step(&mut self, now: Now) -> Step {
        if self.context.steps.is_empty() {
            self.advance(now);
        }
        if let Some(step) = self.context.steps.pop_front() {
            if !matches!(step, Step::Yield) {
                self.busy = true;
                self.grew = true;
            }
            return step;
        }
        if std::mem::take(&mut self.busy) {
            self.context.buffer.truncate(BUFFER_BYTES_MIN * 4);
            self.context.buffer.shrink_to_fit();
            return Step::Idle;
        }
        Step::Wait(Wait {
            grew: std::mem::take(&mut self.grew),
            soon: self.containers.iter().any(Container::is_settling),
            absent: self.pods.iter().any(|pod| !pod.present)
                || self.containers.iter().any(Container::is_absent),
        })
    }

    /// The next time that there is nothing to read is told, even if nothing was read before.
    pub(crate) const fn tell_idle(&mut self) {
        self.busy = true;
    }

    /// The bytes of the chunk that the last step named.
    pub(crate) fn bytes(&self, chunk: &ChunkStep) -> &[u8] {
        self.context.buffer.get(..chunk.bytes).unwrap_or_default()
    }

    /// Files opened (or lost) since the last call.
    pub(crate) fn take_opened(&mut self) -> Vec<Opened<D>> {
        std::mem::take(&mut self.context.opened)
    }

    /// Directories in which something may happen; those that are missing are replaced by their
    /// parents, where they will appear.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for pod in &self.pods {
            let own = &pod.settings.directory;
            let parent = own.parent().map(Path::to_path_buf);
            directories.extend(if pod.present {
                Some(own.clone())
            } else {
                parent
            });
        }
        directories.extend(self.containers.iter().filter_map(Container::directory));
        directories.sort();
        directories.dedup();
        directories
    }

    fn advance(&mut self, now: Now) {
        let (context, containers) = (&mut self.context, &mut self.containers);
        for container in containers.iter_mut().filter(|container| container.first) {
            if container.step(context, now) {
                return;
            }
        }
        let count = containers.len();
        for turn in 0..count {
            let index = (self.next + turn) % count;
            if let Some(container) = containers.get_mut(index)
                && !container.first
                && container.step(context, now)
            {
                self.next = index + 1;
                return;
            }
        }
    }

    fn discover(&mut self, index: usize) {
        let Some(pod) = self.pods.get_mut(index) else {
            return;
        };
        let directory = pod.settings.directory.clone();
        let names = match self.context.disk.list(&directory) {
            Ok(names) => names,
            Err(source) => {
                pod.present = source.kind() != io::ErrorKind::NotFound;
                self.context.list_failed(&directory, source);
                return;
            }
        };
        pod.present = true;
        let pod = (pod.settings.clone(), pod.identity.clone());
        self.context.calm(&directory);
        for name in names {
            self.add_container(&pod.0, &pod.1, name);
        }
    }

    fn add_container(&mut self, settings: &PodSettings, identity: &PodIdentity, name: String) {
        let path = settings.directory.join(&name);
        let known = self.containers.iter().any(|old| old.info.path == path);
        if known || !settings.wants(&name) || self.containers.len() >= CONTAINERS_MAX {
            return;
        }
        if !self
            .context
            .disk
            .stat(&path)
            .is_ok_and(|stat| stat.directory)
        {
            return;
        }
        let replay = settings.replay.get(&name).copied().unwrap_or_default();
        let first = settings.first.contains(&name);
        let info = ContainerInfo {
            pod: Some(identity.clone()),
            name,
            path,
        };
        self.add(info, replay, first);
    }

    fn add_plain(&mut self, plain: &PlainSettings) {
        let of_path = || {
            plain
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let name = plain.name.clone().or_else(of_path).unwrap_or_default();
        let info = ContainerInfo {
            pod: None,
            name,
            path: plain.path.clone(),
        };
        self.add(info, plain.replay, plain.first);
    }

    fn add(&mut self, info: ContainerInfo, replay: Replay, first: bool) {
        let index = ContainerIndex(u32::try_from(self.containers.len()).unwrap_or(u32::MAX));
        let info = Arc::new(info);
        self.context
            .steps
            .push_back(Step::ContainerFound(index, Arc::clone(&info)));
        self.containers
            .push(Container::new(index, info, replay, first));
    }
}

impl<D: Disk> Context<D> {
    pub(crate) fn from(&self, key: FileKey) -> u64 {
        (self.resume)(key).from
    }

    pub(crate) fn generations(&self) -> MutexGuard<'_, Generations> {
        lock(&self.generations)
    }

    /// The same number for the same key, always.
    pub(crate) fn file(&mut self, key: FileKey) -> FileRef {
        let next = FileIndex(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        let index = *self.files.entry(key).or_insert(next);
        FileRef { key, index }
    }

    /// A buffer of at least the smallest size; grows when the last read filled it.
    pub(crate) fn grow_buffer(&mut self, filled: bool) {
        let bytes = self.buffer.len();
        if bytes < BUFFER_BYTES_MIN {
            self.buffer.resize(BUFFER_BYTES_MIN, 0);
        } else if filled && bytes < CHUNK_BYTES_MAX {
            self.buffer.resize((bytes * 4).min(CHUNK_BYTES_MAX), 0);
        }
    }

    /// Says what is wrong with `path`, unless that was said before.
    pub(crate) fn trouble(&mut self, path: &Path, kind: io::ErrorKind, error: Error) {
        if self.troubles.get(path) == Some(&kind) {
            return;
        }
        if self.troubles.len() >= TROUBLES_MAX {
            self.troubles.clear();
        }
        self.troubles.insert(path.to_path_buf(), kind);
        self.metrics.count(match error {
            Error::Gzip { .. } => Happening::Damaged,
            _ => Happening::Unreadable,
        });
        self.steps.push_back(Step::Trouble(Trouble {
            path: path.to_path_buf(),
            error,
        }));
    }

    /// What does not exist yet is no trouble.
    pub(crate) fn list_failed(&mut self, directory: &Path, source: io::Error) {
        if source.kind() == io::ErrorKind::NotFound {
            return self.calm(directory);
        }
        let path = directory.to_path_buf();
        self.trouble(directory, source.kind(), Error::List { path, source });
    }

    /// A file that cannot be read; one that is gone was rotated or deleted, which is no trouble.
    pub(crate) fn read_failed(&mut self, file: &Path, source: io::Error) {
        if source.kind() == io::ErrorKind::NotFound {
            return;
        }
        let path = file.to_path_buf();
        self.trouble(file, source.kind(), Error::Read { path, source });
    }

    /// `path` is fine (again).
    pub(crate) fn calm(&mut self, path: &Path) {
        if !self.troubles.is_empty() {
            self.troubles.remove(path);
        }
    }

    /// Writes the state of plain files if it changed.
    pub(crate) fn save(&mut self) {
        let Some(state) = self.generations().take_changed() else {
            return;
        };
        let path = self.state.clone();
        match self.disk.save(&state) {
            Ok(()) => self.calm(&path),
            Err(source) => {
                let kind = source.kind();
                self.trouble(&path.clone(), kind, Error::State { path, source });
            }
        }
    }
}

/// A panic elsewhere leaves generations as usable as before.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who the pod of a directory is.
pub(crate) fn pod_identity(pod: &PodSettings) -> Result<PodIdentity, Error> {
    pod.identity
        .clone()
        .or_else(|| PodIdentity::parse(&pod.directory))
        .ok_or_else(|| Error::PodName {
            path: pod.directory.clone(),
        })
}
