//! A whole cluster on one node, which is this machine: pods really run, in containers, under a real
//! kubelet, with its `/var/log/pods`, its rotation of logs and its Services.
//!
//! ```text
//! network namespace `emco-node`, bridge k8s0 10.88.0.1/24
//! ┌──────────────────────────────────────────────────────────────────┐
//! │ etcd ◀─ API server ◀─ controllers, scheduler, kube-proxy         │
//! │              ▲                                                   │
//! │ names (:53) ─┤                                                   │
//! │              └─ kubelet ─▶ containerd ─▶ pods, each 10.88.0.x    │
//! └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Whoever starts one is in that namespace from then on, with the thread and every thread and process
//! that it starts: addresses of pods and Services can be called. What the kubelet changes on the
//! machine outside of it (kernel settings, cgroups, mounts, `/var/log/pods`) is as it was before when
//! the value goes away; what a killed run left is taken away by the next.

mod disk;
mod image;
mod leftovers;
mod names;
mod network;
mod parts;

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use self::disk::Disk;
use self::leftovers::Leftovers;
use self::names::Names;
use self::network::Network;
use self::parts::Tokens;
use super::{Kubernetes, Process, in_path, installed_in, until};

/// How long it may take until a node says that it is ready.
const READY_BOUND: Duration = Duration::from_mins(1);
const NAME: &str = "node1";

/// A running cluster with a node.
#[derive(Debug)]
pub struct Node {
    // Ended in this order: who starts pods before those are ended, and what is left at last.
    runtime: Option<Runtime>,
    _proxy: Process,
    _scheduler: Process,
    _names: Names,
    cluster: Kubernetes,
    tokens: Tokens,
    images: Vec<PathBuf>,
    disk: Disk,
    _network: Network,
    _leftovers: Leftovers,
}

/// What ends when a node is restarted. Its containers go on.
#[derive(Debug)]
struct Runtime {
    kubelet: Process,
    containerd: Process,
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
impl Node {
    /// The image of a service that logs as those of EMCO do: `-lines N -rate PER_SECOND -last N
    /// -exit STATUS`.
    pub const APPLICATION: &str = "localhost/application:1";

    /// Starts one that keeps what it has in `folder`, with `images`, archives as `cargo xtask dist`
    /// makes them; `None` where `EMCO_NODE` is not 1, which says that this machine may be one and
    /// that the test is worth its minutes.
    ///
    /// # Panics
    /// If it does not start, or if the machine is a node already.
    pub fn start(folder: &Path, images: &[PathBuf]) -> Option<Self> {
        if !is_wanted() {
            return None;
        }
        for program in ["containerd", "ctr", "runc", "ip"] {
            in_path(program)?;
        }
        let folder = &folder.join("node");
        let kubelet = installed_in("node", "kubelet")?;
        installed_in("kubernetes", "kube-apiserver")?;
        installed_in("helm", "kubectl")?;
        let leftovers = Leftovers::remember(folder);
        std::fs::create_dir_all(folder).expect("make the node's folder");
        let network = Network::start();
        let tokens = Tokens::default();
        let mut cluster = Kubernetes::start_at(folder, || parts::place(&tokens))?;
        cluster.start_controllers();
        let names = Names::serve(network::HOST, cluster.reader());
        let scheduler = parts::start_scheduler(&cluster);
        let proxy = parts::start_proxy(&cluster);
        let own = image::write_own(folder, kubelet.parent()?);
        let mut node = Self {
            runtime: None,
            _proxy: proxy,
            _scheduler: scheduler,
            _names: names,
            cluster,
            tokens,
            images: [own, images.to_vec()].concat(),
            disk: Disk::mount(folder.join("kubelet")),
            _network: network,
            _leftovers: leftovers,
        };
        node.start_runtime();
        Some(node)
    }

    /// Starts containerd and kubelet and waits until the node is ready.
    ///
    /// # Panics
    /// If it is not.
    pub fn start_runtime(&mut self) {
        let containerd = parts::start_containerd(self.cluster.folder());
        for image in &self.images {
            self.import(image);
        }
        let kubelet = parts::start_kubelet(&self.cluster, &self.tokens, &self.disk);
        self.runtime = Some(Runtime {
            kubelet,
            containerd,
        });
        until("the node is ready", READY_BOUND, || {
            let node = self.ask(&format!("/api/v1/nodes/{NAME}"));
            let is_tainted = node.body.pointer("/spec/taints").is_some();
            (is_true(&node.body, "Ready") && !is_tainted).then_some(())
        });
    }

    /// Fills the disk with the volumes of pods.
    ///
    /// # Panics
    /// If it cannot.
    pub fn fill_disk(&self) {
        self.disk.fill();
    }

    /// Takes away what filled the disk.
    ///
    /// # Panics
    /// If nothing did.
    pub fn free_disk(&self) {
        self.disk.free();
    }

    /// Ends kubelet and containerd, as the restart of a node's services does. Containers go on.
    ///
    /// # Panics
    /// If they do not end.
    pub fn stop_runtime(&mut self) {
        if let Some(mut runtime) = self.runtime.take() {
            runtime.kubelet.stop();
            runtime.containerd.stop();
        }
    }

    /// Makes the image in the archive `path` known to the node.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn import(&self, path: &Path) {
        let mut import = self.ctr(&["images", "import"]);
        let said = import.arg(path).output().expect("call ctr");
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "import {}: {errors}", path.display());
    }

    /// Gives the image `name` one name more.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn name_image(&self, name: &str, another: &str) {
        let said = self.ctr(&["images", "tag", name, another]).output();
        let said = said.expect("call ctr");
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "name {name} {another}: {errors}");
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        parts::ctr(self.cluster.folder(), arguments)
    }

    /// The folder of a pod's logs.
    pub fn logs(pod: &Value) -> PathBuf {
        let part = |name: &str| {
            let part = pod.get("metadata").and_then(|metadata| metadata.get(name));
            part.and_then(Value::as_str).unwrap_or_default()
        };
        let name = format!("{}_{}_{}", part("namespace"), part("name"), part("uid"));
        Path::new(leftovers::LOGS).join(name)
    }

    /// Does something where the containers of a pod are in the network: theirs is its 127.0.0.1.
    ///
    /// # Panics
    /// If the container does not run, or `act` panics.
    pub fn in_pod<T: Send>(&self, status: &Value, act: impl FnOnce() -> T + Send) -> T {
        let id = status.get("containerID").and_then(Value::as_str);
        let id = id.expect("a container").trim_start_matches("containerd://");
        let said = self.ctr(&["tasks", "ls"]).output().expect("call ctr");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let mut tasks = said.lines().map(str::split_whitespace);
        let process = tasks.find_map(|mut task| (task.next()? == id).then(|| task.next())?);
        let network = format!("/proc/{}/ns/net", process.expect("it runs"));
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                network::enter(&File::open(network).expect("open the pod's network"));
                act()
            });
            there.join().expect("what is done in a pod")
        })
    }

    /// Kills the process of a container, as the kernel does that has no memory left.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill_container(&self, status: &Value) {
        let id = status.get("containerID").and_then(Value::as_str);
        let id = id.expect("a container");
        let id = id.trim_start_matches("containerd://");
        let said = self
            .ctr(&["tasks", "kill", "--signal", "KILL", id])
            .output();
        let said = said.expect("call ctr");
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "kill {id}: {errors}");
    }
}

impl Deref for Node {
    type Target = Kubernetes;

    fn deref(&self) -> &Kubernetes {
        &self.cluster
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First who would start again what is ended here.
        if let Some(runtime) = &mut self.runtime {
            runtime.kubelet.kill();
        }
        leftovers::end_pods();
        drop(self.runtime.take());
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test says what it leaves out where whoever runs it looks"
)]
fn is_wanted() -> bool {
    let is_wanted = std::env::var("EMCO_NODE").as_deref() == Ok("1");
    if is_wanted {
        assert!(rustix::process::geteuid().is_root(), "a node takes root");
    } else {
        eprintln!("SKIPPED, NOT TESTED: no node: run `cargo xtask test --full`");
    }
    is_wanted
}

/// Whether a node or a pod is said to be `condition`.
pub fn is_true(object: &Value, condition: &str) -> bool {
    let has =
        |one: &Value, name: &str, value: &str| one.get(name).is_some_and(|found| *found == *value);
    let is_so = |one: &Value| has(one, "type", condition) && has(one, "status", "True");
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(is_so))
}
