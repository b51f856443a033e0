//! Real servers that the tests deliver to.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::{say, workspace};

/// Where the peers are installed: `EMCO_PEERS_DIR`, or a folder of xtask's own.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("EMCO_PEERS_DIR")
        .map_or_else(|| workspace::cache().join("peers"), PathBuf::from)
}

/// Installs all peers.
pub(crate) fn run() -> Result<ExitCode> {
    say::note(format_args!("peers: {}", directory().display()));
    Ok(ExitCode::SUCCESS)
}
