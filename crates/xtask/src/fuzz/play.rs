//! Runs targets, several at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::outcome::Outcome;
use super::{make, package};
use crate::child::{self, Group};
use crate::{interrupt, say};

/// How long one input may take, in seconds, and how much memory the program may have, in MiB.
const INPUT_SECONDS_MAX: u64 = 10;
const MEMORY_MIB_MAX: u64 = 1024;
/// Longest input that is made, in bytes.
const INPUT_BYTES_MAX: usize = 4096;
/// How long a found input is made smaller.
const MINIMISE: Duration = Duration::from_secs(20);
/// What the program may take beyond its time: reading first inputs, the last input.
const GRACE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);

/// How targets are run.
pub(super) struct Play {
    /// The instrumented program.
    pub(super) program: PathBuf,
    /// Where the inputs of the targets are.
    pub(super) corpus: PathBuf,
    /// Where logs and found inputs go.
    pub(super) home: PathBuf,
    /// How long each target runs.
    pub(super) time: Duration,
    /// Where chance begins; anywhere, unless set.
    pub(super) seed: Option<u32>,
}

struct Running {
    target: String,
    log: PathBuf,
    group: Group,
}

impl Play {
    /// Runs all targets, so many at a time.
    pub(super) fn all(&self, targets: &[String], jobs: usize) -> Result<Vec<Outcome>> {
        let mut waiting = targets.iter();
        let mut running: Vec<Running> = Vec::new();
        let mut outcomes = Vec::new();
        let bound = (self.time + GRACE) * u32::try_from(targets.len()).unwrap_or(u32::MAX);
        let done = interrupt::poll_until(bound, POLL, || {
            while running.len() < jobs.max(1)
                && let Some(target) = waiting.next()
            {
                say::note(format_args!("fuzzing {target} for {:?}", self.time));
                running.push(self.start(target)?);
            }
            let mut index = 0;
            while let Some(one) = running.get_mut(index) {
                match one.group.try_wait()? {
                    Some(status) => {
                        let one = running.swap_remove(index);
                        outcomes.push(one.outcome(status.success())?);
                    }
                    None => index += 1,
                }
            }
            Ok((running.is_empty() && waiting.len() == 0).then_some(()))
        })?;
        done.with_context(|| format!("the targets did not end within {bound:?}"))?;
        outcomes.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(outcomes)
    }

    fn start(&self, target: &str) -> Result<Running> {
        let (corpus, logs) = (self.corpus.join(target), self.home.join("logs"));
        for folder in [&corpus, &logs, &self.home.join("found")] {
            make(folder)?;
        }
        let log = logs.join(format!("{target}.log"));
        remove_file(&log)?;
        let output = child::log_file(&log)?;
        let errors = output.try_clone().context("share the log")?;
        let found = self.home.join("found").join(format!("{target}-"));
        let mut command = self.command(target, self.time);
        command
            .arg(format!("-artifact_prefix={}", found.display()))
            .arg("-print_funcs=0")
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(&corpus)
            .arg(package().join("seeds").join(target));
        let regressions = package().join("regressions").join(target);
        if regressions.is_dir() {
            command.arg(regressions);
        }
        command.stdout(output).stderr(errors);
        Ok(Running {
            target: target.to_owned(),
            log,
            group: Group::spawn(target, &mut command)?,
        })
    }

    fn command(&self, target: &str, time: Duration) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.home)
            .env("EMCO_FUZZ_TARGET", target)
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        if let Some(seed) = self.seed {
            command.arg(format!("-seed={seed}"));
        }
        command
    }

    /// Makes an input that broke something as small as it gets in a short time; the input itself
    /// where that fails.
    pub(super) fn minimise(&self, target: &str, input: &Path) -> Result<PathBuf> {
        say::note(format_args!("making {} smaller", input.display()));
        let smallest = input.with_extension("min");
        std::fs::copy(input, &smallest).with_context(|| format!("copy {}", input.display()))?;
        let mut command = self.command(target, MINIMISE);
        command
            .arg("-minimize_crash=1")
            .arg(format!("-exact_artifact_path={}", smallest.display()))
            .arg(input);
        let logs = child::log_file(&self.home.join("logs/minimise.log"))?;
        command
            .stdout(logs.try_clone().context("share the log")?)
            .stderr(logs);
        let mut group = Group::spawn("libFuzzer", &mut command)?;
        // Whatever its status: the smallest input so far is where it has to be.
        group.wait(MINIMISE + GRACE)?;
        if self.breaks(target, &smallest)? {
            Ok(smallest)
        } else {
            Ok(input.to_path_buf())
        }
    }

    /// Whether an input breaks something.
    fn breaks(&self, target: &str, input: &Path) -> Result<bool> {
        let log = child::log_file(&self.home.join("logs/minimise.log"))?;
        let mut command = self.command(target, MINIMISE);
        command.arg(input).stderr(log);
        let mut group = Group::spawn("libFuzzer", &mut command)?;
        Ok(!group.wait(GRACE)?.success())
    }
}

impl Running {
    fn outcome(self, success: bool) -> Result<Outcome> {
        let text =
            std::fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        let text = String::from_utf8_lossy(&text);
        Ok(Outcome::read(&self.target, &self.log, &text, success))
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
