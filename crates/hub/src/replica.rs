//! One replica of the hub as the client sees it: an exchange with it, and how it is doing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use net::{ClientSettings as HttpSettings, Endpoint, HttpClient};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::error::Error;
use crate::metrics::ClientMetrics;
use crate::places::Place;
use crate::settings::ClientSettings;
use crate::wire::{BODY_BYTES_MAX, FromHub, decode, encode};

/// A replica.
pub(crate) struct Replica {
    http: HttpClient,
    token_file: Option<PathBuf>,
    metrics: ClientMetrics,
    /// There is something to tell.
    pub(crate) told: Notify,
    /// The life it named last; 0 before its first answer.
    life: AtomicU64,
    away: AtomicBool,
    /// An exchange has ended, however; of all replicas.
    exchanged: Arc<Notify>,
}

impl Replica {
    pub(crate) fn new(
        place: Place,
        settings: &ClientSettings,
        metrics: &ClientMetrics,
        exchanged: Arc<Notify>,
    ) -> Self {
        let limits = HttpSettings {
            connect_timeout: Duration::from_secs(2),
            // Each exchange has its own limit, below this one.
            request_timeout: Duration::from_mins(5),
            reply_bytes_max: BODY_BYTES_MAX,
            tls: place.tls,
            ..HttpSettings::default()
        };
        Self {
            http: HttpClient::new(place.endpoint, limits),
            token_file: settings.token_file.clone(),
            metrics: metrics.clone(),
            told: Notify::new(),
            life: AtomicU64::new(0),
            away: AtomicBool::new(false),
            exchanged,
        }
    }

    /// Where it is.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        self.http.endpoint()
    }

    /// Whether it did not answer when it was spoken to last.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// The life it named last; 0 before its first answer.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// Sends `message` and reads the answer, within `limit`. Says once when the replica goes away,
    /// and once when it is back.
    pub(crate) async fn exchange<M: FromHub>(
        &self,
        path: &str,
        message: &impl Serialize,
        limit: Duration,
    ) -> Result<M, Error> {
        let exchange = self.request(path, Bytes::from(encode(message)));
        let result: Result<M, Error> = timeout(limit, exchange).await.unwrap_or(Err(Error::Hangs));
        let peer = self.http.endpoint();
        match &result {
            Ok(message) => {
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!(%peer, "the hub is back");
                }
                let before = self.life.swap(message.life(), Ordering::Relaxed);
                if before != 0 && before != message.life() {
                    tracing::info!(%peer, "the hub has started anew, telling it again");
                    self.told.notify_one();
                }
            }
            Err(error) => {
                self.metrics
                    .failures
                    .with_label_values(&[error.label()])
                    .inc();
                if !self.away.swap(true, Ordering::Relaxed) {
                    let error = net::chain(error);
                    tracing::warn!(
                        %peer,
                        error,
                        "the hub cannot be used: lines that need it stay without a person until it is back"
                    );
                }
            }
        }
        self.exchanged.notify_one();
        result
    }

    async fn request<M: FromHub>(&self, path: &str, body: Bytes) -> Result<M, Error> {
        let reply = self
            .http
            .send(Method::POST, path, self.headers()?, body)
            .await
            .map_err(Error::Exchange)?;
        if !reply.status.is_success() {
            let said = reply.body.get(..200).unwrap_or(&reply.body);
            return Err(Error::Status {
                status: reply.status.as_u16(),
                text: String::from_utf8_lossy(said).into_owned(),
            });
        }
        decode(&reply.body)
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(path) = &self.token_file {
            let token = net::secret::bearer(path).map_err(Error::Token)?;
            headers.insert(header::AUTHORIZATION, token);
        }
        Ok(headers)
    }
}
