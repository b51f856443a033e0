//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::prepare::Overlay;
use crate::wrap::BYTES_MAX_DEFAULT;

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
        /// Asks until it answers or this time is over, e.g. `2s`, and succeeds in either case: for a
        /// `postStart` hook, which must never fail.
        #[arg(long, value_name = "TIME")]
        wait: Option<String>,
    },
    /// Runs a command and keeps a copy of its output where a sidecar can read it.
    ///
    /// For pods that may not mount the logs of their node. The command's standard output and error go
    /// where they would have gone, and as `DIR/<n>.log` to the sidecar, whose `logs.pod_dir` is the
    /// directory above DIR; DIR has the container's name. Signals and exit status are the command's; 127
    /// says that there is no such command, 126 that it cannot be run. A copy that cannot be written is
    /// told of on standard error and never holds the command up.
    ///
    ///   emco-observer wrap --output /emco-observer-shared/clm -- ./clm --verbose
    #[command(verbatim_doc_comment)]
    Wrap(Wrap),
    /// Gets a pod ready for a sidecar, as an init container; to be run again at will.
    ///
    /// Fails only if the application would otherwise start without its command or its configuration.
    Prepare(Prepare),
}

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Wrap {
    /// Directory of the copy; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Most bytes of the copy, in five files; the oldest goes first. At least a mebibyte.
    #[arg(long, value_name = "BYTES", default_value_t = BYTES_MAX_DEFAULT)]
    pub(crate) bytes_max: u64,
    /// The command and its arguments, which are not looked at.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// What to get ready.
#[derive(Debug, Args)]
pub(crate) struct Prepare {
    /// Copies this program to DIR/emco-observer, where `wrap` is run from.
    #[arg(long, value_name = "DIR")]
    pub(crate) install: Option<PathBuf>,
    /// Makes a directory in which every user may make the one for the copies of a container.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Vec<PathBuf>,
    /// Copies a configuration of EMCO with `zipkin-ip` 127.0.0.1 and `zipkin-port` 9411, every other
    /// byte as it is; what is no JSON object is copied as it is.
    #[arg(long, value_name = "FROM:TO")]
    pub(crate) overlay: Vec<Overlay>,
}

/// Where the settings are.
#[derive(Debug, Args)]
pub(crate) struct Configuration {
    /// YAML file with the settings.
    #[arg(long, value_name = "FILE", env = "EMCO_OBSERVER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}
