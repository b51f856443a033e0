//! Builds what ships: one static binary, or loudly something else.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Tool};
use crate::{child, say, workspace};

const TARGET: &str = "x86_64-unknown-linux-musl";
const BUILD_BOUND: Duration = Duration::from_mins(30);
const INSTALL_BOUND: Duration = Duration::from_mins(5);
const REVISION_BOUND: Duration = Duration::from_secs(10);

/// A built sidecar.
#[derive(Debug)]
pub(crate) struct Built {
    /// The binary.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Whether it is what ships.
    pub(crate) is_static: bool,
}

/// Builds and reports.
pub(crate) fn run() -> Result<ExitCode> {
    let built = build()?;
    say::result(format_args!(
        "{} {} bytes{}",
        built.path.display(),
        built.bytes,
        if built.is_static { "" } else { " (not static)" }
    ));
    Ok(ExitCode::SUCCESS)
}

/// Builds the sidecar for musl; where that cannot be had, for the host, and says so.
pub(crate) fn build() -> Result<Built> {
    match prepare() {
        Ok(()) => {
            cargo_build(&["--profile", "dist", "--target", TARGET])?;
            let path = format!("{TARGET}/dist/emco-observer");
            built(workspace::target().join(path), true)
        }
        Err(error) => {
            say::note(format_args!("dist: {error:#}"));
            say::note(format_args!(
                "dist: NOT THE SHIPPED FORM: building for the host with its C library instead"
            ));
            cargo_build(&["--release"])?;
            built(workspace::target().join("release/emco-observer"), false)
        }
    }
}

/// Makes sure that the target and a C compiler for it are there.
fn prepare() -> Result<()> {
    if !has_target()? {
        let mut add = Command::new("rustup");
        add.args(["target", "add", TARGET])
            .current_dir(workspace::root());
        child::output("rustup target add", &mut add, INSTALL_BOUND)
            .with_context(|| format!("install the target with `rustup target add {TARGET}`"))?;
    }
    apt::ensure(&[Tool {
        program: "musl-gcc",
        package: "musl-tools",
    }])
}

fn has_target() -> Result<bool> {
    let mut list = Command::new("rustup");
    list.args(["target", "list", "--installed"])
        .current_dir(workspace::root());
    let targets = child::output("rustup target list", &mut list, INSTALL_BOUND)
        .context("ask rustup for its targets")?;
    Ok(targets.lines().any(|line| line.trim() == TARGET))
}

fn cargo_build(arguments: &[&str]) -> Result<()> {
    let mut command = workspace::cargo();
    command
        .args(["build", "--locked", "--package", "agent"])
        .args(["--bin", "emco-observer"])
        .args(arguments);
    if let Some(revision) = revision() {
        command.env("EMCO_OBSERVER_REVISION", revision);
    }
    let finished = child::run_shown("cargo build", &mut command, BUILD_BOUND, |_| false)?;
    if !finished.status.success() {
        bail!("cargo build failed with {}", finished.status);
    }
    Ok(())
}

/// What is built: the commit, and whether files differ from it. Not known outside a checkout.
fn revision() -> Option<String> {
    let mut describe = Command::new("git");
    describe
        .args(["describe", "--always", "--abbrev=12", "--dirty"])
        .current_dir(workspace::root());
    let text = child::output("git describe", &mut describe, REVISION_BOUND).ok()?;
    Some(text.trim().to_owned())
}

/// A sidecar that was built elsewhere.
pub(crate) fn given(path: &Path) -> Result<Built> {
    built(path.to_path_buf(), false)
}

fn built(path: PathBuf, is_static: bool) -> Result<Built> {
    let bytes = std::fs::metadata(&path)
        .with_context(|| format!("look at {}", path.display()))?
        .len();
    Ok(Built {
        path,
        bytes,
        is_static,
    })
}
