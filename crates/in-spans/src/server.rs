//! The HTTP side: connections, time limits, answers.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::intake::{Intake, Store, now};
use crate::journal::{Journal, SpanSink};
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Most that is read from a connection at once, in bytes.
const READ_BYTES: usize = 64 << 10;
/// How long open bodies may take to end after `stop`.
const DRAIN: Duration = Duration::from_secs(2);

/// Receives spans on `listener` until `stop` is cancelled: each piece of a body goes to `journal`,
/// then to `sink`, then the answer goes out. Returns when open requests have been answered (or 2 s
/// later).
///
/// `sink` is locked for one piece at a time and never across an await.
pub async fn serve<J, S>(
    listener: TcpListener,
    settings: Settings,
    journal: J,
    sink: Arc<Mutex<S>>,
    metrics: Metrics,
    stop: CancellationToken,
) where
    J: Journal + 'static,
    S: SpanSink + 'static,
{
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let server = Arc::new(Server {
        settings,
        store: Arc::new(Mutex::new(Store::new(journal, sink, metrics.clone()))),
        metrics,
    });
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (server, stop) = (Arc::clone(&server), stop.clone());
                connections.spawn(async move {
                    server.connection(stream, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a span sender could not be accepted");
                // Out of descriptors, mostly: trying again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("span senders were cut off at shutdown");
    }
}

struct Server<J, S> {
    settings: Settings,
    store: Arc<Mutex<Store<J, S>>>,
    metrics: Metrics,
}

impl<J: Journal + 'static, S: SpanSink + 'static> Server<J, S> {
    async fn connection(self: Arc<Self>, stream: TcpStream, stop: CancellationToken) {
        self.metrics.connections.inc();
        let service = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.idle_max)
            .max_buf_size(READ_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the connection of a span sender ended early");
        }
        self.metrics.connections.dec();
    }

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
        let from = now();
        let result = match is_gzip(request.headers()) {
            Ok(gzip) => self.take(request.into_body(), gzip, from).await,
            Err(error) => Err(error),
        };
        let Err(error) = result else {
            self.metrics.accepted.inc();
            return answer(StatusCode::ACCEPTED, Bytes::new());
        };
        let (status, outcome) = match error {
            Error::Cut(_) => (StatusCode::BAD_REQUEST, &self.metrics.cut),
            Error::Slow => (StatusCode::REQUEST_TIMEOUT, &self.metrics.timed_out),
            _ => (StatusCode::BAD_REQUEST, &self.metrics.rejected),
        };
        outcome.inc();
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a body of spans was not taken whole"
        );
        text(status, &error.to_string())
    }

    async fn take(
        &self,
        mut body: Incoming,
        gzip: bool,
        from: model::time::UnixNanos,
    ) -> Result<(), Error> {
        let limit = self.settings.body_bytes_max;
        let mut intake = Intake::new(Arc::clone(&self.store), gzip, limit);
        let result = self.pour(&mut body, &mut intake).await;
        if let Err(error) = &result {
            intake.abandon(from);
            if !matches!(error, Error::Cut(_) | Error::Slow) {
                self.discard(body).await;
            }
        }
        result
    }

    async fn pour(&self, body: &mut Incoming, intake: &mut Intake<J, S>) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.body_time_max;
        loop {
            let pause = deadline.min(Instant::now() + self.settings.pause_max);
            let frame = timeout_at(pause, body.frame())
                .await
                .map_err(|_| Error::Slow)?;
            let Some(frame) = frame else {
                return intake.finish();
            };
            if let Some(bytes) = frame.map_err(Error::Cut)?.data_ref() {
                self.metrics.bytes.inc_by(bytes.len() as u64);
                intake.push(bytes)?;
            }
        }
    }

    /// Reads the rest of a refused body, so that the sender sees the answer and not a reset.
    async fn discard(&self, mut body: Incoming) {
        let mut left = self.settings.body_bytes_max;
        let rest = async {
            while let Some(Ok(frame)) = body.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                left = left.saturating_sub(bytes);
                if left == 0 {
                    break;
                }
            }
        };
        if timeout(self.settings.pause_max, rest).await.is_err() {
            tracing::debug!("the rest of a refused body did not arrive in time");
        }
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Error> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes())
    {
        None | Some(b"" | b"identity") => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"gzip") || name == b"x-gzip" => Ok(true),
        Some(_) => Err(Error::Encoding),
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
