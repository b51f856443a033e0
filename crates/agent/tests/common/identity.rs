//! The identity hub.

use std::net::SocketAddr;
use std::sync::Arc;

use hub::{Credential, EngineSettings, HubServer, ServerMetrics, TokenFiles};
use net::ServerSettings;
use prometheus::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running hub that everybody may ask and tell; ends with this value.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    server: Arc<HubServer>,
    _stop: DropGuard,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let authority = TokenFiles {
            sidecar: Credential::Anyone,
            gateway: Credential::Anyone,
        };
        let metrics = ServerMetrics::new(&Registry::new()).unwrap();
        let settings = EngineSettings {
            user_at_begin: true,
            ..EngineSettings::default()
        };
        let server = HubServer::new(settings, authority, metrics, stop.clone());
        let listener = net::Server::bind(address, ServerSettings::default()).await;
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&server).serve(listener));
        Self {
            address,
            server,
            _stop: stop.drop_guard(),
        }
    }

    /// The gateway reports: `user` made `trace`, and the request runs, since long.
    pub(crate) fn gateway_says(&self, trace: &str, user: &str) {
        let line = serde_json::json!({
            "access_log_type": "DownstreamStart", "start_time": "2020-01-01T00:00:00.000Z",
            "method": "POST", "path": "/v2/projects", "x_b3_traceid": trace, "x_b3_spanid": &trace[16..],
            "user_jwt": user,
        });
        let summary = self.server.tell_access_log(line.to_string().as_bytes());
        assert_eq!(summary.unreadable + summary.without_claim, 0);
    }
}
