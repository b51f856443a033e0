//! Memory of a sidecar that gets much at once.

use std::time::Duration;

use anyhow::{Context, Result};

use super::collector::Collector;
use super::sink::Sink;
use super::spans::{Body, Sender, bodies};
use super::statistics::{Samples, from_count};
use super::subject::{Bench, Peers};
use crate::{interrupt, proc};

/// What one exporter may send at once.
const LARGE_BODY_BYTES: usize = 30 << 20;
/// What comes in a burst.
const BURST_BYTES: u64 = 50_000_000;
/// After so long the sidecar is small again.
const REST: Duration = Duration::from_secs(10);
/// Before this a sidecar is not at rest.
const SETTLE: Duration = Duration::from_secs(3);

/// By how many bytes one body of 30 MiB raises the peak of the memory, and the memory 10 s after a
/// burst of 50 MB.
pub(super) fn measure(bench: &Bench<'_>, runs: u32) -> Result<(Samples, Samples)> {
    let mut bodies = bodies(bench.corpus)?;
    let mut large = [Body::joined(&bodies, LARGE_BODY_BYTES)?];
    let (mut added, mut after) = (Vec::new(), Vec::new());
    for run in 0..runs {
        added.push(one(bench, &format!("large-{run}"), |sender, pid| {
            let before = proc::resident_bytes(pid).context("read the memory")?;
            let spans = sender.sent() + 1;
            sender.send(&mut large, spans)?;
            let peak = proc::peak_resident_bytes(pid).context("read the memory")?;
            Ok(peak.saturating_sub(before))
        })?);
        after.push(one(bench, &format!("burst-{run}"), |sender, pid| {
            while sender.sent_bytes() < BURST_BYTES {
                let spans = sender.sent() + 1;
                sender.send(&mut bodies, spans)?;
            }
            interrupt::wait(REST)?;
            proc::resident_bytes(pid).context("read the memory")
        })?);
    }
    let samples = |all: Vec<u64>| all.into_iter().map(from_count).collect();
    Ok((samples(added), samples(after)))
}

fn one(
    bench: &Bench<'_>,
    name: &str,
    work: impl FnOnce(&mut Sender, u32) -> Result<u64>,
) -> Result<u64> {
    let (sink, collector) = (Sink::start()?, Collector::start()?);
    let folder = bench.folder(name)?;
    let (pod, _) = Bench::pod(&folder)?;
    let peers = Peers {
        otlp: Some(collector.address()),
        ..Peers::only(&sink)
    };
    let mut sidecar = bench.start(&folder, &pod, peers)?;
    interrupt::wait(SETTLE)?;
    let mut sender = Sender::new(sidecar.settings().spans)?;
    let bytes = work(&mut sender, sidecar.id()?)?;
    sidecar.stop()?;
    std::fs::remove_dir_all(&folder).context("remove the files of a run")?;
    Ok(bytes)
}
