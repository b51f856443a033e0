//! The steps of the gate, each with a bound of its own.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::demo::{Beside, Demo};
use super::printed::Printed;
use super::runner::Runner;
use super::{Count, Failures, Step};
use crate::demo::build;
use crate::heard::Last;
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
        run: run_fuzz,
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
pub(super) const FULL: &[Step] = &[
    Step {
        name: "dist",
        run: dist,
    },
    Step {
        name: "node",
        run: node,
    },
    Step {
        name: "rotation",
        run: rotation,
    },
];

fn fmt(failures: &mut Failures) -> Result<Count> {
    component("fmt", "rustfmt")?;
    let arguments = ["fmt", "--all", "--check", "--", "--color=never"];
    cargo("cargo fmt", &arguments, 60, failures)
}

fn clippy(failures: &mut Failures) -> Result<Count> {
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
    cargo("cargo clippy", &arguments, 900, failures)
}

fn run_tidy(failures: &mut Failures) -> Result<Count> {
    let findings = tidy::findings()?;
    for finding in &findings {
        say::note(format_args!("tidy: {finding}"));
        failures.say(finding);
    }
    Ok(Count::step(findings.is_empty()))
}

fn tests(failures: &mut Failures) -> Result<Count> {
    let mut command = Command::new(nextest()?);
    command
        .current_dir(workspace::root())
        .args(["nextest", "run", "--locked", "--workspace"])
        .args(["--no-fail-fast"])
        .env("EMCO_PEERS_DIR", peers::directory());
    runner("cargo nextest", &mut command, 900, failures)
}

fn doc_tests(failures: &mut Failures) -> Result<Count> {
    let mut command = workspace::cargo();
    command.args(["test", "--locked", "--workspace", "--doc"]);
    runner("cargo test --doc", &mut command, 300, failures)
}

fn docs(failures: &mut Failures) -> Result<Count> {
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
    shown("cargo doc", &mut command, 300, failures)
}

/// Where the gate runs unattended, the recording has to be there: the generator is no substitute.
fn corpus(_failures: &mut Failures) -> Result<Count> {
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
fn install_peers(_failures: &mut Failures) -> Result<Count> {
    match peers::install(&Peer::ALL) {
        Err(error) if !workspace::is_ci() => {
            say::note(format_args!("{error:#}"));
            Ok(Count::PASSED)
        }
        outcome => outcome.map(|()| Count::PASSED),
    }
}

/// Apart from the runs that need it, so that their bounds are about what they do.
fn release_build(failures: &mut Failures) -> Result<Count> {
    shown("cargo build", &mut build::command(), 1800, failures)
}

/// A short run of every target; each counts as one test.
fn run_fuzz(failures: &mut Failures) -> Result<Count> {
    fuzz::smoke(failures)
}

/// The whole recording, from the real binary to the real servers.
fn real_peers(failures: &mut Failures) -> Result<Count> {
    let mut command = own()?;
    command.args(["demo", "--once", "--real-peers"]);
    let finished = child::run_heard::<Demo>("the demo", &mut command, Duration::from_mins(10));
    judged("to real peers", finished.ended, &finished.heard, failures)
}

/// Delivery, nobody wrong, and the floors of attribution: once undisturbed, and beside it once where
/// twenty sidecars are killed. A demo waits most of its time for its workload.
fn demos(failures: &mut Failures) -> Result<Count> {
    let bound = Duration::from_mins(15);
    let demo = ["demo", "--once", "--floors"];
    let (mut calm, mut killed) = (own()?, own()?);
    calm.args(demo);
    killed.args(demo).args(["--kill", "20"]);
    let killed = thread::spawn(move || {
        child::run_heard::<Beside>("the demo with kills", &mut killed, bound)
    });
    let calm = child::run_heard::<Demo>("the demo", &mut calm, bound);
    let killed = killed.join();
    let killed = killed.map_err(|_| anyhow!("the demo with kills ended by a panic"))?;
    say::note(format_args!("with kills:"));
    for line in &killed.heard.lines {
        say::note(format_args!("{line}"));
    }
    let calm = judged("without kills", calm.ended, &calm.heard, failures);
    let killed = judged("with kills", killed.ended, &killed.heard.demo, failures);
    Ok(calm?.plus(killed?))
}

/// Says why a run failed, if it did.
fn judged(
    name: &str,
    ended: Result<ExitStatus>,
    demo: &Demo,
    failures: &mut Failures,
) -> Result<Count> {
    let is_success = ended.as_ref().is_ok_and(ExitStatus::success);
    if !is_success {
        demo.say(name, failures);
    }
    ended.map(|_| Count::step(is_success))
}

/// The smallest of the programs as it ships: built static, packed, read by others.
fn image(failures: &mut Failures) -> Result<Count> {
    let dist = ["dist", "--program", "emco-observer-control"];
    xtask(&dist, 900, failures)
}

/// All programs as they ship, none larger than promised.
fn dist(failures: &mut Failures) -> Result<Count> {
    xtask(&["dist"], 1800, failures)
}

/// The images of before on a whole node of Kubernetes, which is this machine.
fn node(failures: &mut Failures) -> Result<Count> {
    peers::install(&[Peer::Kubernetes, Peer::Helm, Peer::Node])?;
    let mut command = Command::new(nextest()?);
    command
        .current_dir(workspace::root())
        .args(["nextest", "run", "--locked", "--package", "control"])
        .args(["--test", "full_node", "--no-fail-fast"])
        .args(["--success-output", "immediate"])
        .env("EMCO_PEERS_DIR", peers::directory())
        .env("EMCO_NODE", "1");
    runner("cargo nextest", &mut command, 1800, failures)
}

/// Certificates that are renewed each second, for five minutes.
fn rotation(failures: &mut Failures) -> Result<Count> {
    peers::install(&[Peer::Kubernetes])?;
    let mut command = Command::new(nextest()?);
    command
        .current_dir(workspace::root())
        .args(["nextest", "run", "--locked", "--package", "control"])
        .args(["--test", "real_kubernetes", "--profile", "full"])
        .args(["--success-output", "immediate"])
        .arg("no_call_fails_while_everything_is_renewed")
        .env("EMCO_PEERS_DIR", peers::directory())
        .env("EMCO_ROTATION_SECONDS", "300");
    runner("cargo nextest", &mut command, 900, failures)
}

/// Calls ourselves, so that a step has its own bound and its own end.
fn xtask(arguments: &[&str], seconds: u64, failures: &mut Failures) -> Result<Count> {
    let mut command = own()?;
    shown("cargo xtask", command.args(arguments), seconds, failures)
}

fn own() -> Result<Command> {
    let program = std::env::current_exe().context("find the program that runs")?;
    Ok(Command::new(program))
}

fn cargo(name: &str, arguments: &[&str], seconds: u64, failures: &mut Failures) -> Result<Count> {
    let mut command = workspace::cargo();
    shown(name, command.args(arguments), seconds, failures)
}

fn shown(
    name: &str,
    command: &mut Command,
    seconds: u64,
    failures: &mut Failures,
) -> Result<Count> {
    let bound = Duration::from_secs(seconds);
    let finished = child::run_heard::<Printed>(name, command, bound);
    if !finished.is_success() {
        finished.heard.say(failures);
    }
    Ok(Count::step(finished.ended?.success()))
}

fn runner(
    name: &str,
    command: &mut Command,
    seconds: u64,
    failures: &mut Failures,
) -> Result<Count> {
    let bound = Duration::from_secs(seconds);
    let finished = child::run_heard::<Runner>(name, command, bound);
    let count = finished.heard.count(finished.is_success());
    if count.failed > 0 {
        finished.heard.say(failures);
    }
    finished.ended.map(|_| count)
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
    let bound = Duration::from_mins(15);
    child::run_heard::<Last>("cargo install", &mut command, bound).success("cargo install")?;
    Ok(own)
}
