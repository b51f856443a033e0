//! Where a cluster is.

use std::net::{Ipv4Addr, SocketAddr};

use crate::peers::free_ports;

/// What differs between a cluster without nodes and one with.
#[derive(Debug)]
pub(in crate::peers) struct Place {
    /// Where the API is served.
    pub(in crate::peers) address: SocketAddr,
    /// The range of addresses for Services.
    pub(in crate::peers) services: String,
    /// The API's own among them.
    pub(in crate::peers) own_service: Ipv4Addr,
    /// Who has which token beside the one who may do everything, in lines.
    pub(in crate::peers) users: String,
    /// More options of the API server.
    pub(in crate::peers) options: Vec<String>,
}

impl Place {
    /// On the loopback interface, with a range for Services that belongs to who listens on the port.
    pub(super) fn without_nodes() -> Self {
        let [address] = free_ports();
        let [high, low] = address.port().to_be_bytes();
        Self {
            address,
            services: format!("{}/24", Ipv4Addr::new(127, high, low, 0)),
            own_service: Ipv4Addr::new(127, high, low, 1),
            users: String::new(),
            // An address on the loopback interface is no endpoint: it is advertised to nobody.
            options: vec![
                "--advertise-address=10.96.255.1".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
            ],
        }
    }
}
