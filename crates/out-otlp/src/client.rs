//! The HTTP client that `opentelemetry-otlp` is given: it keeps the encoded body and sends it until
//! there is an answer that is final.
//!
//! The library's own retry sleeps on the runtime's thread and tells only text; so it is off, and it
//! sees a success whatever became of the request. What really became of it lies in
//! [`Courier::take_outcome`]. Address and headers are ours: those that the library takes from the
//! environment are not used.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use net::{Backoff, ClientSettings};
use opentelemetry_http::HttpError;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::settings::{Compression, OtlpSettings};
use crate::wire::{self, Judgement};

/// Sends bodies to one receiver. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Courier {
    http: net::HttpClient,
    compression: Compression,
    token_file: Option<PathBuf>,
    metrics: Metrics,
    backoff: Backoff,
    outcome: Arc<Mutex<Option<Judgement>>>,
}

impl Courier {
    pub(crate) fn new(settings: &OtlpSettings, metrics: Metrics) -> Self {
        let http = net::HttpClient::new(
            settings.endpoint.clone(),
            ClientSettings {
                connect_timeout: settings.connect_timeout(),
                request_timeout: settings.request_timeout(),
                reply_bytes_max: 1 << 20,
                idle_connections_max: 1,
                tls: settings.tls.clone(),
            },
        );
        Self {
            http,
            compression: settings.compression,
            token_file: settings.token_file.clone(),
            metrics,
            backoff: Backoff::default(),
            outcome: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// What became of the last request, once.
    pub(crate) fn take_outcome(&self) -> Option<Judgement> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }

    async fn deliver(&self, body: Bytes) -> Judgement {
        let mut backoff = self.backoff.clone();
        loop {
            let error = match self.attempt(&body).await {
                Ok(judgement) => return judgement,
                Err(error) => error,
            };
            self.report(&error, backoff.failures());
            let wait = backoff.next(fastrand::f64());
            let wait = error.retry_after().unwrap_or_default().max(wait);
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, body: &Bytes) -> Result<Judgement, Error> {
        let mut headers = HeaderMap::with_capacity(4);
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, protobuf);
        if let Some(path) = &self.token_file {
            headers.insert(header::AUTHORIZATION, net::secret::bearer(path)?);
        }
        let body = match self.compression {
            Compression::None => body.clone(),
            Compression::Gzip => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                compress(body).map_err(Error::Compress)?
            }
        };
        self.metrics.requests.inc();
        self.metrics.sent_bytes.inc_by(body.len() as u64);
        let sent = Instant::now();
        let reply = self.http.send(Method::POST, wire::TRACES, headers, body);
        let reply = reply.await;
        let took = sent.elapsed().as_secs_f64();
        self.metrics.request_seconds.observe(took);
        wire::judge(&reply?)
    }

    fn report(&self, error: &Error, failures_before: u32) {
        self.metrics
            .failures
            .with_label_values(&[error.label()])
            .inc();
        tracing::warn!(
            endpoint = %self.http.endpoint(),
            reason = error.label(),
            failures_in_a_row = failures_before + 1,
            error = net::chain(error),
            "spans were not taken, they will be sent again"
        );
    }
}

#[async_trait]
impl opentelemetry_http::HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let judgement = self.deliver(request.into_body()).await;
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        *outcome = Some(judgement);
        Ok(Response::new(Bytes::new()))
    }
}

fn compress(body: &[u8]) -> io::Result<Bytes> {
    let buffer = Vec::with_capacity(body.len() / 4);
    let mut encoder = GzEncoder::new(buffer, flate2::Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}
