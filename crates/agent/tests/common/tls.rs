//! TLS in front of a peer that speaks plainly.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The name in the certificate.
pub(crate) const NAME: &str = "receiver.test";

/// A running front; ends with this value.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    certificate: CertifiedKey<KeyPair>,
    refused: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl Front {
    /// Passes on to `peer` what comes under a certificate of its own.
    pub(crate) async fn of(peer: SocketAddr) -> Self {
        let certificate = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, refused) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let (stopped, refusals) = (stop.clone(), Arc::clone(&refused));
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, refusals) = (acceptor.clone(), Arc::clone(&refusals));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        refusals.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    let mut plain = TcpStream::connect(peer).await.unwrap();
                    copy_bidirectional(&mut stream, &mut plain).await.ok();
                });
            }
        }));
        Self {
            address,
            certificate,
            refused,
            _stop: stop.drop_guard(),
        }
    }

    /// Writes what one has to trust who comes here.
    pub(crate) fn write_authority(&self, path: &Path) {
        std::fs::write(path, self.certificate.cert.pem()).unwrap();
    }

    /// How many connections ended before they were secure.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}
