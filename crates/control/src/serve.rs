//! The control plane as it runs: webhook, certificates, what is known of the cluster.
//!
//! Nothing of it ends because the API server is away: what needs it tries again, and says on `/health`
//! what is wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hub::{EngineSettings, HubServer, ServerMetrics};
use hyper::body::Incoming;
use kube::{Client, Config};
use net::{Identity, Server, ServerSettings};
use prometheus::Registry;
use telemetry::exposition::{Format, render_as};
use telemetry::health::Health;
use telemetry::logs::Logs;
use telemetry::side_table::SideTable;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certificates::{Keeper, Names};
use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::process::{End, block_on, end_after};
use crate::settings::Settings;
use crate::tokens::Tokens;
use crate::watchdog::Watchdog;
use crate::webhook::{Events, Webhook, deliver};

/// The revision this was built from, where the build says it.
const REVISION: Option<&str> = option_env!("EMCO_OBSERVER_REVISION");
/// API servers keep connections open; there are a few of them.
const CONNECTIONS_MAX: usize = 1024;
/// No single question to the API server takes longer, but for watches.
const ASK_MAX: Duration = Duration::from_secs(20);

/// Who this replica is.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl Replica {
    /// As the downward API says.
    ///
    /// # Errors
    /// If it does not.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(value),
            _ => bail!("variable {name} is not set; set it by the downward API"),
        };
        Ok(Self {
            name: variable("POD_NAME")?,
            namespace: variable("POD_NAMESPACE")?,
        })
    }
}

/// Runs the control plane until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot begin: an address that is taken, or nothing that says where the API server is.
pub fn run(settings: Settings) -> Result<()> {
    let logs = Logs::install(&settings.log_level).context("cannot set up our own log")?;
    let result = block_on(async {
        let replica = Replica::from_environment()?;
        let config = Config::infer().await;
        let config = config.context("nothing says where the API server is")?;
        let end = end_after(settings.webhook.stop_delay)?;
        serve(settings, replica, config, end).await
    });
    logs.flush();
    result
}

/// Runs the control plane until `end` says that this is all. Before that, when others take over, it only
/// answers on.
///
/// # Errors
/// If it cannot begin.
pub async fn serve(
    settings: Settings,
    replica: Replica,
    mut config: Config,
    end: End,
) -> Result<()> {
    let End { leave, stop } = end;
    config.connect_timeout = Some(ASK_MAX);
    let client = Client::try_from(config).context("cannot set up the client of Kubernetes")?;
    let registry = Registry::new();
    let health = Health::new(&registry)?;
    let metrics = Metrics::new(&registry)?;
    telemetry::build::register(&registry, env!("CARGO_PKG_VERSION"), REVISION)?;
    let identity = Identity::default();
    let cluster = Arc::new(Cluster::default());
    let (events, notices) = Events::new(metrics.clone());

    let webhook = bind(settings.webhook.listen).await?.with_tls(&identity)?;
    let page = bind(settings.admin.listen).await?;
    let hub = match &settings.hub {
        Some(hub) => Some(bind(hub.listen).await?.with_tls(&identity)?),
        None => None,
    };
    tracing::info!(
        webhook = %webhook.local_addr()?,
        admin = %page.local_addr()?,
        replica = replica.name,
        "the control plane runs"
    );

    let mut tasks = JoinSet::new();
    if let (Some(server), Some(said)) = (hub, settings.hub.clone()) {
        tracing::info!(hub = %server.local_addr()?, "the hub is served");
        let counts = ServerMetrics::new(&registry)?;
        let reviews = metrics.token_reviews.clone();
        let tokens = Tokens::new(client.clone(), Arc::clone(&cluster), said.gateways, reviews);
        let hub = HubServer::new(EngineSettings::default(), tokens, counts, stop.clone());
        tasks.spawn(hub.serve(server));
    }
    let page_shows = Page {
        registry,
        health: health.clone(),
        identity: identity.clone(),
    };
    tasks.spawn(page_shows.serve(page, stop.clone()));
    let keeper = Keeper {
        client: client.clone(),
        names: names(&settings, &replica),
        policy: settings.certificates.policy(),
        identity,
        cluster: Arc::clone(&cluster),
        health,
        metrics: metrics.clone(),
    };
    tasks.spawn(keeper.run(stop.clone()));
    let delivery = deliver(
        client.clone(),
        replica.name,
        notices,
        metrics.clone(),
        stop.clone(),
    );
    tasks.spawn(delivery);
    let watchdog = Watchdog {
        client: client.clone(),
        cluster: Arc::clone(&cluster),
        injection: settings.injection.clone(),
        settings: settings.watchdog.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
    };
    tasks.spawn(watchdog.run(leave.clone()));
    let reviews = Arc::new(Webhook {
        client: client.clone(),
        cluster: Arc::clone(&cluster),
        settings: settings.injection,
        events,
        metrics,
    });
    let handler = move |request| {
        let reviews = Arc::clone(&reviews);
        async move { reviews.handle(request).await }
    };
    tasks.spawn(webhook.serve_and_leave(handler, leave, stop.clone()));
    let watch = stop.clone();
    tasks.spawn(async move { cluster.watch(client, watch).await });
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part of the control plane ended")?;
    }
    Ok(())
}

fn names(settings: &Settings, replica: &Replica) -> Names {
    let namespace = &replica.namespace;
    let hub = settings.hub.iter().map(|hub| &hub.service);
    let services = std::iter::once(&settings.webhook.service).chain(hub);
    let services = services.chain(&settings.certificates.more_services);
    Names {
        namespace: namespace.clone(),
        secret: settings.certificates.secret.clone(),
        configuration: settings.webhook.configuration.clone(),
        config_map: settings.certificates.authority_config_map.clone(),
        servers: services
            .map(|service| format!("{service}.{namespace}.svc"))
            .collect(),
    }
}

async fn bind(address: SocketAddr) -> Result<Server> {
    let settings = ServerSettings {
        connections_max: CONNECTIONS_MAX,
        ..ServerSettings::default()
    };
    Ok(Server::bind(address, settings).await?)
}

/// What can be asked about the control plane.
#[derive(Clone)]
struct Page {
    registry: Registry,
    health: Health,
    identity: Identity,
}

impl Page {
    async fn serve(self, server: Server, stop: CancellationToken) {
        let handler = move |request: Request<Incoming>| {
            let page = self.clone();
            async move { page.answer(&request) }
        };
        server.serve(handler, stop).await;
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new());
        }
        match request.uri().path() {
            "/health" => respond(StatusCode::OK, "application/json", self.health.to_json()),
            "/ready" if self.identity.is_set() => {
                respond(StatusCode::OK, "text/plain", "ready\n".to_owned())
            }
            "/ready" => respond(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                "there is no certificate yet\n".to_owned(),
            ),
            "/metrics" => self.metrics(request),
            _ => respond(StatusCode::NOT_FOUND, "text/plain", String::new()),
        }
    }

    fn metrics<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let accept = request.headers().get(ACCEPT);
        let accept = accept
            .and_then(|accept| accept.to_str().ok())
            .unwrap_or_default();
        let format = Format::negotiate(accept);
        match render_as(format, &self.registry, &SideTable::default()) {
            Ok(page) => respond(StatusCode::OK, format.content_type(), page),
            Err(error) => {
                let error = net::chain(&error);
                respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error)
            }
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
