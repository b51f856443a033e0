//! Real servers that the tests deliver to.

mod elasticsearch;
mod forward;
mod recipe;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::apt::{self, Tool};
use crate::{say, workspace};

/// What the recipes call.
const TOOLS: [Tool; 5] = [
    Tool {
        program: "node",
        package: "nodejs",
    },
    Tool {
        program: "npm",
        package: "npm",
    },
    Tool {
        program: "java",
        package: "default-jdk-headless",
    },
    Tool {
        program: "javac",
        package: "default-jdk-headless",
    },
    Tool {
        program: "mvn",
        package: "maven",
    },
];

/// Where the peers are installed: `EMCO_PEERS_DIR`, or a folder of xtask's own.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("EMCO_PEERS_DIR")
        .map_or_else(|| workspace::cache().join("peers"), PathBuf::from)
}

/// Installs all peers; does nothing where they are there already.
pub(crate) fn run() -> Result<ExitCode> {
    let directory = directory();
    say::note(format_args!("peers: {}", directory.display()));
    apt::ensure(&TOOLS)?;
    forward::install(&directory)?;
    elasticsearch::install(&directory)?;
    Ok(ExitCode::SUCCESS)
}
