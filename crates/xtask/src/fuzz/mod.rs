//! Looks for inputs that break a promise: libFuzzer over the targets of `tests/fuzz`.
//!
//! | where | what |
//! |---|---|
//! | `target/fuzz/corpus/<target>` | inputs that reach something new; kept, so that the next run goes on |
//! | `target/fuzz/found` | inputs that broke a promise, and the smallest that still do |
//! | `target/fuzz/logs/<target>.log` | what libFuzzer said |
//! | `tests/fuzz/seeds/<target>` | the first inputs, beside those made from a generated recording |
//!
//! The stable toolchain is enough: `tests/fuzz/instrument.sh` compiles our own crates with the
//! counters that libFuzzer reads, and the engine itself is the crate `libfuzzer-sys`.

mod corpus;
mod found;
mod outcome;
mod play;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::heard::Last;
use crate::test::{Count, Failures};
use crate::{child, say, workspace};

use found::Found;
use outcome::Outcome;
use play::Play;

const BUILD_BOUND: Duration = Duration::from_mins(30);
/// How long each target runs in the gate.
const SMOKE: Duration = Duration::from_secs(5);

/// What `cargo xtask fuzz` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this target (a folder of `tests/fuzz/seeds`).
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// How many targets run at a time; as many as there are processors, unless given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs the targets and prints what was found.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let targets = match &args.target {
        Some(target) => vec![known(target)?],
        None => targets()?,
    };
    let program = build()?;
    let home = home();
    corpus::make(&home.join("corpus"))?;
    let play = Play {
        program,
        corpus: home.join("corpus"),
        home,
        time: Duration::from_secs(args.seconds),
        seed: None,
    };
    let outcomes = play.all(&targets, args.jobs.unwrap_or_else(processors))?;
    let found = show(&play, &outcomes);
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A short run of every target, always with the same seed and the same first inputs; each target
/// counts as one test.
pub(crate) fn smoke(failures: &mut Failures) -> Result<Count> {
    let program = build()?;
    let home = home();
    let corpus = home.join("smoke");
    remove(&corpus)?;
    corpus::make(&corpus)?;
    let play = Play {
        program,
        corpus,
        home,
        time: SMOKE,
        seed: Some(1),
    };
    let outcomes = play.all(&targets()?, processors())?;
    for found in show(&play, &outcomes) {
        found.say(failures);
    }
    let count = |count: Count, outcome: &Outcome| count.plus(Count::step(outcome.is_clean()));
    Ok(outcomes.iter().fold(Count::default(), count))
}

/// Everything that fuzzing makes.
fn home() -> PathBuf {
    workspace::target().join("fuzz")
}

fn package() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

/// The names of all targets, sorted: each has seeds.
fn targets() -> Result<Vec<String>> {
    let folder = package().join("seeds");
    let mut names = Vec::new();
    for entry in list(&folder)? {
        let name = entry.file_name();
        names.extend(name.map(|name| name.to_string_lossy().into_owned()));
    }
    ensure!(!names.is_empty(), "{} has no folders", folder.display());
    Ok(names)
}

fn known(target: &str) -> Result<String> {
    let targets = targets()?;
    let found = targets.iter().find(|known| *known == target);
    found
        .cloned()
        .with_context(|| format!("{target} is no target; there are {}", targets.join(", ")))
}

/// Builds the instrumented program and puts it where no other build replaces it.
fn build() -> Result<PathBuf> {
    say::note(format_args!("building the targets with their counters"));
    let mut command = workspace::cargo();
    command
        .args(["build", "--locked", "--package=fuzz", "--bin=fuzz"])
        .args(["--features=libfuzzer"])
        .env("RUSTC_WORKSPACE_WRAPPER", package().join("instrument.sh"))
        // Ours are made fast; what they depend on stays as tests use it.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_INCREMENTAL", "0");
    child::run_heard::<Last>("cargo build", &mut command, BUILD_BOUND).success("cargo build")?;
    let (from, to) = (workspace::target().join("debug/fuzz"), home().join("fuzz"));
    make(&home())?;
    // A program that runs cannot be written to, but its name can be given to another.
    let new = home().join("fuzz.new");
    std::fs::copy(&from, &new).with_context(|| format!("copy {}", from.display()))?;
    std::fs::rename(&new, &to).with_context(|| format!("put {} in its place", to.display()))?;
    Ok(to)
}

/// Prints what became of each target; answers what was found.
fn show(play: &Play, outcomes: &[Outcome]) -> Vec<Found> {
    for outcome in outcomes {
        say::result(format_args!("{outcome}"));
    }
    let broken = outcomes.iter().filter(|outcome| !outcome.is_clean());
    let found: Vec<Found> = broken.map(|outcome| Found::of(play, outcome)).collect();
    for found in &found {
        say::result(format_args!("\n{found}"));
    }
    found
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What is in a folder, sorted.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("list {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(doing)? {
        paths.push(entry.with_context(doing)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_known_by_their_seeds() {
        assert_eq!(known("framer").unwrap(), "framer");
        let error = known("nonsense").unwrap_err().to_string();
        assert!(error.contains("there are bulk, "), "{error}");
    }
}
