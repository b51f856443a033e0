//! The steps of the gate, each with a bound of its own.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::{Count, Step};
use crate::demo::build;
use crate::peers::Peer;
use crate::{child, fuzz, peers, say, tidy, workspace};

const NEXTEST: &str = "0.9.151";

/// What every change has to pass.
pub(super) const GATE: &[Step] = &[
    Step {
        name: "fmt",
        run: fmt,
    },
    Step {
        name: "tidy",
        run: run_tidy,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "corpus",
        run: corpus,
    },
    Step {
        name: "docs",
        run: docs,
    },
    Step {
        name: "release build",
        run: release_build,
    },
    Step {
        name: "peers",
        run: install_peers,
    },
    Step {
        name: "image",
        run: image,
    },
    Step {
        name: "tests",
        run: tests,
    },
    Step {
        name: "doc tests",
        run: doc_tests,
    },
    Step {
        name: "fuzz",
        run: fuzz::smoke,
    },
    Step {
        name: "real peers",
        run: real_peers,
    },
    Step {
        name: "demo --once, with kills",
        run: demos,
    },
];

/// What takes longer.
pub(super) const FULL: &[Step] = &[Step {
    name: "dist",
    run: dist,
}];

fn fmt() -> Result<Count> {
    component("fmt", "rustfmt")?;
    cargo("cargo fmt", &["fmt", "--all", "--check"], 60)
}

fn clippy() -> Result<Count> {
    component("clippy", "clippy")?;
    let arguments = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    cargo("cargo clippy", &arguments, 900)
}

fn run_tidy() -> Result<Count> {
    let findings = tidy::findings()?;
    for finding in &findings {
        say::note(format_args!("tidy: {finding}"));
    }
    Ok(Count::step(findings.is_empty()))
}

fn tests() -> Result<Count> {
    let mut command = Command::new(nextest()?);
    command
        .current_dir(workspace::root())
        .args(["nextest", "run", "--locked", "--workspace"])
        .args(["--no-fail-fast"])
        .env("EMCO_PEERS_DIR", peers::directory());
    runner("cargo nextest", &mut command, 900)
}

fn doc_tests() -> Result<Count> {
    let mut command = workspace::cargo();
    command.args(["test", "--locked", "--workspace", "--doc"]);
    runner("cargo test --doc", &mut command, 300)
}

fn docs() -> Result<Count> {
    let mut command = workspace::cargo();
    command
        .args([
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--keep-going",
        ])
        .env("RUSTDOCFLAGS", "-D warnings");
    shown("cargo doc", &mut command, 300)
}

/// Where the gate runs unattended, the recording has to be there: the generator is no substitute.
fn corpus() -> Result<Count> {
    match workspace::corpus() {
        Some(folder) => say::note(format_args!("corpus: {}", folder.display())),
        None if workspace::is_ci() => bail!("../shared/corpus is missing"),
        None => say::note(format_args!(
            "corpus: there is no ../shared/corpus, the generator takes its place"
        )),
    }
    Ok(Count::PASSED)
}

/// Began with the gate; what is not there yet is waited for. Where the gate runs unattended every
/// peer has to be there; elsewhere the tests that miss one say so.
fn install_peers() -> Result<Count> {
    match peers::install(&Peer::ALL) {
        Err(error) if !workspace::is_ci() => {
            say::note(format_args!("{error:#}"));
            Ok(Count::PASSED)
        }
        outcome => outcome.map(|()| Count::PASSED),
    }
}

/// Apart from the runs that need it, so that their bounds are about what they do.
fn release_build() -> Result<Count> {
    build::build().map(|_| Count::PASSED)
}

/// The whole recording, from the real binary to the real servers.
fn real_peers() -> Result<Count> {
    let demo = ["demo", "--once", "--real-peers"];
    shown("cargo xtask demo", own()?.args(demo), 600)
}

/// Delivery, nobody wrong, and the floors of attribution: once undisturbed, and beside it once where
/// twenty sidecars are killed. A demo waits most of its time for its workload.
fn demos() -> Result<Count> {
    let demo = ["demo", "--once", "--floors"];
    let mut killed = own()?;
    killed.args(demo).args(["--kill", "20"]);
    let killed = thread::spawn(move || {
        child::captured("the demo with kills", &mut killed, Duration::from_mins(15))
    });
    let calm = xtask(&demo, 900);
    let killed = killed.join();
    let (status, table) = killed.map_err(|_| anyhow!("the demo with kills ended by a panic"))??;
    say::note(format_args!("with kills:\n{table}"));
    Ok(calm?.plus(Count::step(status.success())))
}

/// The smallest of the programs as it ships: built static, packed, read by others.
fn image() -> Result<Count> {
    xtask(&["dist", "--program", "emco-observer-control"], 900)
}

/// All programs as they ship, none larger than promised.
fn dist() -> Result<Count> {
    xtask(&["dist"], 1800)
}

/// Calls ourselves, so that a step has its own bound and its own end.
fn xtask(arguments: &[&str], seconds: u64) -> Result<Count> {
    shown("cargo xtask", own()?.args(arguments), seconds)
}

fn own() -> Result<Command> {
    let program = std::env::current_exe().context("find the program that runs")?;
    Ok(Command::new(program))
}

fn cargo(name: &str, arguments: &[&str], seconds: u64) -> Result<Count> {
    shown(name, workspace::cargo().args(arguments), seconds)
}

fn shown(name: &str, command: &mut Command, seconds: u64) -> Result<Count> {
    let bound = Duration::from_secs(seconds);
    let finished = child::run_shown(name, command, bound, |_| false)?;
    Ok(Count::step(finished.status.success()))
}

fn runner(name: &str, command: &mut Command, seconds: u64) -> Result<Count> {
    let bound = Duration::from_secs(seconds);
    let finished = child::run_shown(name, command, bound, Count::is_summary)?;
    Ok(Count::of_runner(&finished.kept, finished.status.success()))
}

/// Makes sure that a part of the toolchain is there that small installations leave out.
fn component(subcommand: &str, component: &str) -> Result<()> {
    let asked = workspace::cargo().args([subcommand, "--version"]).output();
    if asked.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["component", "add", component])
        .current_dir(workspace::root());
    child::output("rustup component add", &mut add, Duration::from_mins(5))
        .map(drop)
        .with_context(|| format!("install {component}"))
}

/// The test runner: the one that is there, or one of our own.
fn nextest() -> Result<PathBuf> {
    let own = workspace::cache().join("tools/bin/cargo-nextest");
    for candidate in [PathBuf::from("cargo-nextest"), own.clone()] {
        let version = Command::new(&candidate)
            .args(["nextest", "--version"])
            .output();
        if version.is_ok_and(|output| output.status.success()) {
            return Ok(candidate);
        }
    }
    say::note(format_args!("installing cargo-nextest {NEXTEST}"));
    let mut command = workspace::cargo();
    command
        .args(["install", "--locked", "--root"])
        .arg(workspace::cache().join("tools"))
        .arg(format!("cargo-nextest@{NEXTEST}"));
    let finished = child::run_shown(
        "cargo install",
        &mut command,
        Duration::from_mins(15),
        |_| false,
    )?;
    anyhow::ensure!(
        finished.status.success(),
        "installing cargo-nextest failed with {}",
        finished.status
    );
    Ok(own)
}
