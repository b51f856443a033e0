//! The certificate in files that others replace.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use net::Identity;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at; kubelets replace them within some minutes anyway.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// No such file is longer, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Two files, and where what is in them is shown.
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    identity: Identity,
    stamps: Stamps,
}

/// What tells one state of both files from another.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Shows what is in the files.
    ///
    /// # Errors
    /// If that is no certificate with its key.
    pub(super) fn read(chain: &Path, key: &Path, identity: Identity) -> Result<Self> {
        let mut certificate = Self {
            chain: chain.to_owned(),
            key: key.to_owned(),
            identity,
            stamps: Stamps::default(),
        };
        certificate.renew()?;
        Ok(certificate)
    }

    /// Shows what is in the files from time to time, until `stop`.
    pub(super) async fn follow(mut self, stop: CancellationToken) {
        let follow = async {
            loop {
                sleep(LOOK_EVERY).await;
                if self.stamps() == self.stamps {
                    continue;
                }
                match self.renew() {
                    Ok(()) => tracing::info!("another certificate is shown"),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "the certificate before it stays in use");
                    }
                }
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    fn renew(&mut self) -> Result<()> {
        // before the files are read: what comes in between is seen the next time
        self.stamps = self.stamps();
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        self.identity
            .set(&chain, &key)
            .with_context(|| format!("using {} and its key", self.chain.display()))
    }

    fn stamps(&self) -> Stamps {
        [&self.chain, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let write = || {
            let made = rcgen::generate_simple_self_signed(["lab.test".to_owned()]).unwrap();
            std::fs::write(&chain, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        };
        let identity = Identity::default();
        assert!(Certificate::read(&chain, &key, identity.clone()).is_err());
        write();
        let mut shown = Certificate::read(&chain, &key, identity.clone()).unwrap();
        assert!(identity.is_set());
        std::fs::write(&key, "broken").unwrap();
        let error = format!("{:#}", shown.renew().unwrap_err());
        assert!(error.contains("tls.crt and its key"), "{error}");
        assert!(identity.is_set());
        write();
        shown.renew().unwrap();
    }
}
