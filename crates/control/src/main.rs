//! `emco-observer-control`: puts the sidecar into EMCO's pods.

use std::process::ExitCode;

use clap::Parser as _;
use control::cli::Arguments;

// musl's own is half as fast at reviews
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    control::command::execute(Arguments::parse())
}
