//! The command `emco-lab replay`.

/// What `emco-lab replay` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
#[expect(clippy::unused_async, reason = "all commands have one signature")]
pub(crate) async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("this build has no replay")
}
