//! A bulk server that stores before it answers, and misbehaves on demand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use net::ServerSettings;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::store::Store;

const PAGE: &str = "<html><body>no healthy upstream</body></html>";

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Stored, and the answer is half of what it should be.
    Truncated,
    /// Not stored; a page of some proxy, with status 200.
    Page,
    /// Not stored; a page of some proxy, with status 502.
    BadGateway,
    /// Not stored; 429 for the whole request.
    Busy,
    /// Every second item gets 429, the others are stored.
    HalfBusy,
    /// Not answered while the connection lasts.
    Silent,
}

/// A running server; ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

#[derive(Default)]
struct State {
    tricks: VecDeque<Trick>,
    /// Requests longer than this get 413.
    bytes_max: Option<usize>,
    /// Documents that hold this are refused for good.
    refuse: Option<String>,
    refused: Vec<String>,
    indices: std::collections::BTreeSet<String>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let server = net::Server::bind(address, ServerSettings::default()).await;
        let server = server.unwrap();
        let address = server.local_addr().unwrap();
        let store = Store::default();
        let state = Arc::new(Mutex::new(State::default()));
        let (to, tricks) = (store.clone(), Arc::clone(&state));
        let handler = move |request| answer(request, to.clone(), Arc::clone(&tricks));
        tokio::spawn(server.serve(handler, stop.clone()));
        Self {
            address,
            store,
            state,
            _stop: stop.drop_guard(),
        }
    }

    /// The next requests are answered like this, those after them soundly.
    pub(crate) fn play(&self, tricks: &[Trick]) {
        lock(&self.state).tricks.extend(tricks);
    }

    /// Requests longer than this get 413 from now on.
    pub(crate) fn limit(&self, bytes_max: usize) {
        lock(&self.state).bytes_max = Some(bytes_max);
    }

    /// Documents that hold `text` are refused for good from now on.
    pub(crate) fn refuse(&self, text: &str) {
        lock(&self.state).refuse = Some(text.to_owned());
    }

    /// The ids that were refused for good.
    pub(crate) fn refused(&self) -> Vec<String> {
        lock(&self.state).refused.clone()
    }

    /// Everything from now on is answered soundly.
    pub(crate) fn forget_tricks(&self) {
        lock(&self.state).tricks.clear();
    }

    /// How many tricks are left.
    pub(crate) fn tricks_left(&self) -> usize {
        lock(&self.state).tricks.len()
    }

    /// The indices that documents went to.
    pub(crate) fn indices(&self) -> Vec<String> {
        lock(&self.state).indices.iter().cloned().collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    request: Request<Incoming>,
    store: Store,
    state: Arc<Mutex<State>>,
) -> Response<Full<Bytes>> {
    assert_eq!(request.uri().path(), "/_bulk");
    let body = net::body::read_capped(request.into_body(), 64 << 20).await;
    let Ok(body) = body else {
        return respond(StatusCode::BAD_REQUEST, "the body broke off");
    };
    let (trick, bytes_max) = {
        let mut state = lock(&state);
        (state.tricks.pop_front(), state.bytes_max)
    };
    if bytes_max.is_some_and(|max| body.len() > max) {
        return respond(StatusCode::PAYLOAD_TOO_LARGE, "");
    }
    match trick {
        Some(Trick::Page) => respond(StatusCode::OK, PAGE),
        Some(Trick::BadGateway) => respond(StatusCode::BAD_GATEWAY, PAGE),
        Some(Trick::Busy) => respond(StatusCode::TOO_MANY_REQUESTS, r#"{"error":"busy"}"#),
        Some(Trick::Silent) => std::future::pending().await,
        Some(Trick::Truncated) => {
            let whole = store_items(&body, &store, &state, false);
            respond(StatusCode::OK, &whole[..whole.len() / 2])
        }
        Some(Trick::HalfBusy) => respond(StatusCode::OK, &store_items(&body, &store, &state, true)),
        None => respond(StatusCode::OK, &store_items(&body, &store, &state, false)),
    }
}

/// Stores what is to be stored and makes the answer.
fn store_items(body: &[u8], store: &Store, state: &Mutex<State>, half_busy: bool) -> String {
    store.keep(body);
    let text = std::str::from_utf8(body).expect("a bulk body is UTF-8");
    let mut lines = text.lines();
    let mut items = Vec::new();
    while let (Some(action), Some(source)) = (lines.next(), lines.next()) {
        let action: Value = serde_json::from_str(action).expect("an action");
        let (index, id) = (&action["create"]["_index"], &action["create"]["_id"]);
        let id = id.as_str().expect("every document has an id");
        let mut state = lock(state);
        state.indices.insert(index.as_str().unwrap().to_owned());
        let refused = state
            .refuse
            .as_ref()
            .is_some_and(|text| source.contains(text));
        let item = if half_busy && items.len() % 2 == 1 {
            json!({"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue"}})
        } else if refused {
            state.refused.push(id.to_owned());
            json!({"status": 400, "error": {"type": "document_parsing_exception", "reason": "no"}})
        } else if store.add(id, serde_json::from_str(source).expect("a document")) {
            json!({"status": 201})
        } else {
            json!({"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "known"}})
        };
        items.push(json!({"create": item}));
    }
    json!({"errors": true, "items": items}).to_string()
}

fn respond(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}
