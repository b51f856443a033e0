//! The command `emco-lab replay`: plays one recording of EMCO as if it happened now.
//!
//! ```text
//! <svc>.cri.log.gz ─┐                         ┌─▶ <out>/<ns>_<pod>_<uid>/<svc>/0.log   rotated, gzipped
//! <svc>.truth… ─────┤  shift (whole seconds)  ├─▶ <manifest>                           what was written
//! access/<svc>… ────┼────────▶ pace ─────────▶┼─▶ <out>/<ns>_<pod>_<uid>/istio-proxy/0.log
//! access/gateway… ──┤                         ├─▶ POST <hub>/v1/access-log             NDJSON
//! spans/<svc>… ─────┘                         └─▶ POST <sidecar>/api/v2/spans          as EMCO's exporter
//! ```
//!
//! One difference of whole seconds is added to every time stamp, so that stamps of one second's
//! resolution stay exact; times are never scaled. `--speed` changes only how fast the shifted events
//! are written: at any speed but 1 the stamps run ahead of (or behind) the clock.
//!
//! Every source streams: memory does not grow with the length of a recording but for one interval a
//! request (to count how many were open) and a set of request ids.
//!
//! It deliberately knows nothing of the product: it writes what a container runtime, a proxy and
//! EMCO's exporter would write, and computes the ids in its manifest by itself.

mod access;
mod corpus;
mod cri;
mod gateway;
mod lines;
mod logs;
mod manifest;
mod pace;
mod pods;
mod provenance;
mod shift;
mod spans;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use corpus::Corpus;
use manifest::{Manifest, Tally};
use pace::Pace;
use pods::Pod;
use provenance::Provenance;

/// What `emco-lab replay` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of one recording.
    #[arg(long, value_name = "DIR")]
    pub corpus: PathBuf,
    /// Folder that gets one directory a pod, like /var/log/pods.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Base URL of the hub that takes the gateway's access records; without it they are left out.
    #[arg(long, value_name = "URL")]
    pub hub: Option<String>,
    /// Where a service's spans go (repeatable); spans of services without one are left out.
    #[arg(long = "sidecar", value_name = "SERVICE=HOST:PORT", value_parser = parse_sidecar)]
    pub sidecars: Vec<(String, SocketAddr)>,
    /// How many times faster than recorded everything is written; the time stamps stay as at 1.
    #[arg(long, default_value_t = 1.0, value_name = "N", value_parser = parse_speed)]
    pub speed: f64,
    /// Leave out the access records that proxies write when a request begins.
    #[arg(long)]
    pub no_start_records: bool,
    /// Only these services.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub services: Vec<String>,
    /// Rotate a log file once it is this long, in bytes.
    #[arg(long, default_value_t = 512 * 1024, value_name = "N")]
    pub rotate_bytes: u64,
    /// Where to say what was written and what is true about it, as NDJSON.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Makes names and uids of the pods.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Seconds before the first line, for sidecars to start.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = parse_delay)]
    pub start_delay: f64,
    /// Namespace of the pods.
    #[arg(long, default_value = "emco")]
    pub namespace: String,
    /// Only print the pods there will be, one JSON object a line, and write nothing.
    #[arg(long)]
    pub list_pods: bool,
}

/// What every source needs.
struct Context {
    args: Args,
    corpus: Corpus,
    provenance: Provenance,
    pace: Pace,
    manifest: Manifest,
}

/// Runs the command: plays the recording to its end, or until SIGINT or SIGTERM.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let is_list = args.list_pods;
    let tally = play(args, stop).await?;
    if !is_list {
        let text = serde_json::to_string(&tally).context("writing the summary")?;
        tell(&format!("replay: {text}"));
    }
    Ok(())
}

/// Plays a recording and answers what was sent; ends early, but in good order, when `stop` is
/// cancelled.
async fn play(args: Args, stop: CancellationToken) -> anyhow::Result<Tally> {
    let corpus = Corpus::open(&args.corpus, &args.services)?;
    let out = std::path::absolute(&args.out).context("finding the folder for the pods")?;
    let pods: Vec<Pod> = corpus
        .services()
        .iter()
        .map(|service| Pod::new(&out, &args.namespace, service, args.seed))
        .collect();
    if args.list_pods {
        list(&pods)?;
        return Ok(Tally::default());
    }
    let provenance = Provenance::read(&corpus)?;
    let (first_ns, last_ns) = corpus.span_ns()?;
    let pace = Pace::start(
        first_ns,
        Duration::from_secs_f64(args.start_delay),
        args.speed,
        stop,
    );
    let manifest = Manifest::create(args.manifest.as_deref(), &pods)?;
    for pod in &pods {
        pod.create()?;
    }
    tell(&format!(
        "replay: {} services, {} seconds of recording, every time stamp + {} s",
        pods.len(),
        last_ns.saturating_sub(first_ns) / 1_000_000_000,
        pace.shift().seconds(),
    ));
    let context = Arc::new(Context {
        args,
        corpus,
        provenance,
        pace,
        manifest,
    });
    let mut sources = start(&context, &pods);
    let progress = tokio::spawn(report_progress(Arc::clone(&context)));
    let mut outcome = Ok(());
    while let Some(ended) = sources.join_next().await {
        let ended = ended.context("a source of the replay panicked").flatten();
        if ended.is_err() && outcome.is_ok() {
            context.pace.stop();
            outcome = ended;
        }
    }
    progress.abort();
    outcome?;
    context.manifest.finish(&context.pace)
}

fn start(context: &Arc<Context>, pods: &[Pod]) -> JoinSet<anyhow::Result<()>> {
    let mut sources = JoinSet::new();
    for pod in pods {
        sources.spawn(lines::play(Arc::clone(context), pod.clone()));
        sources.spawn(access::play(Arc::clone(context), pod.clone()));
    }
    if let Some(hub) = context.args.hub.clone() {
        sources.spawn(gateway::play(Arc::clone(context), hub));
    }
    if !context.args.sidecars.is_empty() {
        sources.spawn(spans::play(Arc::clone(context)));
    }
    sources
}

fn list(pods: &[Pod]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for pod in pods {
        let text = serde_json::to_string(&pod.entry()).context("writing a pod")?;
        writeln!(out, "{text}").context("writing to standard output")?;
    }
    Ok(())
}

async fn report_progress(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        let tally = context.manifest.tally();
        if tally.lines > 0 {
            tell(&format!(
                "replay: {} lines, {} access records, {} span bodies ({} dropped), {} rotations",
                tally.lines, tally.access, tally.bodies_sent, tally.bodies_dropped, tally.rotations
            ));
        }
    }
}

/// Says something on standard error; nobody listening is no reason to stop.
fn tell(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    }
}

fn parse_sidecar(text: &str) -> Result<(String, SocketAddr), String> {
    let (service, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not SERVICE=HOST:PORT"))?;
    let address = address
        .parse()
        .map_err(|error| format!("{address:?} is not HOST:PORT: {error}"))?;
    Ok((service.to_owned(), address))
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("a speed is a positive number".to_owned()),
    }
}

fn parse_delay(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(delay) if (0.0..=3600.0).contains(&delay) => Ok(delay),
        _ => Err("a delay is a number of seconds, at most 3600".to_owned()),
    }
}
