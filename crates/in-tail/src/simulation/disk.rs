//! A file system in memory that re-uses inode numbers as soon as it can.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use model::time::UnixNanos;

use crate::disk::{Disk, Stat};

/// What a container (or a program) wrote between opening a log file and leaving it; the unit in which
/// the oracle counts. Its text begins with its number.
pub(crate) type Story = usize;

pub(crate) struct Node {
    inode: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) story: Story,
    pub(crate) gzip: bool,
    modified: UnixNanos,
    changed: UnixNanos,
}

#[derive(Default)]
struct World {
    names: BTreeMap<PathBuf, Rc<RefCell<Node>>>,
    directories: BTreeSet<PathBuf>,
    nodes: Vec<std::rc::Weak<RefCell<Node>>>,
    wall: u64,
    ticks: u64,
    state: Option<Vec<u8>>,
}

/// Clones look at the same files.
#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Rc<RefCell<World>>);

pub(crate) type Handle = Rc<RefCell<Node>>;

impl SimulatedDisk {
    pub(crate) fn set_wall(&self, wall: UnixNanos) {
        self.0.borrow_mut().wall = wall.0;
    }

    pub(crate) fn state(&self) -> Option<Vec<u8>> {
        self.0.borrow().state.clone()
    }

    pub(crate) fn make_directory(&self, path: &Path) {
        self.0.borrow_mut().directories.insert(path.to_owned());
    }

    pub(crate) fn create(&self, path: &Path, story: Story, content: &[u8]) -> Handle {
        let mut world = self.0.borrow_mut();
        world.nodes.retain(|node| node.strong_count() > 0);
        let used: BTreeSet<u64> = world
            .nodes
            .iter()
            .filter_map(|node| node.upgrade().map(|node| node.borrow().inode))
            .collect();
        let inode = (1..u64::MAX).find(|inode| !used.contains(inode)).unwrap();
        let now = world.now();
        let node = Rc::new(RefCell::new(Node {
            inode,
            content: content.to_vec(),
            story,
            gzip: false,
            modified: now,
            changed: now,
        }));
        world.nodes.push(Rc::downgrade(&node));
        world.names.insert(path.to_owned(), Rc::clone(&node));
        node
    }

    pub(crate) fn append(&self, node: &Handle, bytes: &[u8]) {
        let now = self.0.borrow_mut().now();
        let mut node = node.borrow_mut();
        node.content.extend_from_slice(bytes);
        node.modified = now;
        node.changed = now;
    }

    pub(crate) fn truncate(&self, node: &Handle, story: Story) {
        let now = self.0.borrow_mut().now();
        let mut node = node.borrow_mut();
        node.content.clear();
        node.story = story;
        node.modified = now;
        node.changed = now;
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) {
        let mut world = self.0.borrow_mut();
        let now = world.now();
        if let Some(node) = world.names.remove(from) {
            node.borrow_mut().changed = now;
            world.names.insert(to.to_owned(), node);
        }
    }

    pub(crate) fn remove(&self, path: &Path) {
        self.0.borrow_mut().names.remove(path);
    }

    /// As kubelet does: a new file beside it, then the old one goes.
    pub(crate) fn compress(&self, path: &Path) {
        let Some(node) = self.get(path) else { return };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&node.borrow().content).unwrap();
        let mut target = path.as_os_str().to_owned();
        target.push(".gz");
        let (story, modified) = (node.borrow().story, node.borrow().modified);
        let compressed = self.create(Path::new(&target), story, &encoder.finish().unwrap());
        compressed.borrow_mut().gzip = true;
        compressed.borrow_mut().modified = modified;
        self.remove(path);
    }

    pub(crate) fn get(&self, path: &Path) -> Option<Handle> {
        self.0.borrow().names.get(path).cloned()
    }

    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// Whether some name, or some reader's open file, still leads to the story.
    pub(crate) fn is_reachable(&self, story: Story, writers: &[&Handle]) -> bool {
        let world = self.0.borrow();
        let named = world
            .names
            .values()
            .any(|node| node.borrow().story == story);
        named
            || world
                .nodes
                .iter()
                .filter_map(std::rc::Weak::upgrade)
                .any(|node| {
                    let ours = writers
                        .iter()
                        .filter(|writer| Rc::ptr_eq(writer, &node))
                        .count();
                    node.borrow().story == story && Rc::strong_count(&node) > ours + 1
                })
    }

    pub(crate) fn is_named(&self, story: Story) -> bool {
        let world = self.0.borrow();
        world
            .names
            .values()
            .any(|node| node.borrow().story == story)
    }
}

impl World {
    /// Time stamps differ between any two changes, as far as nanoseconds go.
    fn now(&mut self) -> UnixNanos {
        self.ticks += 1;
        UnixNanos(self.wall + self.ticks)
    }
}

impl Disk for SimulatedDisk {
    type File = Handle;

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let world = self.0.borrow();
        if !world.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = world.names.keys().chain(&world.directories);
        let inside = all.filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let world = self.0.borrow();
        if world.directories.contains(path) {
            return Ok(Stat {
                directory: true,
                ..Stat::default()
            });
        }
        let node = world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(stat_of(&node.borrow()))
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        let node = self.get(path);
        node.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat_open(&self, file: &Handle) -> io::Result<Stat> {
        Ok(stat_of(&file.borrow()))
    }

    fn read_at(&self, file: &Handle, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let node = file.borrow();
        let rest = node.content.get(usize::try_from(offset).unwrap()..);
        let rest = rest.unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn save(&self, state: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().state = Some(state.to_vec());
        Ok(())
    }
}

fn stat_of(node: &Node) -> Stat {
    Stat {
        device: 1,
        inode: node.inode,
        bytes: node.content.len() as u64,
        directory: false,
        modified: node.modified,
        changed: node.changed,
    }
}
