//! Ports for programs that are started again on the same port.
//!
//! Taken below the range from which the kernel gives ports to clients, so that nobody gets one of
//! ours while a killed program is away.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result};

const RANGE: Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 1000;

/// Hands out ports of the loopback address, each once.
#[derive(Debug)]
pub(crate) struct Ports {
    random: fastrand::Rng,
    taken: HashSet<u16>,
}

impl Ports {
    /// None is taken yet.
    pub(crate) fn new() -> Self {
        Self {
            random: fastrand::Rng::new(),
            taken: HashSet::new(),
        }
    }

    /// A port that nobody listens on.
    pub(crate) fn take(&mut self) -> Result<SocketAddr> {
        (0..ATTEMPTS)
            .find_map(|_| {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.random.u16(RANGE)));
                let is_free =
                    !self.taken.contains(&address.port()) && TcpListener::bind(address).is_ok();
                is_free.then(|| {
                    self.taken.insert(address.port());
                    address
                })
            })
            .context("find a free port on 127.0.0.1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_free_and_handed_out_once() {
        let mut ports = Ports::new();
        let taken: HashSet<_> = (0..50).map(|_| ports.take().unwrap()).collect();
        assert_eq!(taken.len(), 50);
        for address in taken {
            TcpListener::bind(address).unwrap();
        }
    }
}
