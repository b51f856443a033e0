//! The client's side of TLS: whom to trust, who we are, read again when the files change.
//!
//! Certificates in a pod are files that are replaced while we run. [`TlsClient::config`] looks at
//! the files' times and lengths whenever a connection is made and builds a new configuration only
//! if one of them changed; nothing watches and nothing ticks. If a replaced file cannot be read, the
//! configuration before it stays in use and the failure is logged.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use crate::Error;

/// No file with certificates is longer than this, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Whom a client trusts and who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with our own certificate chain, for servers that ask who we are.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Name to expect in the server's certificate, where it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// A client configuration that follows its files. Cheap to clone; clones share the configuration.
#[derive(Clone, Debug)]
pub struct TlsClient {
    settings: Arc<TlsSettings>,
    current: Arc<Mutex<Option<Loaded>>>,
}

#[derive(Debug)]
struct Loaded {
    stamps: Vec<Stamp>,
    config: Arc<ClientConfig>,
}

/// What tells one state of a file from another without reading it.
type Stamp = Option<(SystemTime, u64)>;

impl TlsClient {
    /// Reads nothing yet: roots cost memory, and a destination may never be used.
    pub fn new(settings: TlsSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            current: Arc::default(),
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// The configuration for the next connection; the same `Arc` as before unless a file changed.
    ///
    /// # Errors
    /// If files cannot be used and there is no earlier configuration.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.stamps();
        if let Some(loaded) = current.as_ref().filter(|loaded| loaded.stamps == stamps) {
            return Ok(Arc::clone(&loaded.config));
        }
        match (load(&self.settings), current.as_mut()) {
            (Ok(config), _) => {
                let config = Arc::new(config);
                *current = Some(Loaded {
                    stamps,
                    config: Arc::clone(&config),
                });
                Ok(config)
            }
            (Err(error), Some(loaded)) => {
                tracing::warn!(error = %error, "tls files changed and cannot be used, keeping what was read before");
                loaded.stamps = stamps;
                Ok(Arc::clone(&loaded.config))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        [
            &self.settings.ca_file,
            &self.settings.cert_file,
            &self.settings.key_file,
        ]
        .into_iter()
        .map(|path| {
            let metadata = std::fs::metadata(path.as_ref()?).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
    }
}

fn load(settings: &TlsSettings) -> Result<ClientConfig, Error> {
    let roots = match &settings.ca_file {
        Some(path) => roots_from(path)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::TlsSetup)?
        .with_root_certificates(roots);
    match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(Error::TlsSetup),
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(path), None) => Err(half(path, "key_file")),
        (None, Some(path)) => Err(half(path, "cert_file")),
    }
}

fn system_roots() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Error::NoRoots);
    }
    Ok(roots)
}

fn roots_from(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| bad(path, &error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(path, &error))?;
    if certificates.is_empty() {
        return Err(bad(path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| bad(path, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| bad(path, &error))?;
    Ok(bytes)
}

fn half(path: &Path, missing: &'static str) -> Error {
    Error::TlsHalf {
        path: path.to_owned(),
        missing,
    }
}

fn bad(path: &Path, problem: &impl ToString) -> Error {
    Error::TlsFile {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}
