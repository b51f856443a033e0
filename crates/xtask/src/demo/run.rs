//! One run from the first start to the last receipt.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use testkit::manifest::{Expected, Pod};
use testkit::oracle::Lane;

use super::args::{Args, LaneName};
use super::beside::Neighbours;
use super::build::Programs;
use super::corpus::Corpus;
use super::judge::{self, Case, Outcome};
use super::kills::Schedule;
use super::lab::{Feeds, Lab};
use super::letters;
use super::ports::Ports;
use super::real::RealPeers;
use super::receipts::{Receipts, Source};
use super::replay::{Plan, Replay};
use super::settings::Settings;
use super::sidecar::{Cost, Sidecar, Spans};
use super::traces::Traces;
use crate::folder::Folder;
use crate::{interrupt, say};

const TICK: Duration = Duration::from_millis(50);
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How long nothing may arrive before what is missing counts as lost: twice as long as a line may wait
/// for evidence.
const QUIET_BOUND: Duration = Duration::from_secs(40);
/// How long the lanes may take to become level after the last line.
const LEVEL_BOUND: Duration = Duration::from_mins(5);
const FETCH_PAUSE: Duration = Duration::from_millis(500);

/// A run.
pub(crate) struct Run<'a> {
    args: &'a Args,
    corpus: PathBuf,
    lines: u64,
    // In this order they end: the workload first, the lab last.
    replay: Replay,
    sidecars: Vec<Sidecar>,
    receipts: Vec<Receipts>,
    state: PathBuf,
    _real: Option<RealPeers>,
    lab: Lab,
    _neighbours: Neighbours,
    schedule: Schedule,
}

impl<'a> Run<'a> {
    /// Starts the lab, a sidecar a service, and the workload.
    pub(crate) fn start(
        args: &'a Args,
        programs: &Programs,
        folder: &Folder,
        corpus: &Corpus,
    ) -> Result<Self> {
        let folder = folder.path();
        let plan = Plan {
            program: &programs.lab,
            corpus: &corpus.folder,
            out: folder.join("pods"),
            args,
        };
        let mut ports = Ports::new();
        let places = places(&plan, &mut ports)?;
        let scrape: Vec<_> = places
            .iter()
            .map(|place| (place.pod.service.clone(), place.admin))
            .collect();
        let neighbours = Neighbours::start(&args.with, folder, &scrape)?;
        let feeds = Feeds {
            scrape,
            relay: neighbours.traces(),
        };
        let lab = Lab::start(&programs.lab, folder, &feeds)?;
        let state = folder.join("state");
        let real = args
            .real_peers
            .then(|| RealPeers::start(folder, &mut ports))
            .transpose()?;
        let forward = real.as_ref().map_or(lab.forward, |real| real.forward);
        let elastic = real.as_ref().map_or(lab.http, |real| real.elasticsearch);
        let has = |lane| args.lanes.contains(&lane);
        let mut sidecars = Vec::new();
        for place in places {
            let settings = Settings {
                state_dir: state.join(&place.pod.service),
                service: place.pod.service,
                pod_dir: place.pod.directory.into(),
                spans: place.spans,
                admin: place.admin,
                wait: args.wait.clone(),
                hub: Some(lab.http),
                forward: has(LaneName::Forward).then_some(forward),
                elastic: has(LaneName::Elastic).then_some(elastic),
                otlp: Some(lab.http),
                otlp_noise: None,
            };
            sidecars.push(Sidecar::start(&programs.observer, folder, settings)?);
        }
        for sidecar in &mut sidecars {
            sidecar.wait_until_up()?;
        }
        let addresses: Vec<_> = sidecars
            .iter()
            .map(|sidecar| (sidecar.service(), sidecar.settings().spans))
            .collect();
        let replay = plan.start(folder, lab.http, &addresses)?;
        say::note(format_args!("{} sidecars run", sidecars.len()));
        say::note(format_args!("the page: http://{}/", lab.http));
        neighbours.announce();
        let seed = args.seed.unwrap_or(1);
        Ok(Self {
            schedule: Schedule::new(args.kill, corpus.lines, sidecars.len(), seed),
            args,
            corpus: corpus.folder.clone(),
            lines: corpus.lines,
            replay,
            sidecars,
            receipts: receipts(args, &lab, real.as_ref()),
            state,
            _real: real,
            lab,
            _neighbours: neighbours,
        })
    }

    /// Waits until the workload was played to its end, killing sidecars as planned.
    pub(crate) fn play(&mut self) -> Result<()> {
        let (start, mut noted) = (Instant::now(), Instant::now());
        loop {
            let ended = self.replay.ended()?;
            let written = self.replay.written()?;
            while let Some(kill) = self.schedule.due(written) {
                if let Some(sidecar) = self.sidecars.get_mut(kill.sidecar) {
                    sidecar.kill_and_restart()?;
                    let service = sidecar.service();
                    say::note(format_args!(
                        "killed and restarted {service} at line {written}"
                    ));
                }
            }
            let line = self.progress(written, start);
            say::progress(&line);
            if noted.elapsed() >= NOTE_EVERY || ended.is_some() {
                noted = Instant::now();
                say::note(format_args!("\r{line:<78}"));
            }
            if let Some(status) = ended {
                let log = self.replay.log.display();
                ensure!(
                    status.success(),
                    "emco-lab replay ended with {status}: see {log}"
                );
                return Ok(());
            }
            self.check()?;
            interrupt::wait(TICK)?;
        }
    }

    /// Keeps the page until Ctrl-C.
    pub(crate) fn serve(mut self) -> Result<ExitCode> {
        say::note(format_args!(
            "the workload has ended; the page stays at http://{}/ until Ctrl-C",
            self.lab.http
        ));
        while interrupt::wait(NOTE_EVERY).is_ok() {
            self.check()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Waits until everything has arrived or nothing more does, ends the sidecars and judges.
    pub(crate) fn finish(mut self, workload: String) -> Result<Outcome> {
        if self.schedule.left() > 0 {
            bail!("{} kills were not done", self.schedule.left());
        }
        let expected = self.replay.expected()?;
        let is_complete = expected.summary().is_some_and(|summary| summary.complete);
        ensure!(is_complete, "the workload was not played to its end");
        let mut receipts = std::mem::take(&mut self.receipts);
        self.wait_until_level(&mut receipts, &expected)?;
        self.wait_for_spans()?;
        for sidecar in &mut self.sidecars {
            sidecar.stop()?;
        }
        for lane in &mut receipts {
            lane.settle()?;
        }
        let sidecars = costs(self.sidecars, &expected);
        Ok(judge::judge(Case {
            traces: Traces::of(self.lab.http, &self.corpus, &sidecars, &expected)?,
            expected: &expected,
            receipts: &receipts,
            dead_letters: &letters::find(&self.state, &self.args.lanes),
            sidecars,
            workload,
            kills: self.args.kill,
        }))
    }

    fn wait_until_level(&mut self, receipts: &mut [Receipts], expected: &Expected) -> Result<()> {
        let written = expected.records().len();
        let mut arrived = vec![0; receipts.len()];
        let mut newest = Instant::now();
        interrupt::poll_until(LEVEL_BOUND, FETCH_PAUSE, || {
            self.check()?;
            for (lane, arrived) in receipts.iter_mut().zip(&mut arrived) {
                if lane.fetch()? {
                    newest = Instant::now();
                    *arrived = count_arrived(lane, expected);
                }
            }
            let least = arrived.iter().copied().min().unwrap_or(written);
            say::progress(&format!("{least} of {written} lines have arrived"));
            let is_over = least >= written || newest.elapsed() > QUIET_BOUND;
            Ok(is_over.then_some(()))
        })?;
        Ok(())
    }

    /// Waits until every span is exported, or nobody takes them any more.
    fn wait_for_spans(&mut self) -> Result<()> {
        let mut least = u64::MAX;
        let mut newest = Instant::now();
        interrupt::poll_until(LEVEL_BOUND, FETCH_PAUSE, || {
            self.check()?;
            let waiting = self.sidecars.iter().map(Sidecar::waiting_spans);
            let waiting = waiting.sum::<Result<u64>>()?;
            if waiting < least {
                least = waiting;
                newest = Instant::now();
            }
            say::progress(&format!("{waiting} spans are to be exported"));
            let is_over = waiting == 0 || newest.elapsed() > QUIET_BOUND;
            Ok(is_over.then_some(()))
        })?;
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.lab.check()?;
        self.sidecars.iter_mut().try_for_each(Sidecar::check)
    }

    fn progress(&self, written: u64, start: Instant) -> String {
        format!(
            "{:>4} s  {written} of {} lines written, page http://{}/",
            start.elapsed().as_secs(),
            self.lines,
            self.lab.http
        )
    }
}

/// Where a sidecar stands and listens.
struct Place {
    pod: Pod,
    spans: SocketAddr,
    admin: SocketAddr,
}

fn places(plan: &Plan<'_>, ports: &mut Ports) -> Result<Vec<Place>> {
    let pods = plan.pods()?.into_iter();
    pods.map(|pod| {
        Ok(Place {
            pod,
            spans: ports.take()?,
            admin: ports.take()?,
        })
    })
    .collect()
}

/// What is asked for what each lane has delivered.
fn receipts(args: &Args, lab: &Lab, real: Option<&RealPeers>) -> Vec<Receipts> {
    let source = |lane| match (real, lane) {
        (None, _) => Source::Lab(lab.http),
        (Some(real), LaneName::Forward) => Source::File(real.entries.clone()),
        (Some(real), LaneName::Elastic) => Source::Elasticsearch(real.elasticsearch),
    };
    let lanes = args.lanes.iter();
    lanes
        .map(|lane| Receipts::new(*lane, source(*lane)))
        .collect()
}

fn count_arrived(receipts: &Receipts, expected: &Expected) -> usize {
    let mut lane = Lane::new(expected);
    for line in &receipts.lines {
        lane.receive(line);
    }
    lane.arrived()
}

fn costs(sidecars: Vec<Sidecar>, expected: &Expected) -> Vec<(Cost, Spans)> {
    let finish = |sidecar: Sidecar| {
        let records = expected.records().iter();
        let written = records
            .filter(|record| record.service == sidecar.service())
            .map(|record| record.written_ns);
        let first = written
            .min()
            .map(|nanos| Duration::from_nanos(nanos).as_secs_f64());
        sidecar.finish(first)
    };
    sidecars.into_iter().map(finish).collect()
}
