//! One bulk request: compressed and signed as the settings say, and what became of it.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, header};
use net::{ClientSettings, HttpClient, secret};
use pipeline::output::{Answer, Batch, ItemOutcome};

use crate::wire::{self, Verdict};
use crate::{Compression, ElasticSettings, Error};

/// Sends bulk requests. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: HttpClient,
    settings: std::sync::Arc<ElasticSettings>,
}

impl Client {
    pub(crate) fn new(settings: ElasticSettings) -> Self {
        let http = HttpClient::new(
            settings.endpoint.clone(),
            ClientSettings {
                connect_timeout: settings.connect_timeout(),
                request_timeout: settings.request_timeout(),
                idle_connections_max: settings.in_flight_max,
                tls: settings.tls.clone(),
                ..ClientSettings::default()
            },
        );
        Self {
            http,
            settings: std::sync::Arc::new(settings),
        }
    }

    pub(crate) fn settings(&self) -> &ElasticSettings {
        &self.settings
    }

    /// Sends `batch` and answers what became of it.
    ///
    /// # Errors
    /// If nothing is known to be stored.
    pub(crate) async fn send(&self, batch: &Batch) -> Result<Answer, Error> {
        let items = batch.ends.len();
        if batch.bytes.len() > self.settings.bulk_bytes_max {
            return Ok(too_large(items, "exceeds bulk_bytes_max"));
        }
        let (headers, body) = self.request(batch)?;
        let sent = self
            .http
            .send(Method::POST, wire::BULK, headers, body)
            .await;
        let reply = match sent {
            // An answer that is too long to be read says too much about too many items.
            Err(net::Error::BodyTooLong { .. }) if items > 1 => return Ok(Answer::TooLarge),
            sent => sent?,
        };
        let url = self.settings.endpoint.url("/_bulk");
        Ok(match wire::judge(&reply, items, &url)? {
            Verdict::Items(outcomes) => answer(outcomes),
            Verdict::TooLarge => too_large(items, "the server answered 413"),
        })
    }

    fn request(&self, batch: &Batch) -> Result<(HeaderMap, Bytes), Error> {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        );
        if let Some(authorization) = self.authorization()? {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        if self.settings.compression == Compression::None {
            return Ok((headers, batch.bytes.clone()));
        }
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let body = compress(&batch.bytes).map_err(Error::Compress)?;
        Ok((headers, body))
    }

    /// Secrets are read for every request: they are replaced while we run.
    fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let settings = &self.settings;
        if let Some(path) = &settings.token_file {
            return Ok(Some(secret::bearer(path)?));
        }
        if let Some(path) = &settings.api_key_file {
            let key = secret::read(path)?;
            return Ok(Some(secret::header(path, &format!("ApiKey {key}"))?));
        }
        let (Some(username), Some(path)) = (&settings.username, &settings.password_file) else {
            return Ok(None);
        };
        let login = STANDARD.encode(format!("{username}:{}", secret::read(path)?));
        Ok(Some(secret::header(path, &format!("Basic {login}"))?))
    }
}

fn answer(outcomes: Vec<ItemOutcome>) -> Answer {
    if outcomes
        .iter()
        .all(|outcome| *outcome == ItemOutcome::Delivered)
    {
        Answer::Delivered
    } else {
        Answer::Items(outcomes)
    }
}

fn too_large(items: usize, reason: &str) -> Answer {
    if items > 1 {
        Answer::TooLarge
    } else {
        Answer::Items(vec![ItemOutcome::Rejected {
            label: "too_large",
            reason: reason.to_owned(),
        }])
    }
}

fn compress(items: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(items.len() / 4),
        flate2::Compression::fast(),
    );
    encoder.write_all(items)?;
    Ok(encoder.finish()?.into())
}
