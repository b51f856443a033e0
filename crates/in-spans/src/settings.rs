//! What can be set.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Limits and address of the receiver. The defaults suit a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen; 127.0.0.1:9411 by default.
    pub listen: SocketAddr,
    /// Connections served at once; others wait in the kernel's backlog. 16 by default.
    pub connections_max: usize,
    /// Longest body after decompression, in bytes; 256 MiB by default.
    pub body_bytes_max: u64,
    /// How long a sender may pause inside a body; 10 s by default.
    pub pause_max: Duration,
    /// How long a body may take as a whole; 60 s by default.
    pub body_time_max: Duration,
    /// How long a connection may be idle between requests; 75 s by default.
    pub idle_max: Duration,
    /// How long open requests may take to end after the stop; 2 s by default.
    pub drain_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9411)),
            connections_max: 16,
            body_bytes_max: 256 << 20,
            pause_max: Duration::from_secs(10),
            body_time_max: Duration::from_mins(1),
            idle_max: Duration::from_secs(75),
            drain_max: Duration::from_secs(2),
        }
    }
}
