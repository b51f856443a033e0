//! `emco-observer-control`: puts the sidecar into EMCO's pods.

use std::process::ExitCode;

use clap::Parser as _;
use control::cli::Arguments;

fn main() -> ExitCode {
    control::command::execute(Arguments::parse())
}
