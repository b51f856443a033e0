//! Who comes in, and what for.

use std::sync::Arc;

use http::{Method, Request, StatusCode, header};
use hub::{Authority as _, RemoteAuthority, bearer};
use hyper::body::Incoming;
use serde_json::json;

use crate::serve::http::{Answer, App, answer, json_answer};

/// Asked for by kubelets, which have no token.
const HEALTH: &str = "/health";

/// Lets those in whom the hub knows.
pub(super) struct Door {
    app: Arc<App>,
    authority: RemoteAuthority,
}

impl Door {
    pub(super) const fn new(app: Arc<App>, authority: RemoteAuthority) -> Self {
        Self { app, authority }
    }

    pub(super) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == HEALTH && request.method() == Method::GET {
            return answer(StatusCode::OK, "application/json", "{\"status\":\"ok\"}");
        }
        if !is_delivery(request.method(), path) {
            let text = "only the bulk API and traces are served here";
            return self.refuse(StatusCode::NOT_FOUND, "not_found", text);
        }
        match self.authority.role(bearer(request.headers())).await {
            Ok(Some(_)) => Arc::clone(&self.app).handle(request).await,
            Ok(None) => {
                let text = "the request has no bearer token that the hub knows";
                self.refuse(StatusCode::UNAUTHORIZED, "unauthorized", text)
            }
            Err(error) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let mut answer = self.refuse(status, "unavailable", &error.to_string());
                let soon = http::HeaderValue::from_static("1");
                answer.headers_mut().insert(header::RETRY_AFTER, soon);
                answer
            }
        }
    }

    fn refuse(&self, status: StatusCode, outcome: &str, reason: &str) -> Answer {
        let counter = &self.app.metrics.ingest_refusals;
        counter.with_label_values(&[outcome]).inc();
        let error = json!({"type": "security_exception", "reason": reason});
        json_answer(status, &json!({"error": error, "status": status.as_u16()}))
    }
}

/// Whether it is what sidecars send.
fn is_delivery(method: &Method, path: &str) -> bool {
    let is_bulk = path
        .strip_suffix("_bulk")
        .and_then(|index| index.strip_prefix('/'))
        .is_some_and(|index| index.matches('/').count() == usize::from(!index.is_empty()));
    match *method {
        Method::POST => is_bulk || path == "/v1/traces",
        Method::PUT => is_bulk,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deliveries_come_in() {
        for (method, path, is_one) in [
            (Method::POST, "/_bulk", true),
            (Method::PUT, "/emco-logs/_bulk", true),
            (Method::POST, "/v1/traces", true),
            (Method::PUT, "/v1/traces", false),
            (Method::GET, "/_bulk", false),
            (Method::POST, "/_bulk/more", false),
            (Method::POST, "/a/b/_bulk", false),
            (Method::POST, "/a_bulk", false),
            (Method::POST, "/v1/tell", false),
            (Method::POST, "/v1/ask", false),
            (Method::GET, "/api/v1/search", false),
            (Method::GET, "/", false),
        ] {
            assert_eq!(is_delivery(&method, path), is_one, "{method} {path}");
        }
    }
}
