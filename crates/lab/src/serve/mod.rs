//! The command `emco-lab serve`: an embedded backend on one machine, with nothing else to install.
//!
//! ```text
//! forward ─▶ forward::server ─┐                          ┌─▶ page      who did what
//!                             ├─▶ store (SQLite, words) ─┼─▶ JSON API  search, requests, receipts
//! _bulk ───▶ elastic::server ─┘      commit, then answer └─▶ /metrics
//! /v1/traces ▶ traces::server ─┘                          page of a request: its spans as a tree
//! /metrics ◀── scrape: requests, errors, durations of each service ─▶ store ─▶ page
//! /v1/… ───▶ hub (in memory): what pods tell each other
//! ```
//!
//! Sidecars on other machines use [`ingest`]: TLS, tokens, and nothing but what they send.
//!
//! It deliberately knows nothing of how a sidecar works: it is a Fluent forward receiver and a small
//! Elasticsearch to whoever speaks these protocols.

mod document;
mod elastic;
mod facts;
mod forward;
mod http;
mod ingest;
mod metrics;
mod page;
mod scrape;
mod store;
mod story;
mod traces;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hub::{Credential, EngineSettings, HubServer, ServerMetrics, TokenFiles};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::forward::Forward;
use self::http::App;
use self::ingest::Ingest;
use self::metrics::Metrics;
use self::scrape::{Scrapes, Target};
use self::store::Store;
use self::traces::Relay;

/// Connections at one time: a sidecar keeps one for each lane and its questions to the hub.
const HTTP_CONNECTIONS_MAX: usize = 512;

/// Longest wait, after the stop, for peers to take their last acknowledgements.
const DRAIN_MAX: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
On the HTTP address:
  /                            the page, in a browser; for anybody else what Elasticsearch says
  /request/{trace}             everything one request did
  /_bulk, /{index}/_bulk       documents in (create, index; gzip; filter_path)
  /services                    requests, errors and durations of each service over time
  /v1/traces                   spans in (OTLP over HTTP, protobuf or JSON; gzip)
  /v1/tell, /v1/ask, /v1/access-log
                               the hub: what pods tell each other
  /api/v1/search?q=&user=&service=&level=&trace=&attribution=&from=&to=&limit=&cursor=
  /api/v1/request/{trace}
  /api/v1/receipts?lane=forward|elastic&after=&limit=&whole=true
                               what each lane received, one JSON object a line
  /api/v1/spans?trace=&service=&after=&limit=&whole=true
                               the spans, one JSON object a line
  /api/v1/spans/counts?trace=&service=
  /api/v1/services             the newest figures of each service
  /api/v1/stats, /health, /metrics

Times are RFC 3339, nanoseconds since the epoch, or a distance back from now such as 15m.
A document is acknowledged (forward) or answered (bulk) after its transaction is committed; a killed
process loses none of them, a power cut may lose the last moments.";

/// What `emco-lab serve` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where the page, the JSON API, the bulk API and the hub listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9200")]
    listen_http: SocketAddr,
    /// Where the Fluent forward receiver listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:24224")]
    listen_forward: SocketAddr,
    #[command(flatten)]
    ingest: ingest::IngestArgs,
    /// Sidecar whose metrics are asked for, e.g. `rsync=127.0.0.1:9464`; may be given many times.
    #[arg(long, value_name = "NAME=ADDRESS")]
    scrape: Vec<Target>,
    /// Seconds between two scrapes of a sidecar.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    scrape_interval: u64,
    /// Where traces are sent on to, after they were stored: whoever sends them is answered only when
    /// both have them.
    #[arg(long, value_name = "URL")]
    relay_traces: Option<net::Endpoint>,
    /// Directory of the SQLite store; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "emco-lab-data")]
    data: PathBuf,
    /// JSON file to write the chosen addresses to once both listen.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// File with the token that sidecars prove themselves with to the hub. Without it everybody is
    /// one if the address is a loopback address, otherwise nobody.
    #[arg(long, value_name = "FILE")]
    hub_token: Option<PathBuf>,
    /// File with the token of whoever reports the ingress gateway's access log, and so may say whose
    /// a request is. Without it everybody may if the address is a loopback address, otherwise
    /// nobody.
    #[arg(long, value_name = "FILE")]
    hub_gateway_token: Option<PathBuf>,
    /// Lets the user count whom the gateway's record of a request's beginning names. The gateway has
    /// proven nothing then: only for where something in front of it proves the header.
    #[arg(long)]
    hub_user_at_begin: bool,
    /// What of its own log is written to standard error.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Runs the command until SIGTERM or SIGINT; everything acknowledged is committed then.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let logs = telemetry::logs::Logs::install(&args.log)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let result = serve(&args, stop).await;
    logs.flush();
    result
}

async fn serve(args: &Args, stop: CancellationToken) -> anyhow::Result<()> {
    let registry = prometheus::Registry::new();
    let metrics = Arc::new(Metrics::new(&registry)?);
    let _process = telemetry::process::Process::new(&registry)?;
    let hub = hub(args, &registry, &stop)?;
    let (store, writer) = Store::open(&args.data, Arc::clone(&metrics))?;
    let forward = Forward::bind(args.listen_forward, store.clone(), Arc::clone(&metrics))
        .await
        .with_context(|| format!("listening for forward on {}", args.listen_forward))?;
    let settings = net::ServerSettings {
        connections_max: HTTP_CONNECTIONS_MAX,
        ..net::ServerSettings::default()
    };
    let server = net::Server::bind(args.listen_http, settings.clone()).await?;
    let ingest = Ingest::bind(&args.ingest, settings).await?;
    let (http, forward_at) = (server.local_addr()?, forward.local_addr()?);
    let ingest_at = ingest.as_ref().map(Ingest::local_addr).transpose()?;
    if let Some(path) = &args.port_file {
        write_port_file(path, http, forward_at, ingest_at)?;
    }
    if let Some(address) = ingest_at {
        tracing::info!(%address, "sidecars send here, over TLS and by token");
    }
    tracing::info!(page = %format!("http://{http}/"), forward = %forward_at, data = %args.data.display(), "serving");
    let scrapes = Arc::new(Scrapes::default());
    let scraping = scrape::run(
        args.scrape.clone(),
        Duration::from_secs(args.scrape_interval),
        store.clone(),
        Arc::clone(&metrics),
        Arc::clone(&scrapes),
        stop.clone(),
    );
    let app = Arc::new(App {
        store,
        hub,
        metrics,
        registry,
        scrapes,
        relay: args.relay_traces.clone().map(Relay::new),
        forward: forward_at,
        started: Instant::now(),
    });
    let taken_in = {
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move {
            if let Some(ingest) = ingest {
                ingest.serve(app, stop).await;
            }
        }
    };
    let handler = move |request| Arc::clone(&app).handle(request);
    tokio::join!(
        server.serve(handler, stop.clone()),
        taken_in,
        forward.serve(stop),
        scraping
    );
    tokio::task::spawn_blocking(|| writer.join())
        .await
        .context("closing the store")?;
    tracing::info!("stopped, everything acknowledged is stored");
    Ok(())
}

fn hub(
    args: &Args,
    registry: &prometheus::Registry,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<HubServer>> {
    let local = args.listen_http.ip().is_loopback();
    let credential = |file: &Option<PathBuf>| match file {
        Some(path) => Credential::File(path.clone()),
        None if local => Credential::Anyone,
        None => Credential::Nobody,
    };
    let authority = TokenFiles {
        sidecar: credential(&args.hub_token),
        gateway: credential(&args.hub_gateway_token),
    };
    let metrics = ServerMetrics::new(registry)?;
    let settings = EngineSettings {
        user_at_begin: args.hub_user_at_begin,
        ..EngineSettings::default()
    };
    Ok(HubServer::new(settings, authority, metrics, stop.clone()))
}

fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Whole or not at all: whoever waits for the file never reads half of it.
fn write_port_file(
    path: &Path,
    http: SocketAddr,
    forward: SocketAddr,
    ingest: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let mut text = serde_json::json!({
        "http": http.to_string(),
        "forward": forward.to_string(),
        "page": format!("http://{http}/"),
    });
    if let (Some(ingest), Some(text)) = (ingest, text.as_object_mut()) {
        text.insert("ingest".to_owned(), ingest.to_string().into());
    }
    let draft = path.with_extension("draft");
    std::fs::write(&draft, format!("{text}\n"))
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("writing the addresses to {}", path.display()))
}
