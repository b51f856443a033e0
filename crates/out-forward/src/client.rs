//! Opens connections to a receiver and reads the secrets that go with them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use net::{Stream, TlsClient};

use crate::engine::{Credentials, Engine, Limits};
use crate::{Error, ForwardSettings};

/// No secret is longer than this, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// Opens connections as the settings say.
#[derive(Debug)]
pub(crate) struct Client {
    settings: ForwardSettings,
    tls: Option<TlsClient>,
}

impl Client {
    pub(crate) fn new(settings: ForwardSettings) -> Self {
        Self {
            tls: settings.tls.clone().map(TlsClient::new),
            settings,
        }
    }

    pub(crate) const fn settings(&self) -> &ForwardSettings {
        &self.settings
    }

    /// Opens a connection; secrets are read anew, since they are replaced while we run.
    pub(crate) async fn connect(&self) -> Result<(Stream, Engine), Error> {
        let credentials = self.credentials()?;
        let limit = self.settings.connect_timeout();
        let stream =
            net::connect::stream(&self.settings.endpoint, self.tls.as_ref(), limit).await?;
        let limits = Limits {
            handshake: limit,
            ack: self.settings.ack_timeout(),
            in_flight_max: self.settings.in_flight_max,
        };
        Ok((stream, Engine::new(credentials, limits, Instant::now())))
    }

    fn credentials(&self) -> Result<Option<Credentials>, Error> {
        let settings = &self.settings;
        let Some(path) = &settings.shared_key_file else {
            return Ok(None);
        };
        let login = match (&settings.username, &settings.password_file) {
            (Some(username), Some(path)) => Some((username.clone(), secret(path)?)),
            _ => None,
        };
        Ok(Some(Credentials {
            hostname: settings.client_hostname.clone(),
            shared_key: secret(path)?,
            login,
            salt: format!("{:032x}", fastrand::u128(..)),
        }))
    }
}

/// The content of a secret file without the line break that editors leave at its end.
fn secret(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| Error::Secret {
            path: path.to_owned(),
            source,
        })?;
    while bytes
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        bytes.pop();
    }
    Ok(bytes)
}
