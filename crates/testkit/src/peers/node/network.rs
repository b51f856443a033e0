//! A network of its own for everything that a node runs.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The address of the node.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// Those of the node and its pods.
pub(super) const PODS: &str = "10.88.0.0/24";
/// What pods are plugged into.
pub(super) const BRIDGE: &str = "k8s0";
/// The namespace.
pub(super) const SPACE: &str = "emco-node";

/// The namespace that this thread, and every thread and process that it starts, is in until this goes
/// away. The namespace itself goes with what else a node leaves.
#[derive(Debug)]
pub(super) struct Network {
    before: File,
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
impl Network {
    /// Makes it and goes there.
    pub(super) fn start() -> Self {
        let before = File::open("/proc/thread-self/ns/net").expect("open the network as it is");
        ip(&["netns", "add", SPACE]);
        let space = File::open(format!("/run/netns/{SPACE}")).expect("open the network");
        enter(&space);
        let host = format!("{HOST}/24");
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["link", "add", BRIDGE, "type", "bridge"],
            &["address", "add", &host, "dev", BRIDGE],
            &["link", "set", BRIDGE, "up"],
            &["route", "add", "default", "dev", BRIDGE],
        ] {
            ip(arguments);
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward between pods");
        Self { before }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        enter(&self.before);
    }
}

/// Goes where `space` is, with this thread.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
pub(super) fn enter(space: &File) {
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("enter a network");
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn ip(arguments: &[&str]) {
    let said = Command::new("ip").args(arguments).output();
    let said = said.expect("call ip");
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "ip {arguments:?}: {errors}");
}
