//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Ships the logs of one EMCO pod with the person who caused each line.
///
/// The sidecar follows the pod's logs, takes in the spans that EMCO sends to 127.0.0.1:9411, finds
/// out by exclusion which request printed which line, and delivers every line once to Fluentd,
/// Elasticsearch, or both.
#[derive(Debug, Parser)]
#[command(name = "emco-observer", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the sidecar until SIGTERM; then delivers what it can within the grace period.
    ///
    /// Without a file everything comes from the environment: each setting has a variable, e.g.
    /// `EMCO_OBSERVER_SERVICE`, `EMCO_OBSERVER_POD_DIR`, `EMCO_OBSERVER_FORWARD_ADDRESS`.
    /// Variables win over the file.
    Run(Configuration),
    /// Reads the settings as `run` would and says what is wrong with them.
    Check(Configuration),
    /// Asks a running sidecar whether it is alive.
    Probe {
        /// Its admin address.
        #[arg(
            long,
            default_value = "127.0.0.1:9464",
            env = "EMCO_OBSERVER_ADMIN_LISTEN"
        )]
        address: String,
    },
}

/// Where the settings are.
#[derive(Debug, Args)]
pub(crate) struct Configuration {
    /// YAML file with the settings.
    #[arg(long, value_name = "FILE", env = "EMCO_OBSERVER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}
