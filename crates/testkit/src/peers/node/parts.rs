//! The programs of a node, as this machine can run them: in a network namespace, with cgroups of
//! version 1 or 2, and without modules of the kernel.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::disk::Disk;
use super::network::{BRIDGE, HOST, PODS};
use super::{NAME, image};
use crate::peers::kubernetes::Place;
use crate::peers::{Kubernetes, Process, installed_in};

const API_PORT: u16 = 6443;
const SERVICES: &str = "10.96.0.0/16";

/// What proves who is who.
#[derive(Debug)]
pub(super) struct Tokens {
    kubelet: String,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            kubelet: format!("{:032x}", fastrand::u128(..)),
        }
    }
}

/// Where the API server of a node is.
pub(super) fn place(tokens: &Tokens) -> Place {
    let Tokens { kubelet } = tokens;
    Place {
        address: SocketAddr::from((HOST, API_PORT)),
        services: SERVICES.to_owned(),
        own_service: Ipv4Addr::new(10, 96, 0, 1),
        users: format!("{kubelet},system:node:{NAME},{NAME},\"system:nodes\"\n"),
        options: [
            &format!("--advertise-address={HOST}"),
            "--allow-privileged",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

pub(super) fn start_scheduler(cluster: &Kubernetes) -> Process {
    let mut command = Command::new(program("kube-scheduler"));
    command
        .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
        .args(["--leader-elect=false", "--authentication-skip-lookup=true"])
        .args(["--bind-address=127.0.0.1", "--secure-port=10259"]);
    start(&mut command, cluster.folder(), "kube-scheduler", || {
        is_listening(10259)
    })
}

pub(super) fn start_proxy(cluster: &Kubernetes) -> Process {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": cluster.kubeconfig()},
        "mode": "iptables", "clusterCIDR": PODS, "hostnameOverride": NAME,
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
        // Pods share one bridge: an answer has to come back the way the question went.
        "iptables": {"masqueradeAll": true, "minSyncPeriod": "0s", "syncPeriod": "30s"},
        // The kernel's table belongs to the machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
                      "tcpCloseWaitTimeout": "0s"},
    });
    let config = write(cluster.folder(), "kube-proxy.yaml", &config);
    let mut command = Command::new(program("kube-proxy"));
    command.arg(format!("--config={config}"));
    start(&mut command, cluster.folder(), "kube-proxy", || {
        is_listening(10256)
    })
}

/// Runs containers; keeps all of them in `folder`.
pub(super) fn start_containerd(folder: &Path) -> Process {
    let network = json!({
        "cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipMasq": false,
             "hairpinMode": true, "ipam": {
                "type": "host-local", "dataDir": folder.join("addresses"),
                "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "loopback"},
        ],
    });
    let plugins = folder.join("cni");
    make(&plugins);
    write(&plugins, "10-pods.conflist", &network);
    let at = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
disable_apparmor = true
restrict_oom_score_adj = true
sandbox_image = "{pause}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{plugins}"
"#,
        root = at("containerd"),
        state = at("containerd-state"),
        socket = at("containerd.sock"),
        opt = at("containerd-opt"),
        pause = image::PAUSE,
        plugins = plugins.display(),
    );
    let config = folder.join("containerd.toml");
    write_text(&config, &text);
    let mut command = Command::new("containerd");
    command.arg("--config").arg(config);
    start(&mut command, folder, "containerd", || {
        let asked = ctr(folder, &["version"]).output();
        asked.is_ok_and(|said| said.status.success())
    })
}

/// Calls containerd.
pub(super) fn ctr(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command
        .arg("--address")
        .arg(folder.join("containerd.sock"))
        .args(["--namespace", "k8s.io"])
        .args(arguments);
    command
}

/// Runs the node's pods.
pub(super) fn start_kubelet(cluster: &Kubernetes, tokens: &Tokens, disk: &Disk) -> Process {
    let folder = cluster.folder();
    let socket = format!("unix://{}", folder.join("containerd.sock").display());
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": socket,
        "failCgroupV1": false, "failSwapOn": false, "cgroupDriver": "cgroupfs",
        "makeIPTablesUtilChains": false, "resolvConf": "",
        "clusterDNS": [HOST], "clusterDomain": super::names::DOMAIN,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "volumePluginDir": folder.join("volume-plugins"),
        // Rotated often, so that a test sees it.
        "containerLogMaxSize": "64Ki", "containerLogMaxFiles": 3,
        "containerLogMonitorInterval": "3s",
        // A full disk is a test's own doing, and nothing is evicted for it.
        "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%",
                         "imagefs.available": "1%",
                         "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "syncFrequency": "10s", "nodeStatusUpdateFrequency": "2s",
        "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 100, "kubeAPIBurst": 200,
    });
    let config = write(folder, "kubelet.yaml", &config);
    let kubeconfig = cluster.kubeconfig_with("kubelet", &tokens.kubelet);
    let mut command = Command::new(program("kubelet"));
    command
        .arg(format!("--config={config}"))
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--hostname-override={NAME}"))
        .arg(format!("--node-ip={HOST}"))
        .arg(format!("--root-dir={}", disk.path().display()))
        .arg(format!(
            "--cert-dir={}",
            folder.join("kubelet-pki").display()
        ));
    start(&mut command, folder, "kubelet", || is_listening(10248))
}

fn is_listening(port: u16) -> bool {
    std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn start(command: &mut Command, folder: &Path, name: &str, is_up: impl Fn() -> bool) -> Process {
    Process::start(command, &folder.join(format!("{name}.log")), is_up)
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn program(name: &str) -> std::path::PathBuf {
    installed_in("node", name).expect("installed with kubelet")
}

fn write(folder: &Path, name: &str, content: &Value) -> String {
    let path = folder.join(name);
    write_text(&path, &content.to_string());
    path.display().to_string()
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn write_text(path: &Path, text: &str) {
    fs::write(path, text).expect("write what a part of the node reads");
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn make(folder: &Path) {
    fs::create_dir_all(folder).expect("make a folder of the node");
}
