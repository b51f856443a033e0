//! Every chore of the project: nothing is needed but cargo.
//!
//! | command | does |
//! |---|---|
//! | `demo` | the product at work on a recorded or generated workload; `--once` proves it |
//! | `test` | everything the gate runs, one closing line |
//! | `fuzz` | looks for inputs that break a promise |
//! | `tidy` | the rules that neither the compiler nor clippy enforces |
//! | `peers` | installs the real servers the tests deliver to |
//! | `bench` | measures the sidecar |
//! | `report` | plays all recordings and prints the tables of `docs/benchmarks.md` |
//! | `dist` | builds what ships: static programs, their images, bills of materials |
//! | `configuration` | makes the pages and the schemas of the settings and of the chart's values |
//! | `callmap` | makes the ledger's call map |
//!
//! Knows the programs only from outside: their command lines, files and protocols.

mod apt;
mod bench;
mod callmap;
mod chart;
mod child;
mod cli;
mod configuration;
mod demo;
mod dist;
mod folder;
mod fuzz;
mod heard;
mod http;
mod interrupt;
mod peers;
mod proc;
mod report;
mod say;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    match interrupt::install().and_then(|()| cli::run()) {
        Ok(code) => code,
        Err(error) => {
            say::note(format_args!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
