//! The HTTP side: time limits and answers.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use net::body::Pieces;
use net::server::{Server, ServerSettings};
use telemetry::cpu::{Meter, Work};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::intake::{Intake, Store, now};
use crate::journal::{Journal, SpanSink};
use crate::metrics::Metrics;
use crate::settings::Settings;

/// A bound receiver that is not served yet, so that whoever starts it knows that senders can come.
#[derive(Debug)]
pub struct Receiver {
    server: Server,
    settings: Settings,
    metrics: Metrics,
}

impl Receiver {
    /// Binds the address of `settings`; port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(settings: Settings, metrics: Metrics) -> Result<Self, net::Error> {
        let limits = ServerSettings {
            connections_max: settings.connections_max,
            header_timeout: settings.idle_max,
            drain_timeout: settings.drain_max,
        };
        Ok(Self {
            server: Server::bind(settings.listen, limits).await?,
            settings,
            metrics,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> Result<std::net::SocketAddr, net::Error> {
        self.server.local_addr()
    }

    /// Receives spans until `stop` is cancelled: each piece of a body goes to `journal`, then to
    /// `sink`, then the answer goes out. Returns when open requests have been answered, or the drain
    /// limit is over.
    ///
    /// `sink` is locked for one piece at a time and never across an await. What it costs is counted
    /// by `meter` as work for spans.
    pub async fn serve<J, S>(
        self,
        journal: J,
        sink: Arc<Mutex<S>>,
        meter: Meter,
        stop: CancellationToken,
    ) where
        J: Journal + 'static,
        S: SpanSink + 'static,
    {
        let store = Store::new(journal, sink, self.metrics.clone());
        self.serve_store(store, meter, stop).await;
    }

    async fn serve_store(self, store: Store, meter: Meter, stop: CancellationToken) {
        let handler = Arc::new(Handler {
            settings: self.settings,
            store: Mutex::new(store),
            metrics: self.metrics,
        });
        let answer = move |request| {
            let handler = Arc::clone(&handler);
            meter.measure(Work::Spans, async move { handler.answer(request).await })
        };
        self.server.serve(answer, stop).await;
    }
}

struct Handler {
    settings: Settings,
    store: Mutex<Store>,
    metrics: Metrics,
}

impl Handler {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/v2/spans") => self.spans(request).await,
            (&Method::GET, "/health") => text(StatusCode::OK, "up"),
            (_, "/api/v2/spans" | "/health") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "post spans, get health")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "spans are taken at POST /api/v2/spans",
            ),
        }
    }

    async fn spans(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Err(error) = self.take(body, &head.headers).await else {
            self.metrics.accepted.inc();
            return answer(StatusCode::ACCEPTED, Bytes::new());
        };
        let (status, outcome) = match error {
            Error::Body(net::Error::Body(_)) => (StatusCode::BAD_REQUEST, &self.metrics.cut),
            Error::Slow => (StatusCode::REQUEST_TIMEOUT, &self.metrics.timed_out),
            _ => (StatusCode::BAD_REQUEST, &self.metrics.rejected),
        };
        outcome.inc();
        let error = net::chain(&error);
        tracing::warn!(error, "a body of spans was not taken whole");
        text(status, &error)
    }

    async fn take(&self, mut body: Incoming, headers: &HeaderMap) -> Result<(), Error> {
        let from = now();
        let mut intake = Intake::new(&self.store);
        let result = self.pour(&mut body, headers, &mut intake).await;
        if let Err(error) = &result {
            intake.abandon(from);
            if !matches!(error, Error::Body(net::Error::Body(_)) | Error::Slow) {
                self.discard(body).await;
            }
        }
        result
    }

    async fn pour(
        &self,
        body: &mut Incoming,
        headers: &HeaderMap,
        intake: &mut Intake<'_>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.body_time_max;
        let limit = self.settings.body_bytes_max;
        let mut pieces = Pieces::new(body, headers, limit).map_err(Error::Body)?;
        loop {
            let pause = deadline.min(Instant::now() + self.settings.pause_max);
            let bytes = timeout_at(pause, pieces.next())
                .await
                .map_err(|_| Error::Slow)?
                .map_err(Error::Body)?;
            let Some(bytes) = bytes else {
                return intake.finish();
            };
            self.metrics.bytes.inc_by(bytes.len() as u64);
            intake.push(&bytes)?;
        }
    }

    /// Reads the rest of a refused body, so that the sender sees the answer and not a reset.
    async fn discard(&self, body: Incoming) {
        let limit = self.settings.body_bytes_max;
        let Ok(mut rest) = Pieces::new(body, &HeaderMap::new(), limit) else {
            return;
        };
        let read = async { while let Ok(Some(_)) = rest.next().await {} };
        if timeout(self.settings.pause_max, read).await.is_err() {
            tracing::debug!("the rest of a refused body did not arrive in time");
        }
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = answer(status, Bytes::from(format!("{text}\n")));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
