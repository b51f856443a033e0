//! The server's side of TLS: who we are, as it is now. Connections that exist keep what they began
//! with; the next one meets what was set last.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::Error;

/// A certificate with its key that can be replaced at any time. Clones are handles to the same.
///
/// A client that comes before the first one was set is turned away.
#[derive(Clone, Debug, Default)]
pub struct Identity(Arc<Current>);

#[derive(Debug, Default)]
struct Current(RwLock<Option<Arc<CertifiedKey>>>);

impl Identity {
    /// Uses a chain of certificates and its key from now on, both as PEM.
    ///
    /// # Errors
    /// [`Error::Identity`] if they are not what they should be, or do not belong together; what was
    /// there before stays.
    pub fn set(&self, chain: &[u8], key: &[u8]) -> Result<(), Error> {
        let bad = |problem: &dyn ToString| Error::Identity {
            problem: problem.to_string(),
        };
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(&error))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(&error))?;
        let key = any_supported_type(&key).map_err(|error| bad(&error))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| bad(&error))?;
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// How a server uses it.
    ///
    /// # Errors
    /// [`Error::TlsSetup`] if TLS cannot be set up at all.
    pub fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::TlsSetup)?;
        let resolver = Arc::clone(&self.0);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Current {
    fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}
