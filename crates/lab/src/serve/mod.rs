//! The command `emco-lab serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What `emco-lab serve` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the page, the JSON API, the bulk API and the hub listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9200")]
    listen_http: SocketAddr,
    /// Where the Fluent forward receiver listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:24224")]
    listen_forward: SocketAddr,
    /// Directory of the SQLite store; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "emco-lab-data")]
    data: PathBuf,
    /// JSON file to write the chosen addresses to once both listen.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

/// Runs the command.
#[expect(clippy::unused_async, reason = "all commands have one signature")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::bail!("{args:?}")
}
