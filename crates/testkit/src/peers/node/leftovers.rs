//! What a node changes on the machine outside of its folder and its network, and how it is as it was
//! before. What was before is written down first, so that the next run can take away what a killed
//! one left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::network::SPACE;
use crate::peers::{PAUSE, until};

/// Where kubelet keeps the logs of pods.
pub(super) const LOGS: &str = "/var/log/pods";

const LOCK: &str = "/run/emco-node.lock";
const BEFORE: &str = "/run/emco-node.json";
const CGROUPS: &str = "/sys/fs/cgroup";
/// The cgroup of all pods.
const PODS: &str = "kubepods";
const NETWORKS: &str = "/run/netns";
/// What kubelet sets.
const SETTINGS: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];
/// Where parts of a node write that cannot be told to write elsewhere.
const FOLDERS: [&str; 6] = [
    LOGS,
    "/var/log/containers",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/run/containerd",
    NETWORKS,
];
/// How long it may take until another node is gone, and until what is ended has ended.
const BOUND: Duration = Duration::from_secs(50);

/// What was before; it is so again when this goes away.
#[derive(Debug)]
pub(super) struct Leftovers {
    before: Before,
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// What is taken away, with all mounts in it.
    folder: PathBuf,
    settings: BTreeMap<String, String>,
    /// What was in each folder that was there.
    folders: BTreeMap<String, BTreeSet<String>>,
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
impl Leftovers {
    /// Takes away what a killed run left, and writes down how things are now. What is kept in `folder`
    /// will be taken away.
    ///
    /// # Panics
    /// If another node runs on this machine.
    pub(super) fn remember(folder: &Path) -> Self {
        let lock = File::create(LOCK).expect("make the lock of the node");
        until("the node of another test is gone", BOUND, || {
            lock.try_lock().ok()
        });
        if let Ok(text) = fs::read(BEFORE) {
            let before: Before = serde_json::from_slice(&text).expect("what a killed run wrote");
            before.restore();
        }
        assert_eq!(
            processes_of_pods(),
            [""; 0],
            "this machine is a node already"
        );
        let before = Before::now(folder);
        let text = serde_json::to_vec(&before).expect("plain data");
        fs::write(BEFORE, text).expect("write down what is before a node");
        Self {
            before,
            _lock: lock,
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.before.restore();
    }
}

impl Before {
    fn now(folder: &Path) -> Self {
        let setting = |name: &str| {
            let value = read(&Path::new("/proc/sys").join(name))?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        let listed = |folder: &str| Some((folder.to_owned(), list(Path::new(folder))?));
        Self {
            folder: folder.to_path_buf(),
            settings: SETTINGS.iter().filter_map(|name| setting(name)).collect(),
            folders: FOLDERS.iter().filter_map(|folder| listed(folder)).collect(),
        }
    }

    fn restore(&self) {
        end_pods();
        end_network_processes();
        self.unmount();
        end_networks(self.folders.get(NETWORKS));
        for folder in FOLDERS {
            clear(Path::new(folder), self.folders.get(folder));
        }
        clear(&self.folder, None);
        for (name, value) in &self.settings {
            // A setting that this machine does not let anybody change was not changed.
            drop(fs::write(Path::new("/proc/sys").join(name), value));
        }
        drop(fs::remove_file(BEFORE));
    }

    /// Takes away every mount inside the node's folders, the last one first.
    fn unmount(&self) {
        let mounts = read(Path::new("/proc/self/mounts")).unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let is_new = |folder: &str, rest: &Path| {
            let name = rest.iter().next().unwrap_or_default().to_string_lossy();
            let before = self.folders.get(folder);
            before.is_none_or(|before| !before.contains(&*name))
        };
        let is_ours = |point: &&str| {
            let point = Path::new(point);
            let mut folders = FOLDERS.iter().filter(|&&folder| folder != NETWORKS);
            point.starts_with(&self.folder)
                || folders.any(|&folder| {
                    let rest = point.strip_prefix(folder);
                    rest.is_ok_and(|rest| is_new(folder, rest))
                })
        };
        let mut points: Vec<&str> = points.filter(is_ours).collect();
        points.reverse();
        for point in points {
            run("umount", &["--lazy", point]);
        }
    }
}

/// Ends every process of every pod, and takes their cgroups away.
pub(super) fn end_pods() {
    in_time("the processes of pods end", || {
        let processes = processes_of_pods();
        for process in &processes {
            run("kill", &["-KILL", process]);
        }
        processes.is_empty()
    });
    for group in groups() {
        in_time("the cgroups of pods go", || {
            remove_group(&group);
            !group.is_dir()
        });
    }
}

fn end_network_processes() {
    let Some(space) = identity(&Path::new(NETWORKS).join(SPACE)) else {
        return;
    };
    let own = std::process::id().to_string();
    in_time("the processes of the node end", || {
        let all = list(Path::new("/proc")).unwrap_or_default().into_iter();
        let is_there = |process: &String| {
            let network = Path::new("/proc").join(process).join("ns/net");
            let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
            is_number && *process != own && identity(&network) == Some(space)
        };
        let found: Vec<String> = all.filter(is_there).collect();
        for process in &found {
            run("kill", &["-KILL", process]);
        }
        found.is_empty()
    });
}

/// What a network is known by.
fn identity(network: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(network).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Waits until `is_so`. It may be called while a test panics, so it says what is wrong and goes on.
#[expect(
    clippy::print_stderr,
    reason = "nobody else can say what was left on the machine"
)]
fn in_time(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !is_so() {
        if Instant::now() > end {
            eprintln!("LEFT BEHIND: it is not so that {what}");
            return;
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// The networks of pods, and that of a node whose run was killed.
fn end_networks(before: Option<&BTreeSet<String>>) {
    let own = identity(Path::new("/proc/thread-self/ns/net"));
    let is_in = |space: &Path| identity(space) == own;
    let networks = Path::new(NETWORKS);
    for name in list(networks).unwrap_or_default() {
        let is_new = before.is_none_or(|before| !before.contains(&name));
        let is_ours = name.starts_with("cni-") || name == SPACE;
        if is_new && is_ours && !is_in(&networks.join(&name)) {
            run("ip", &["netns", "delete", &name]);
        }
    }
    if before.is_none() {
        run("umount", &[NETWORKS]);
        drop(fs::remove_dir(networks));
    }
}

/// Takes away what was not there before.
fn clear(folder: &Path, before: Option<&BTreeSet<String>>) {
    if folder == Path::new(NETWORKS) {
        return;
    }
    let Some(before) = before else {
        drop(fs::remove_dir_all(folder));
        return;
    };
    for name in list(folder).unwrap_or_default() {
        if !before.contains(&name) {
            let path = folder.join(name);
            // A link to a folder is no folder.
            let is_folder = path.symlink_metadata().is_ok_and(|data| data.is_dir());
            drop(if is_folder {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            });
        }
    }
}

/// A file of the kernel's.
fn read(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn list(folder: &Path) -> Option<BTreeSet<String>> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    Some(entries.map(name).collect())
}

/// The cgroups of all pods: one in each hierarchy.
fn groups() -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    let hierarchies = list(root).unwrap_or_default().into_iter();
    let hierarchies = hierarchies.map(|name| root.join(name)).chain([root.into()]);
    let groups = hierarchies.map(|hierarchy| hierarchy.join(PODS));
    groups.filter(|group| group.is_dir()).collect()
}

fn processes_of_pods() -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut groups = groups();
    while let Some(group) = groups.pop() {
        let processes = read(&group.join("cgroup.procs")).unwrap_or_default();
        found.extend(processes.lines().map(str::to_owned));
        groups.extend(inner(&group));
    }
    found.into_iter().collect()
}

fn inner(group: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

fn remove_group(group: &Path) {
    for inner in inner(group) {
        remove_group(&inner);
    }
    drop(fs::remove_dir(group));
}

/// Calls a program whose failure shows in what it should have done.
fn run(program: &str, arguments: &[&str]) {
    drop(Command::new(program).args(arguments).output());
}
