//! One sidecar of the run, through all of its lives.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Serialize;

use super::exposition::Reading;
use super::settings::Settings;
use crate::child::{Group, log_file};
use crate::{interrupt, proc, say};

const START_BOUND: Duration = Duration::from_secs(10);
const DRAIN_BOUND: Duration = Duration::from_secs(30);
const KILL_BOUND: Duration = Duration::from_secs(5);
const FIRST_READ: &str = "emco_observer_process_first_read_time_seconds";
const PAUSE: Duration = Duration::from_millis(10);
/// Spans left out of the export, by `reason`; where that is noise it is the name of a rule.
const NOT_EXPORTED: &str = "emco_observer_otlp_dropped_spans_total";
/// Noise that was kept, by `rule`: names every rule there is.
const NOISE_KEPT: &str = "emco_observer_otlp_noise_kept_spans_total";

/// What a sidecar cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// Its service.
    pub(crate) service: String,
    /// CPU time of all lives.
    pub(crate) cpu_seconds: f64,
    /// The part for lines, as it says itself.
    pub(crate) cpu_seconds_lines: f64,
    /// The part for spans, as it says itself.
    pub(crate) cpu_seconds_spans: f64,
    /// Largest memory of any life.
    pub(crate) peak_rss_bytes: u64,
    /// From the start of its first life, or from its first line if that came later, to its first
    /// read.
    pub(crate) start_to_first_read_ms: Option<f64>,
}

/// What it did with spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spans {
    /// Received in whole.
    pub(crate) received: u64,
    /// Kept.
    pub(crate) kept: u64,
    /// Left out because a rule says they are noise.
    pub(crate) dropped_by_rule: u64,
    /// Taken by the receiver of traces.
    pub(crate) exported: u64,
    /// Left out of the export, by a noise rule or for another reason.
    pub(crate) not_exported: u64,
}

/// A sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    program: PathBuf,
    settings: Settings,
    config: PathBuf,
    log: PathBuf,
    group: Option<Group>,
    started: SystemTime,
    lives: u32,
    cost: Cost,
    spans: Spans,
    /// When its first life began and first read, in seconds since the epoch.
    first_life: Option<(f64, f64)>,
}

impl Sidecar {
    /// Writes its settings and starts it.
    pub(crate) fn start(program: &Path, folder: &Path, settings: Settings) -> Result<Self> {
        let config = folder.join(format!("{}.yaml", settings.service));
        File::create(&config)
            .and_then(|mut file| file.write_all(settings.to_yaml().as_bytes()))
            .with_context(|| format!("write {}", config.display()))?;
        std::fs::create_dir_all(&settings.state_dir)
            .with_context(|| format!("make {}", settings.state_dir.display()))?;
        let mut sidecar = Self {
            program: program.to_path_buf(),
            log: folder.join(format!("{}.log", settings.service)),
            cost: Cost {
                service: settings.service.clone(),
                ..Cost::default()
            },
            settings,
            config,
            group: None,
            started: UNIX_EPOCH,
            lives: 0,
            spans: Spans::default(),
            first_life: None,
        };
        sidecar.begin()?;
        Ok(sidecar)
    }

    /// Its service.
    pub(crate) fn service(&self) -> &str {
        &self.settings.service
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Result<u32> {
        let group = self.group.as_ref();
        group.map(Group::id).context("the sidecar is not running")
    }

    /// Milliseconds from its start to its first read, once it has read.
    pub(crate) fn start_to_first_read_ms(&self) -> Result<Option<f64>> {
        let first_read = Reading::of(self.settings.admin)?.sum(FIRST_READ, "");
        Ok((first_read > 0.0).then(|| (first_read - unix_seconds(self.started)).max(0.0) * 1e3))
    }

    /// Spans that it has still to export.
    pub(crate) fn waiting_spans(&self) -> Result<u64> {
        let reading = Reading::of(self.settings.admin)?;
        Ok(reading.count("emco_observer_otlp_waiting_spans", ""))
    }

    /// Its settings.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Waits until it answers on its admin address.
    pub(crate) fn wait_until_up(&mut self) -> Result<()> {
        let answered = interrupt::poll_until(START_BOUND, PAUSE, || {
            self.check()?;
            Ok(Reading::of(self.settings.admin).ok())
        })?;
        match answered {
            Some(_) => Ok(()),
            None => bail!(
                "{} does not answer: see {}",
                self.name(),
                self.log.display()
            ),
        }
    }

    /// Checks that it still runs, and notes its memory.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(group) = &mut self.group else {
            bail!("the sidecar of {} is not running", self.settings.service);
        };
        if let Some(status) = group.try_wait()? {
            bail!(
                "{} ended with {status}: see {}",
                self.name(),
                self.log.display()
            );
        }
        if let Some(peak) = proc::peak_resident_bytes(group.id()) {
            self.cost.peak_rss_bytes = self.cost.peak_rss_bytes.max(peak);
        }
        Ok(())
    }

    /// Ends it with SIGKILL and starts it again at once.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.end(Signal::KILL, KILL_BOUND)?;
        self.begin()
    }

    /// Asks it to drain and end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.end(Signal::TERM, DRAIN_BOUND)
    }

    /// What all its lives cost and what they did with spans. `first_line` is when the first line of
    /// its pod was written, in seconds since the epoch: before that there is nothing to read.
    pub(crate) fn finish(self, first_line: Option<f64>) -> (Cost, Spans) {
        let first_read = self.first_life.map(|(started, first_read)| {
            let begin = first_line.map_or(started, |line| started.max(line));
            (first_read - begin).max(0.0) * 1e3
        });
        let cost = Cost {
            start_to_first_read_ms: first_read,
            ..self.cost
        };
        (cost, self.spans)
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .arg("--config")
            .arg(&self.config)
            .stdout(Stdio::from(log_file(&self.log)?))
            .stderr(Stdio::from(log_file(&self.log)?));
        self.started = SystemTime::now();
        self.lives += 1;
        self.group = Some(Group::spawn(&self.name(), &mut command)?);
        Ok(())
    }

    fn end(&mut self, signal: Signal, bound: Duration) -> Result<()> {
        self.check()?;
        self.account();
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        group.signal(signal)?;
        let ended = group.wait_unreaped(bound);
        self.cost.cpu_seconds += proc::cpu_seconds(group.id()).unwrap_or(0.0);
        ended
    }

    /// Adds what this life counted; a life that does not answer any more is left out, and said so.
    fn account(&mut self) {
        let reading = match Reading::of(self.settings.admin) {
            Ok(reading) => reading,
            Err(error) => {
                say::note(format_args!("{}: {error:#}", self.name()));
                return;
            }
        };
        let cpu = "emco_observer_process_work_cpu_seconds_total";
        self.cost.cpu_seconds_lines += reading.sum(cpu, "work=\"lines\"");
        self.cost.cpu_seconds_spans += reading.sum(cpu, "work=\"spans\"");
        let received = reading.count("emco_observer_in_spans_received_spans_total", "");
        let dropped =
            |reason: &str| reading.count("emco_observer_in_spans_dropped_spans_total", reason);
        self.spans.received += received;
        self.spans.kept += received.saturating_sub(dropped(""));
        let by_rule = dropped_by_rule(&reading);
        self.spans.kept = self.spans.kept.saturating_sub(by_rule);
        self.spans.dropped_by_rule += by_rule;
        self.spans.exported += reading.count("emco_observer_otlp_exported_spans_total", "");
        self.spans.not_exported += reading.count(NOT_EXPORTED, "");
        let first_read = reading.sum(FIRST_READ, "");
        if self.lives == 1 && first_read > 0.0 {
            self.first_life = Some((unix_seconds(self.started), first_read));
        }
    }

    fn name(&self) -> String {
        format!("emco-observer ({})", self.settings.service)
    }
}

fn dropped_by_rule(reading: &Reading) -> u64 {
    let rules = reading.values(NOISE_KEPT, "rule");
    rules
        .iter()
        .map(|rule| reading.count(NOT_EXPORTED, &format!("reason=\"{rule}\"")))
        .sum()
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rule_dropped_is_dropped_by_rule() {
        let reading = Reading::from_text(
            "emco_observer_otlp_noise_kept_spans_total{rule=\"scrape\"} 0\n\
             emco_observer_otlp_noise_kept_spans_total{rule=\"to_come\"} 3\n\
             emco_observer_otlp_dropped_spans_total{reason=\"scrape\"} 5\n\
             emco_observer_otlp_dropped_spans_total{reason=\"to_come\"} 7\n\
             emco_observer_otlp_dropped_spans_total{reason=\"refused\"} 11\n",
        );
        assert_eq!(dropped_by_rule(&reading), 12);
    }
}
