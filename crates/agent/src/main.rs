//! `emco-observer`: the sidecar beside every EMCO service.

use std::process::ExitCode;

use clap::Parser as _;

mod admin;
mod adoption;
mod claim;
mod cli;
mod command;
mod configuration;
mod environment;
mod evidence;
mod lanes;
mod pace;
mod prepare;
mod probe;
mod process;
mod reception;
mod renewal;
mod rest;
mod resume;
mod rules;
mod run;
mod settings;
mod span_batches;
mod span_fates;
mod span_lane;
mod span_lookup;
mod span_store;
mod units;
mod wrap;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command::execute(cli::Arguments::parse())
}
