//! Everything the gate runs, one after another; a failed step does not hide the ones behind it.
//! Ends with one line, `N passed, N failed`: each test counts, and each step that is not made of
//! tests counts as one. Before that line every failed step says once more why it failed.

mod count;
mod demo;
mod failures;
mod printed;
mod runner;
mod steps;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{interrupt, peers, say};

pub(crate) use count::Count;
pub(crate) use failures::Failures;

/// What `cargo xtask test` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also build what ships, and run it on a node of Kubernetes, which this machine is meanwhile.
    /// Takes root.
    #[arg(long)]
    full: bool,
}

/// One step.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    run: fn(&mut Failures) -> Result<Count>,
}

struct Done {
    name: &'static str,
    count: Count,
    failures: Failures,
    time: Duration,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<22} {:>6} passed {:>4} failed {:>7.1} s",
            self.name,
            self.count.passed,
            self.count.failed,
            self.time.as_secs_f64()
        )
    }
}

/// Runs all steps.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut steps = steps::GATE.to_vec();
    if args.full {
        steps.extend_from_slice(steps::FULL);
    }
    // Held until everything is over: what still runs then ends with it.
    let _peers = peers::begin();
    let mut done = Vec::new();
    for step in steps {
        // Between two steps, and inside each, Ctrl-C ends everything.
        interrupt::wait(Duration::ZERO)?;
        say::note(format_args!("\n=== {} ===", step.name));
        done.push(perform(step));
    }
    let total = done
        .iter()
        .fold(Count::default(), |total, done| total.plus(done.count));
    say::result(format_args!(""));
    for line in &done {
        say::result(format_args!("{line}"));
    }
    for line in what_failed(&done) {
        say::result(format_args!("{line}"));
    }
    say::result(format_args!("{total}"));
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Each failed step with its reasons, in lines.
fn what_failed(done: &[Done]) -> Vec<String> {
    let failed: Vec<&Done> = done.iter().filter(|done| done.count.failed > 0).collect();
    let each = failures::lines_each(failed.len());
    let mut lines = Vec::new();
    for step in failed {
        lines.push(format!("\n=== {} failed ===", step.name));
        if step.failures.is_empty() {
            lines.push("  it did not say why".to_owned());
        }
        let said = step.failures.shown(each);
        lines.extend(said.into_iter().map(|line| format!("  {line}")));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

fn perform(step: Step) -> Done {
    let start = Instant::now();
    let mut failures = Failures::default();
    let count = match (step.run)(&mut failures) {
        Ok(count) => count,
        Err(error) => {
            say::note(format_args!("{}: {error:#}", step.name));
            failures = failures.behind(&error);
            Count::FAILED
        }
    };
    let done = Done {
        name: step.name,
        count,
        failures,
        time: start.elapsed(),
    };
    say::note(format_args!("{done}"));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_breaks_counts_as_failed_and_says_why() {
        let done = perform(Step {
            name: "broken",
            run: |_| anyhow::bail!("no such program"),
        });
        assert_eq!(done.count, Count::FAILED);
        let expected = ["\n=== broken failed ===", "  no such program", ""];
        assert_eq!(what_failed(&[done]), expected);
    }

    #[test]
    fn only_what_failed_is_told_again() {
        let steps: [fn(&mut Failures) -> Result<Count>; 4] = [
            |_| Ok(Count::PASSED),
            |failures| {
                failures.say("a::b\n  it panicked");
                Ok(Count::PASSED.plus(Count::FAILED))
            },
            |_| Ok(Count::FAILED),
            |failures| {
                failures.say("what did not matter");
                Ok(Count::PASSED)
            },
        ];
        let done = steps.map(|run| perform(Step { name: "step", run }));
        assert_eq!(
            what_failed(&done),
            [
                "\n=== step failed ===",
                "  a::b",
                "    it panicked",
                "\n=== step failed ===",
                "  it did not say why",
                "",
            ]
        );
        assert_eq!(what_failed(&done[..1]), [""; 0]);
    }

    #[test]
    fn steps_have_names_of_their_own() {
        let mut names: Vec<_> = steps::GATE
            .iter()
            .chain(steps::FULL)
            .map(|s| s.name)
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
