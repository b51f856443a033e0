//! The product at work.
use anyhow::Result;
use std::process::ExitCode;
/// What `cargo xtask demo` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
/// Runs it.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    anyhow::bail!("this build has no demo")
}
