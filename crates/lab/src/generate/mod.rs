//! The command `emco-lab generate`: makes a small recording, with the truth about every line, from a
//! seed.
//!
//! ```text
//! Plan ─▶ world (who asks what) ─▶ request (gateway, proxy) ─▶ handlers ─▶ flow (lines, spans) ─▶ Recording ─▶ files
//! ```
//!
//! The recording has the layout of real ones, EMCO's own dialects and call sites, several users who
//! act on the same objects, deployments that cross from orchestrator to rsync and go on there
//! without a request, a metrics poller, and callers inside the mesh whose user nobody proves. The
//! same seed makes the same bytes.
//!
//! It deliberately knows nothing of attribution: causes are what they are because of the way the
//! work is made, not because of how it could be found out.

mod files;
mod flow;
mod orchestrator;
mod others;
mod recording;
mod request;
mod rsync;
mod sites;
#[cfg(test)]
mod tests;
mod world;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use world::Plan;

/// What `emco-lab generate` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Makes everything in the recording; the same number makes the same recording.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Folder that gets the recording.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How many requests to make in a minute.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub requests: u32,
    /// How many people ask.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub users: u32,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let made = tokio::task::spawn_blocking(move || generate(&args));
    let text = made.await.context("generating the recording")??;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").context("writing to standard output")
}

/// Makes the recording; answers its counts.
pub(crate) fn generate(args: &Args) -> anyhow::Result<String> {
    let plan = Plan {
        seed: args.seed,
        requests: usize::try_from(args.requests)?,
        users: usize::try_from(args.users)?,
    };
    let stats = files::write(&args.out, world::play(plan), args.seed)?;
    serde_json::to_string(&stats).context("writing the counts")
}
