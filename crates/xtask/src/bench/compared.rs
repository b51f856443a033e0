//! The sidecar beside the OpenTelemetry Collector: the same recorded bodies of spans, in turn, through
//! both to a receiver that counts, everything exported.
//!
//! The Collector runs as its documentation has it (zipkin, batch, otlphttp), but does not compress, as
//! the sidecar does not. What both spend before the first body is not counted.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::peers;

use super::Measured;
use super::collector::Collector;
use super::spans::{Body, Sender, bodies};
use super::statistics::{Samples, from_count};
use super::subject::{Bench, Peers};
use crate::{interrupt, proc};

/// So many spans are on their way at most.
const UNDER_WAY: u64 = 50_000;
const BOUND: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(20);
const NOISE: &str = "{metrics_polls: 1, scrapes: 1, etcd_polls: 1}";

/// What one run of a program costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU time of a span, in microseconds.
    micros: f64,
    /// Largest resident memory, in bytes.
    peak: u64,
}

/// Both costs, and how many times as much CPU the Collector takes in the same run; nothing where it is
/// not installed.
pub(super) fn measure(bench: &Bench<'_>, runs: u32, spans: u64) -> Result<Vec<Measured>> {
    let mut bodies = bodies(bench.corpus)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let Some(cost) = collector(bench, &mut bodies, &format!("collector-{run}"), spans)? else {
            return Ok(Vec::new());
        };
        theirs.push(cost);
        let name = format!("beside-collector-{run}");
        ours.push(sidecar(bench, &mut bodies, &name, spans)?);
    }
    let micros = |costs: &[Cost]| -> Samples { costs.iter().map(|cost| cost.micros).collect() };
    let peaks = |costs: &[Cost]| -> Samples {
        let peaks = costs.iter().map(|cost| from_count(cost.peak));
        peaks.collect()
    };
    let both = theirs.iter().zip(&ours);
    let ratio = both.map(|(theirs, ours)| theirs.micros / ours.micros);
    Ok(vec![
        ("otlp_cpu_us_per_span", micros(&ours)),
        ("collector_cpu_us_per_span", micros(&theirs)),
        ("collector_cpu_ratio", ratio.collect()),
        ("otlp_peak_rss_bytes", peaks(&ours)),
        ("collector_peak_rss_bytes", peaks(&theirs)),
    ])
}

fn sidecar(bench: &Bench<'_>, bodies: &mut [Body], name: &str, spans: u64) -> Result<Cost> {
    let sink = Collector::start()?;
    let folder = bench.folder(name)?;
    let (pod, _) = Bench::pod(&folder)?;
    let peers = Peers {
        otlp: Some(sink.address()),
        otlp_noise: Some(NOISE),
        ..Peers::default()
    };
    let mut sidecar = bench.start(&folder, &pod, peers)?;
    let (pid, address) = (sidecar.id()?, sidecar.settings().spans);
    let cost = cost(pid, address, &sink, bodies, spans).context("measure the sidecar")?;
    sidecar.stop()?;
    std::fs::remove_dir_all(&folder).context("remove the files of a run")?;
    Ok(cost)
}

fn collector(
    bench: &Bench<'_>,
    bodies: &mut [Body],
    name: &str,
    spans: u64,
) -> Result<Option<Cost>> {
    let sink = Collector::start()?;
    let folder = bench.folder(name)?;
    let Some(collector) = peers::Collector::onward(&folder, sink.address()) else {
        return Ok(None);
    };
    let pid = collector.process().id();
    let cost = cost(pid, collector.zipkin, &sink, bodies, spans);
    drop(collector);
    std::fs::remove_dir_all(&folder).context("remove the files of a run")?;
    cost.context("measure the Collector").map(Some)
}

/// What the process spends from the first body until the receiver has every span.
fn cost(
    pid: u32,
    address: SocketAddr,
    sink: &Collector,
    bodies: &mut [Body],
    spans: u64,
) -> Result<Cost> {
    let spent = || proc::cpu_seconds(pid).context("read the CPU time of a process");
    let before = spent()?;
    let mut sender = Sender::new(address)?;
    while sender.sent() < spans {
        let next = (sender.sent() + UNDER_WAY).min(spans);
        sender.send(bodies, next)?;
        let arrived = || Ok((sink.spans() >= sender.sent()).then_some(()));
        interrupt::poll_until(BOUND, PAUSE, arrived)?.context("the spans arrive in time")?;
    }
    Ok(Cost {
        micros: (spent()? - before) * 1e6 / from_count(sender.sent()),
        peak: proc::peak_resident_bytes(pid).context("read the memory of a process")?,
    })
}
