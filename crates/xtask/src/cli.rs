//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{bench, callmap, configuration, demo, dist, fuzz, peers, report, test, tidy};

/// The project's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the product at work: who did this, on a recorded or generated workload.
    Demo(demo::Args),
    /// Run everything the gate runs.
    Test(test::Args),
    /// Look for inputs that break a promise.
    Fuzz(fuzz::Args),
    /// Check the rules that neither the compiler nor clippy enforces.
    Tidy,
    /// Install the real servers that the tests deliver to.
    Peers(peers::Args),
    /// Measure the product.
    Bench(bench::Args),
    /// Play all recordings and some generated ones; print the tables of docs/benchmarks.md.
    Report(report::Args),
    /// Build what ships: static binaries and their images.
    Dist(dist::Args),
    /// Make the page and the JSON schema of the settings from the types that read them.
    Configuration,
    /// Make the ledger's call map from the analysis of EMCO.
    Callmap,
}

/// Runs the command that was typed.
pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Tidy => tidy::run(),
        Command::Peers(args) => peers::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Dist(args) => dist::run(&args),
        Command::Configuration => configuration::run(),
        Command::Callmap => callmap::run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
