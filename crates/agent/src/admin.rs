//! The admin page: metrics and health.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use net::{Server, ServerSettings};
use prometheus::{IntCounter, Registry};
use telemetry::exposition::{Format, render_as};
use telemetry::health::Health;
use telemetry::side_table::SideTable;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::reception::{self, TRY_EVERY};

/// The revision this was built from, where the build says it.
const REVISION: Option<&str> = option_env!("EMCO_OBSERVER_REVISION");

/// The part of our health that stands for the page.
const ADMIN: &str = "admin";

/// What can be asked about the sidecar as long as it is up, whatever its state.
pub(crate) struct Page {
    pub(crate) registry: Registry,
    /// Exemplars and created times of what is registered.
    pub(crate) side: SideTable,
    pub(crate) health: Health,
    /// Ends the page, and the parts that serve as long as lanes deliver.
    pub(crate) background: CancellationToken,
    ignored: IntCounter,
    task: JoinHandle<()>,
}

impl Page {
    /// Shows it at `address`.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let registry = Registry::new();
        let health = Health::new(&registry)?;
        let ignored = reception::ignored(&registry)?;
        telemetry::build::register(&registry, env!("CARGO_PKG_VERSION"), REVISION)?;
        let (side, background) = (SideTable::default(), CancellationToken::new());
        let shown = (registry.clone(), side.clone());
        let task = tokio::spawn(serve(address, shown, health.clone(), background.clone()));
        Ok(Self {
            registry,
            side,
            health,
            background,
            ignored,
            task,
        })
    }

    /// Says why nothing is done: EMCO's pod must not fail because of us, and EMCO, which sends its
    /// spans to `spans`, must not complain.
    ///
    /// # Errors
    /// If it was said before.
    ///
    /// # Errors
    /// If it was said before.
    pub(crate) fn idle(&self, part: &'static str, reason: String, spans: SocketAddr) -> Result<()> {
        tracing::error!(reason, "nothing is shipped until this is mended");
        self.health.set(part, reason);
        reception::ignore(spans, &self.ignored, &self.registry, &self.background)
    }

    /// Ends it, and the parts that serve as long as lanes deliver; its address is free then.
    pub(crate) async fn close(self) {
        self.background.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the admin page did not end well");
        }
    }
}

/// Serves `/metrics` and `/health` until `stop`. A page that cannot be served is a degradation, no
/// reason to end, and tried again.
async fn serve(
    address: SocketAddr,
    (registry, side): (Registry, SideTable),
    health: Health,
    stop: CancellationToken,
) {
    let settings = ServerSettings {
        connections_max: 16,
        ..ServerSettings::default()
    };
    let server = loop {
        match Server::bind(address, settings.clone()).await {
            Ok(server) => break server,
            Err(error) => health.set(ADMIN, net::chain(&error)),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
    };
    health.clear(ADMIN);
    let answer = move |request: Request<Incoming>| {
        let answer = answer(&request, &registry, &side, &health);
        async move { answer }
    };
    server.serve(answer, stop).await;
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
    side: &SideTable,
    health: &Health,
) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let accept = request.headers().get_all(ACCEPT).iter();
            let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
            let format = Format::negotiate(&accept.join(","));
            match render_as(format, registry, side) {
                Ok(page) => respond(StatusCode::OK, format.content_type(), page),
                Err(error) => respond(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "text/plain",
                    net::chain(&error),
                ),
            }
        }
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
