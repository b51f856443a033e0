//! Which address means what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hub::HubServer;
use hyper::body::Incoming;

use super::answer::{Answer, Content, answer};
use super::params::{Params, decode};
use super::{api, receipts, spans};
use crate::serve::metrics::Metrics;
use crate::serve::scrape::Scrapes;
use crate::serve::store::Store;
use crate::serve::{elastic, page, traces};

/// Longest body of a request whose body is not used.
const IGNORED_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the handlers share.
pub(crate) struct App {
    /// The documents.
    pub(crate) store: Store,
    /// What pods tell each other.
    pub(crate) hub: Arc<HubServer>,
    /// Own counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Where all counters are registered.
    pub(crate) registry: prometheus::Registry,
    /// How the last scrapes went.
    pub(crate) scrapes: Arc<Scrapes>,
    /// Who else gets traces.
    pub(crate) relay: Option<traces::Relay>,
    /// Where the forward receiver listens.
    pub(crate) forward: SocketAddr,
    /// Since when it serves.
    pub(crate) started: Instant,
}

impl App {
    /// Answers any request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == "/v1/traces" && request.method() == Method::POST {
            let (head, body) = request.into_parts();
            let receiver = traces::Receiver {
                store: &self.store,
                metrics: &self.metrics,
                relay: self.relay.as_ref(),
            };
            return receiver.export(&head.headers, body).await;
        }
        if path.starts_with("/v1/") {
            return self.hub.handle(request).await.map(Content::Whole);
        }
        let (head, body) = request.into_parts();
        let params = Params::parse(head.uri.query().unwrap_or_default());
        let path = head.uri.path();
        let parts: Vec<String> = path
            .split('/')
            .skip(1)
            .map(|part| decode(part, false))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let is_bulk = matches!(parts.as_slice(), ["_bulk"] | [_, "_bulk"]);
        if is_bulk && matches!(head.method, Method::POST | Method::PUT) {
            let index = (parts.len() == 2).then(|| parts.first().copied().unwrap_or_default());
            let filter = params.get("filter_path");
            let filter = (!filter.is_empty()).then_some(filter);
            let (store, metrics) = (&self.store, &self.metrics);
            let index = index.map(str::to_owned);
            return elastic::bulk(store, metrics, index, filter, &head.headers, body).await;
        }
        let mut answer = match head.method {
            Method::GET | Method::HEAD => self.get(&head, path, &parts, &params).await,
            _ => change(&head.method, path, &parts, body).await,
        };
        if head.method == Method::HEAD {
            *answer.body_mut() = Content::Whole(Full::default());
        }
        answer
    }

    async fn get(
        &self,
        head: &http::request::Parts,
        path: &str,
        parts: &[&str],
        params: &Params,
    ) -> Answer {
        match parts {
            [""] if wants_page(&head.headers) => page::search(self, params).await,
            [""] => elastic::root(),
            ["services"] => page::services(self).await,
            ["request", trace] => page::request(self, trace).await,
            ["assets", name] => page::asset(name),
            ["favicon.ico"] => page::asset("icon.svg"),
            ["api", "v1", "search"] => api::search(self, params).await,
            ["api", "v1", "request", trace] => api::request(self, trace).await,
            ["api", "v1", "receipts"] => receipts::receipts(&self.store, params).await,
            ["api", "v1", "spans"] => spans::spans(&self.store, params).await,
            ["api", "v1", "spans", "counts"] => spans::counts(&self.store, params).await,
            ["api", "v1", "services"] => spans::services(self).await,
            ["api", "v1", "stats"] => api::stats(self).await,
            ["health"] => answer(StatusCode::OK, "application/json", "{\"status\":\"ok\"}"),
            ["metrics"] => self.metrics_text(),
            ["_cluster", "health"] | ["_cluster", "health", _] => elastic::health(),
            ["_license"] => elastic::license(),
            _ if wants_page(&head.headers) => page::not_found(path),
            ["api", ..] => api::failed(StatusCode::NOT_FOUND, &format!("no such address: {path}")),
            _ => elastic::not_found(&head.method, path),
        }
    }

    fn metrics_text(&self) -> Answer {
        match telemetry::exposition::render(&self.registry) {
            Ok(text) => answer(StatusCode::OK, telemetry::exposition::CONTENT_TYPE, text),
            Err(error) => api::failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
}

/// Requests that would change something in Elasticsearch.
async fn change(method: &Method, path: &str, parts: &[&str], body: Incoming) -> Answer {
    if let Err(error) = net::body::read_capped(body, IGNORED_BODY_BYTES_MAX).await {
        return api::failed(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string());
    }
    match (method, parts) {
        (&Method::PUT, ["_index_template", _]) => elastic::acknowledged(),
        _ => elastic::not_found(method, path),
    }
}

fn wants_page(headers: &http::HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept.is_some_and(|accept| {
        accept
            .as_bytes()
            .windows(9)
            .any(|part| part == b"text/html")
    })
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
