//! The product at work: the lab, a sidecar a service and a workload, on this machine.
//!
//! ```text
//! emco-lab replay ──▶ log files ──▶ emco-observer (one a service) ──▶ emco-lab serve ──▶ page
//!        │            spans ─────▶      ▲      │ hub                        │
//!        └─▶ manifest, truth ───────────┼──────┴────────────────▶ judge ◀───┴ receipts
//!                                       └ killed and started again, if asked for
//! ```
//! The lab takes traces, too, and asks the sidecars for their metrics; with `--with` Jaeger and
//! Prometheus do so beside it. Everything it starts ends with it, whatever the reason.

mod args;
mod beside;
pub(crate) mod build;
pub(crate) mod corpus;
pub(crate) mod exposition;
pub(crate) mod floors;
mod judge;
mod kills;
pub(crate) mod lab;
mod letters;
pub(crate) mod ports;
mod promises;
mod real;
mod receipts;
mod replay;
mod run;
mod sent;
pub(crate) mod settings;
pub(crate) mod sidecar;
mod table;
#[cfg(test)]
mod tests;
mod traces;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

pub(crate) use args::Args;
use args::Output;
use corpus::{Corpus, Origin};
use judge::Outcome;
use run::Run;

use crate::folder::Folder;
use crate::say;

/// Runs the demo.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let origin = corpus::choose_here(args.corpus.as_deref(), args.seed);
    let floors = floors::of(&origin, &args.wait, args.kill > 0).filter(|_| args.floors);
    ensure!(
        floors.is_some() || !args.floors,
        "there are no floors for this recording: leave out --floors"
    );
    let programs = build::build()?;
    let folder = Folder::create(args.keep.as_deref())?;
    let (corpus, workload) = match origin {
        Origin::Recorded(path) => (Corpus::open(&path)?, format!("{}", path.display())),
        Origin::Generated(seed) => {
            let path = folder.path().join("corpus");
            build::generate(&programs, &path, seed)?;
            (Corpus::open(&path)?, format!("generated from seed {seed}"))
        }
    };
    say::note(format_args!(
        "workload: {workload}: {} lines of {}",
        corpus.lines,
        corpus.services.join(", ")
    ));
    let mut run = Run::start(args, &programs, &folder, &corpus)?;
    if !args.once {
        run.play()?;
        return run.serve();
    }
    run.play()?;
    let mut outcome = run.finish(workload)?;
    outcome.hold_to(&floors.unwrap_or_default());
    print(&outcome, args.output)?;
    Ok(if outcome.passed {
        folder.discard();
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(outcome: &Outcome, output: Output) -> Result<()> {
    match output {
        Output::Table => say::result(format_args!("{}", table::render(outcome))),
        Output::Json => {
            let text = serde_json::to_string_pretty(outcome).context("render the result")?;
            say::result(format_args!("{text}"));
        }
    }
    Ok(())
}
