//! `emco-lab`: everything that is needed to see emco-observer at work without any other server.
//!
//! | command | does |
//! |---|---|
//! | `serve` | the embedded backend: forward and bulk in, hub, SQLite with full text, web page |
//! | `replay` | plays a recording of EMCO as if it happened now |
//! | `generate` | makes a small recording with known truth from a seed |
//!
//! It deliberately knows nothing of the sidecar's inside: it meets it only over the same files and
//! protocols as real container runtimes, proxies, Fluentd and Elasticsearch do.

mod generate;
mod replay;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
A whole trial on one machine:
  emco-lab serve --data /tmp/lab                    receive, store and show lines
  emco-lab generate --out /tmp/recording            make a recording, if there is none
  emco-lab replay --corpus /tmp/recording --out /tmp/pods --hub http://127.0.0.1:9200
                                                    write what EMCO would write, as it would

Point one sidecar a service at /tmp/pods and at the addresses that `serve` prints, then open the
printed page.";

/// An embedded backend and an EMCO workload for trying out emco-observer.
#[derive(Debug, Parser)]
#[command(name = "emco-lab", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive lines (Fluent forward, Elasticsearch bulk), keep them in SQLite, show who did what.
    Serve(Box<serve::Args>),
    /// Play a recording of EMCO into log files, spans and access records, shifted to now.
    Replay(replay::Args),
    /// Make a small recording, with the truth about every line, from a seed.
    Generate(generate::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Generate(args) => generate::run(args).await,
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command line tool")]
fn report(error: &anyhow::Error) {
    eprintln!("emco-lab: {error:#}");
}
