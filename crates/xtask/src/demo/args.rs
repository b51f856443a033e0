//! What the demo is told.

use std::path::PathBuf;

use clap::ValueEnum;

use super::beside::Beside;

/// What `cargo xtask demo` is told.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Run to the end without a page, then judge what was delivered.
    #[arg(long)]
    pub(crate) once: bool,
    /// The recording to play; without it the traced one beside the workspace, or a generated one.
    #[arg(long, value_name = "DIR")]
    pub(crate) corpus: Option<PathBuf>,
    /// Generate the workload from this seed; also decides which sidecars are killed.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Also fail if attribution is below the floors of the workload.
    #[arg(long, requires = "once")]
    pub(crate) floors: bool,
    /// How to print the result.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
    /// Kill so many random sidecars with SIGKILL on the way, and start each again at once.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) kill: u32,
    /// The destinations.
    #[arg(long, value_name = "LANE,…", value_delimiter = ',', default_values = ["forward", "elastic"])]
    pub(crate) lanes: Vec<LaneName>,
    /// Deliver to real servers of others (installed if they are not there), not to the lab.
    #[arg(long)]
    pub(crate) real_peers: bool,
    /// Start these beside the lab (installed if they are not there) and say where they are.
    #[arg(long, value_name = "PEER,…", value_delimiter = ',')]
    pub(crate) with: Vec<Beside>,
    /// How long a line waits for evidence, e.g. `2s`.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) wait: String,
    /// Play so many times faster than recorded.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Leave out the records that proxies write when a request begins.
    #[arg(long)]
    pub(crate) no_start_records: bool,
    /// Keep everything the run wrote in this folder, which must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum LaneName {
    /// Fluent forward.
    Forward,
    /// Elasticsearch's bulk API.
    Elastic,
}

impl LaneName {
    /// Its name in settings, receipts and results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Elastic => "elastic",
        }
    }
}
