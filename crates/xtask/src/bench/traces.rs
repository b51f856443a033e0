//! Recorded bodies of spans, repeated, through the whole sidecar to a receiver of traces.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::collector::Collector;
use super::spans::{Body, Sender, bodies};
use super::statistics::{Samples, from_count};
use super::subject::{Bench, Peers};
use crate::demo::exposition::Reading;
use crate::{interrupt, proc};

/// So many spans are on their way at most: a sender that never waits would fill the spool's share of
/// the disk.
const UNDER_WAY: u64 = 50_000;
const BOUND: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(50);

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noise {
    /// Everything.
    Kept,
    /// All but reads from etcd and pollers; these are repeated until they are nine of ten.
    Dropped,
}

/// Spans per second of CPU time, from the first body until the receiver has all that are kept.
pub(super) fn measure(bench: &Bench<'_>, runs: u32, spans: u64, noise: Noise) -> Result<Samples> {
    let mut bodies = bodies(bench.corpus)?;
    if noise == Noise::Dropped {
        bodies = mostly_noise(bodies);
    }
    (0..runs)
        .map(|run| one(bench, &mut bodies, &format!("traces-{run}"), spans, noise))
        .collect()
}

fn one(
    bench: &Bench<'_>,
    bodies: &mut [Body],
    name: &str,
    spans: u64,
    noise: Noise,
) -> Result<f64> {
    let collector = Collector::start()?;
    let folder = bench.folder(name)?;
    let (pod, _) = Bench::pod(&folder)?;
    let peers = Peers {
        otlp: Some(collector.address()),
        otlp_noise: Some(match noise {
            Noise::Kept => "{metrics_polls: 1, scrapes: 1, etcd_polls: 1}",
            Noise::Dropped => "{metrics_polls: 0, scrapes: 0, etcd_polls: 0, etcd_reads: 0}",
        }),
        ..Peers::default()
    };
    let mut sidecar = bench.start(&folder, &pod, peers)?;
    let pid = sidecar.id()?;
    let admin = sidecar.settings().admin;
    let mut sender = Sender::new(sidecar.settings().spans)?;
    while sender.sent() < spans {
        let next = (sender.sent() + UNDER_WAY).min(spans);
        sender.send(bodies, next)?;
        settled(admin)?;
    }
    let seconds = proc::cpu_seconds(pid).context("read the CPU time of the sidecar")?;
    check(admin, sender.sent(), &collector, noise)?;
    sidecar.stop()?;
    std::fs::remove_dir_all(&folder).context("remove the files of a run")?;
    Ok(from_count(sender.sent()) / seconds)
}

/// Waits until no span waits.
fn settled(admin: SocketAddr) -> Result<()> {
    interrupt::poll_until(BOUND, PAUSE, || {
        let waiting = Reading::of(admin)?.count("emco_observer_otlp_waiting_spans", "");
        Ok((waiting == 0).then_some(()))
    })?
    .context("the spans are exported in time")
}

/// Everything is accounted for, by the sidecar and by the receiver.
fn check(admin: SocketAddr, sent: u64, collector: &Collector, noise: Noise) -> Result<()> {
    let reading = Reading::of(admin)?;
    let exported = reading.count("emco_observer_otlp_exported_spans_total", "");
    let dropped = reading.count("emco_observer_otlp_dropped_spans_total", "");
    ensure!(
        exported + dropped == sent && collector.spans() == exported,
        "of {sent} spans {exported} were exported and {dropped} dropped; the receiver has {}",
        collector.spans()
    );
    match noise {
        Noise::Kept => ensure!(dropped == 0, "{dropped} spans were dropped"),
        Noise::Dropped => ensure!(
            (89..=91).contains(&(dropped * 100 / sent.max(1))),
            "{dropped} of {sent} spans were dropped, which is not nine of ten"
        ),
    }
    Ok(())
}

/// Bodies that hold mostly reads from etcd come again and again between the others, so that nine of
/// ten spans are such at any time.
fn mostly_noise(bodies: Vec<Body>) -> Vec<Body> {
    let is_noisy = |body: &&Body| body.noise() * 20 > body.spans() * 19;
    let noisy: Vec<Body> = bodies.iter().filter(is_noisy).cloned().collect();
    let mut more = noisy.iter().cycle();
    let (mut all, mut kept, mut noise) = (Vec::new(), 0, 0);
    for body in bodies {
        kept += body.spans() - body.noise();
        noise += body.noise();
        all.push(body);
        while noise < 9 * kept
            && let Some(body) = more.next()
        {
            kept += body.spans() - body.noise();
            noise += body.noise();
            all.push(body.clone());
        }
    }
    all
}
