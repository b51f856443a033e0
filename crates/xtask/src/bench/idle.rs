//! Starting and doing nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::collector::Collector;
use super::sink::Sink;
use super::spans::{Body, Sender};
use super::statistics::{Samples, from_count};
use super::subject::{Bench, Peers, write_line};
use crate::demo::lab::{Feeds, Lab};
use crate::{interrupt, proc};

/// Before this, a sidecar is not at rest.
const SETTLE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(30);
const READ_BOUND: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Milliseconds from the start of the process to its first read of a log that is there.
pub(super) fn starts(bench: &Bench<'_>, runs: u32) -> Result<Samples> {
    let sink = Sink::start()?;
    (0..runs)
        .map(|run| {
            let folder = bench.folder(&format!("start-{run}"))?;
            let (pod, log) = Bench::pod(&folder)?;
            write_line(&log, "{\"level\":\"info\",\"msg\":\"a line\"}")?;
            let mut sidecar = bench.start(&folder, &pod, Peers::only(&sink))?;
            let first =
                interrupt::poll_until(READ_BOUND, PAUSE, || sidecar.start_to_first_read_ms())?
                    .context("the sidecar does not read its log")?;
            sidecar.stop()?;
            Ok(first)
        })
        .collect()
}

/// So that every peer has been spoken to.
const SPAN: &[u8] = br#"[{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a2fb4a1d1a96d312","timestamp":1795406976147291,"duration":1,"name":"resourcesready","localEndpoint":{"serviceName":"orchestrator.emco"}}]"#;

/// Memory in bytes and wake-ups a second of sidecars that rest side by side, all peers connected.
pub(super) fn rest(bench: &Bench<'_>, lab: &Path, runs: u32) -> Result<(Samples, Samples)> {
    let home = bench.folder("rest")?;
    let lab = Lab::start(lab, &home, &Feeds::default())?;
    let collector = Collector::start()?;
    let peers = Peers {
        hub: Some(lab.http),
        forward: Some(lab.forward),
        elastic: Some(lab.http),
        otlp: Some(collector.address()),
        otlp_noise: None,
    };
    let mut span = [Body::read(SPAN.to_vec())?];
    let mut sidecars = Vec::new();
    for run in 0..runs {
        let folder = bench.folder(&format!("rest/{run}"))?;
        let (pod, log) = Bench::pod(&folder)?;
        write_line(&log, "{\"level\":\"info\",\"msg\":\"a line\"}")?;
        let sidecar = bench.start(&folder, &pod, peers)?;
        Sender::new(sidecar.settings().spans)?.send(&mut span, 1)?;
        sidecars.push(sidecar);
    }
    interrupt::wait(SETTLE)?;
    let switches = |pid| proc::voluntary_switches(pid).context("read the switches of a sidecar");
    let mut before = Vec::new();
    for sidecar in &sidecars {
        let pid = sidecar.id()?;
        before.push((pid, switches(pid)?, Instant::now()));
    }
    interrupt::wait(REST)?;
    let (mut memory, mut wakeups) = (Vec::new(), Vec::new());
    for (pid, count, since) in before {
        let woken = switches(pid)?.saturating_sub(count);
        wakeups.push(from_count(woken) / since.elapsed().as_secs_f64());
        let resident = proc::resident_bytes(pid).context("read the memory of a sidecar")?;
        memory.push(from_count(resident));
    }
    for sidecar in &mut sidecars {
        sidecar.stop()?;
    }
    Ok((memory.into_iter().collect(), wakeups.into_iter().collect()))
}
