//! Everything the gate runs, one after another; a failed step does not hide the ones behind it.
//! Ends with one line, `N passed, N failed`: each test counts, and each step that is not made of
//! tests counts as one.

mod count;
mod steps;

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{interrupt, peers, say};

pub(crate) use count::Count;

/// What `cargo xtask test` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also build what ships.
    #[arg(long)]
    full: bool,
}

/// One step.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    run: fn() -> Result<Count>,
}

struct Done {
    name: &'static str,
    count: Count,
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
    say::result(format_args!("{total}"));
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn perform(step: Step) -> Done {
    let start = Instant::now();
    let count = (step.run)().unwrap_or_else(|error| {
        say::note(format_args!("{}: {error:#}", step.name));
        Count::FAILED
    });
    let done = Done {
        name: step.name,
        count,
        time: start.elapsed(),
    };
    say::note(format_args!("{done}"));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_breaks_counts_as_failed() {
        let done = perform(Step {
            name: "broken",
            run: || anyhow::bail!("no such program"),
        });
        assert_eq!(done.count, Count::FAILED);
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
