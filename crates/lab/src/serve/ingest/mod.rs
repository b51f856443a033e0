//! Where sidecars send to from other machines: documents and spans in, over TLS, by token; nothing out.
//!
//! ```text
//! sidecar ── TLS, Authorization: Bearer ──▶ door ── may it? ──▶ hub
//!                                            └── yes ──▶ _bulk, /v1/traces
//! ```
//! The page, the API and the forward receiver are not served here: they know no tokens, and stay on an
//! address that only the machine, or the pod, itself reaches.

mod certificate;
mod door;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hub::RemoteAuthority;
use net::transport::Tls;
use net::{Endpoint, Identity, Server, ServerSettings, TlsSettings};
use tokio_util::sync::CancellationToken;

use self::certificate::Certificate;
use self::door::Door;
use super::http::App;

/// What `emco-lab serve` is told about it.
#[derive(Debug, clap::Args)]
pub(super) struct IngestArgs {
    /// Where sidecars on other machines send to, over TLS and by token: the bulk API and traces only;
    /// port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", requires_all = ["tls_cert", "tls_key", "token_hub"])]
    listen_ingest: Option<SocketAddr>,
    /// PEM file with the certificate chain shown there; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "listen_ingest")]
    tls_cert: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, value_name = "FILE", requires = "listen_ingest")]
    tls_key: Option<PathBuf>,
    /// The hub that is asked whether a token is good.
    #[arg(long, value_name = "URL", requires = "listen_ingest")]
    token_hub: Option<Endpoint>,
    /// PEM file with the authorities of that hub's certificate; the system's unless named.
    #[arg(long, value_name = "FILE", requires = "token_hub")]
    token_hub_ca: Option<PathBuf>,
}

/// A bound listener that is not served yet.
pub(super) struct Ingest {
    server: Server<Tls>,
    certificate: Certificate,
    authority: RemoteAuthority,
}

impl Ingest {
    /// Binds what `args` say; nothing if they name no address.
    pub(super) async fn bind(args: &IngestArgs, settings: ServerSettings) -> Result<Option<Self>> {
        let (Some(address), Some(cert), Some(key), Some(hub)) = (
            args.listen_ingest,
            &args.tls_cert,
            &args.tls_key,
            &args.token_hub,
        ) else {
            return Ok(None);
        };
        let identity = Identity::default();
        let certificate = Certificate::read(cert, key, identity.clone())?;
        let server = Server::bind(address, settings).await?;
        let tls = TlsSettings {
            ca_file: args.token_hub_ca.clone(),
            ..TlsSettings::default()
        };
        Ok(Some(Self {
            server: server.with_tls(&identity)?,
            certificate,
            authority: RemoteAuthority::new(hub.clone(), tls),
        }))
    }

    /// Where it listens.
    pub(super) fn local_addr(&self) -> Result<SocketAddr> {
        self.server.local_addr().context("the ingest address")
    }

    /// Serves it until `stop`.
    pub(super) async fn serve(self, app: Arc<App>, stop: CancellationToken) {
        let door = Arc::new(Door::new(app, self.authority));
        let handler = move |request| Arc::clone(&door).handle(request);
        tokio::join!(
            self.server.serve(handler, stop.clone()),
            self.certificate.follow(stop)
        );
    }
}
