//! The programs of the demo: built in their release form, with cargo's own progress.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::child::Group;
use crate::{say, workspace};

const BUILD_BOUND: Duration = Duration::from_mins(30);
const GENERATE_BOUND: Duration = Duration::from_mins(2);

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `emco-observer`.
    pub(crate) observer: PathBuf,
    /// `emco-lab`.
    pub(crate) lab: PathBuf,
}

/// Builds both.
pub(crate) fn build() -> Result<Programs> {
    say::note(format_args!("building emco-observer and emco-lab (once)"));
    run(&mut command())?;
    Ok(programs())
}

/// What builds both.
pub(crate) fn command() -> Command {
    release(&["--bin=emco-observer", "--bin=emco-lab"])
}

/// Builds the lab, for those who have another sidecar.
pub(crate) fn lab() -> Result<Programs> {
    say::note(format_args!("building emco-lab (once)"));
    run(&mut release(&["--bin=emco-lab"]))?;
    Ok(programs())
}

/// Both packages are named whatever is built: what they need is then built in one form for all.
fn release(programs: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command
        .args(["build", "--locked", "--release"])
        .args(["--package=agent", "--package=lab"])
        .args(programs);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = Group::spawn("cargo build", command)?.wait(BUILD_BOUND)?;
    ensure!(status.success(), "cargo build failed with {status}");
    Ok(())
}

fn programs() -> Programs {
    let folder = workspace::target().join("release");
    Programs {
        observer: folder.join("emco-observer"),
        lab: folder.join("emco-lab"),
    }
}

/// Makes a recording from a seed.
pub(crate) fn generate(programs: &Programs, folder: &Path, seed: u64) -> Result<()> {
    say::note(format_args!(
        "there is no recording: generating one from seed {seed}"
    ));
    let mut command = Command::new(&programs.lab);
    command
        .arg("generate")
        .arg("--out")
        .arg(folder)
        .arg("--seed")
        .arg(seed.to_string())
        // what it counted would stand in front of the result
        .stdout(Stdio::null());
    let status = Group::spawn("emco-lab generate", &mut command)?.wait(GENERATE_BOUND)?;
    ensure!(status.success(), "emco-lab generate failed with {status}");
    Ok(())
}
