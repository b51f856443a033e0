//! A receiver of traces that remembers what it took, and misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use net::ServerSettings;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Not taken: 503 and a wish to wait so many seconds.
    Busy(u32),
    /// Not taken, and this is the status.
    Broken(u16),
    /// Not taken: nobody who may send is known here.
    Unauthorised,
    /// Not taken: 413.
    TooLarge,
    /// All but so many are taken, from the front on.
    Partial(usize),
    /// Not taken, and not answered while the connection lasts.
    Silent,
    /// Taken, and not answered while the connection lasts.
    TakenAndSilent,
}

/// A span that was taken, with its service.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) service: String,
    pub(crate) span: Span,
}

impl Taken {
    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// An attribute as text.
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }
}

/// A running receiver; ends with this value.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

#[derive(Default)]
struct State {
    tricks: VecDeque<Trick>,
    requests: usize,
    /// Bytes of the largest request.
    largest: usize,
    spans: Vec<Taken>,
    /// Spans that a partial success named.
    rejected: usize,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let server = net::Server::bind(address, ServerSettings::default()).await;
        let server = server.unwrap();
        let address = server.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let handler = move |request| answer(request, Arc::clone(&shared));
        tokio::spawn(server.serve(handler, stop.clone()));
        Self {
            address,
            state,
            _stop: stop.drop_guard(),
        }
    }

    /// The next requests are answered like this, those after them soundly.
    pub(crate) fn play(&self, tricks: &[Trick]) {
        self.lock().tricks.extend(tricks);
    }

    /// How many tricks are left.
    pub(crate) fn tricks_left(&self) -> usize {
        self.lock().tricks.len()
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.lock().requests
    }

    /// How many bytes the largest request had.
    pub(crate) fn largest(&self) -> usize {
        self.lock().largest
    }

    /// How many spans a partial success named.
    pub(crate) fn rejected(&self) -> usize {
        self.lock().rejected
    }

    /// Everything taken so far, repeated spans included.
    pub(crate) fn spans(&self) -> Vec<Taken> {
        self.lock().spans.clone()
    }

    /// How often each span was taken, by its id.
    pub(crate) fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for taken in &self.lock().spans {
            *times.entry(taken.id()).or_default() += 1;
        }
        times
    }

    /// The span of that id.
    pub(crate) fn span(&self, id: &str) -> Option<Taken> {
        let state = self.lock();
        state.spans.iter().find(|taken| taken.id() == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Response<Full<Bytes>> {
    assert_eq!(request.uri().path(), "/v1/traces");
    let body = net::body::read_capped(request.into_body(), 64 << 20).await;
    let Ok(body) = body else {
        return respond(StatusCode::BAD_REQUEST, Vec::new());
    };
    let trick = {
        let mut state = lock(&state);
        state.requests += 1;
        state.largest = state.largest.max(body.len());
        state.tricks.pop_front()
    };
    match trick {
        Some(Trick::Busy(seconds)) => {
            let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, b"busy".to_vec());
            let seconds = seconds.to_string().parse().unwrap();
            response.headers_mut().insert("retry-after", seconds);
            response
        }
        Some(Trick::Broken(status)) => {
            let status = StatusCode::from_u16(status).unwrap();
            respond(status, b"broken".to_vec())
        }
        Some(Trick::Unauthorised) => respond(StatusCode::UNAUTHORIZED, Vec::new()),
        Some(Trick::TooLarge) => respond(StatusCode::PAYLOAD_TOO_LARGE, Vec::new()),
        Some(Trick::Silent) => std::future::pending().await,
        Some(Trick::TakenAndSilent) => {
            take(&body, &state, 0);
            std::future::pending().await
        }
        Some(Trick::Partial(rejected)) => {
            let rejected = take(&body, &state, rejected);
            let partial = ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: i64::try_from(rejected).unwrap(),
                    error_message: "too many".to_owned(),
                }),
            };
            respond(StatusCode::OK, partial.encode_to_vec())
        }
        None => {
            take(&body, &state, 0);
            let whole = ExportTraceServiceResponse::default();
            respond(StatusCode::OK, whole.encode_to_vec())
        }
    }
}

/// Takes all spans but the last ones; answers how many were not taken.
fn take(body: &Bytes, state: &Mutex<State>, rejected: usize) -> usize {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("a request");
    let mut all = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let service = attribute(&attributes, "service.name").expect("a service");
        for scope in resource.scope_spans {
            all.extend(scope.spans.into_iter().map(|span| Taken {
                service: service.clone(),
                span,
            }));
        }
    }
    let taken = all.len().saturating_sub(rejected);
    let rejected = all.len() - taken;
    let mut state = lock(state);
    state.rejected += rejected;
    state.spans.extend(all.into_iter().take(taken));
    rejected
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(digits).flatten().collect()
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
