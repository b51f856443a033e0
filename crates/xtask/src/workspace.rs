//! Where things are, and what cargo knows of the workspace.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::child;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where xtask keeps what it installs and makes; not part of the repository.
pub(crate) fn cache() -> PathBuf {
    root().join(".cache")
}

/// The recorded corpus beside the workspace, if it is there.
pub(crate) fn corpus() -> Option<PathBuf> {
    let folder = root().join("../shared/corpus");
    folder.is_dir().then_some(folder)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Whether the gate runs unattended.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Cargo, called in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Largest file that is read as a whole, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads a text file, within a bound.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("read {}", path.display()))?;
    Ok(text)
}

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
        .with_context(|| format!("read {}", path.display()))?;
    ensure!(
        u64::try_from(bytes.len())? <= bytes_max,
        "{} has more than {bytes_max} bytes",
        path.display()
    );
    Ok(bytes)
}

/// The part of `cargo metadata` that we read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// All packages of the resolution; with `--no-deps` the workspace's own.
    pub(crate) packages: Vec<Package>,
}

/// A package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// SPDX expression.
    pub(crate) license: Option<String>,
    /// What it needs.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
}

/// One dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// Name of the package.
    pub(crate) name: String,
    /// Nothing, `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Where it is, if it is one of ours.
    pub(crate) path: Option<PathBuf>,
}

/// Asks cargo; `arguments` narrow the answer.
pub(crate) fn metadata(arguments: &[&str]) -> Result<Metadata> {
    let mut command = cargo();
    command
        .args(["metadata", "--format-version", "1", "--locked", "--quiet"])
        .args(arguments);
    let text = child::output("cargo metadata", &mut command, Duration::from_mins(2))?;
    serde_json::from_str(&text).context("understand the answer of cargo metadata")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_where_the_workspace_manifest_is() {
        assert!(root().join("Cargo.toml").is_file());
        assert!(root().join("crates/xtask/Cargo.toml").is_file());
    }
}
