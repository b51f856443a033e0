//! The admin page: metrics and health.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use net::{Server, ServerSettings};
use prometheus::Registry;
use telemetry::health::Health;
use tokio_util::sync::CancellationToken;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves `/metrics` and `/health` until `stop`. A page that cannot be served is a degradation, no
/// reason to end.
pub(crate) async fn serve(
    address: SocketAddr,
    registry: Registry,
    health: Health,
    stop: CancellationToken,
) {
    let settings = ServerSettings {
        connections_max: 16,
        ..ServerSettings::default()
    };
    let server = match Server::bind(address, settings).await {
        Ok(server) => server,
        Err(error) => return health.set("admin", net::chain(&error)),
    };
    let answer = move |request: Request<Incoming>| {
        let answer = answer(&request, &registry, &health);
        async move { answer }
    };
    server.serve(answer, stop).await;
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
    health: &Health,
) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match telemetry::exposition::render(registry) {
            Ok(page) => respond(StatusCode::OK, TEXT_FORMAT, page),
            Err(error) => respond(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                error.to_string(),
            ),
        },
        (&Method::GET, "/health") => respond(StatusCode::OK, "application/json", health.to_json()),
        _ => respond(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /metrics and /health\n".to_owned(),
        ),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
