//! Builds the programs that ship: static, and the same bytes wherever they are built.
//!
//! What would carry the place of the build into a program is replaced: folders of the sources by
//! fixed names, flags of the environment by ours. The same sources, lock file, Rust and C compiler
//! then make the same program in every folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::elf::Elf;
use crate::apt::{self, Tool};
use crate::heard::Last;
use crate::{child, say, workspace};

const MUSL: &str = "x86_64-unknown-linux-musl";
const GLIBC: &str = "x86_64-unknown-linux-gnu";
const BUILD_BOUND: Duration = Duration::from_mins(30);
const INSTALL_BOUND: Duration = Duration::from_mins(5);
const ASK_BOUND: Duration = Duration::from_secs(10);
/// No program is longer than this, in bytes.
const PROGRAM_BYTES_MAX: u64 = 256 << 20;

/// Variables that would change what the compilers make.
const FLAGS: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CFLAGS",
    "CPPFLAGS",
];

/// What makes C forget when it was compiled: mimalloc would tell it.
const NO_TIME: [&str; 3] = [
    "-Wno-builtin-macro-redefined",
    "-D__DATE__=\"-\"",
    "-D__TIME__=\"-\"",
];

/// A program that ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What the binary and the image are called.
    pub(crate) name: &'static str,
    /// The crate it is built from.
    pub(crate) package: &'static str,
    /// What it does, in one sentence.
    pub(crate) description: &'static str,
    /// Most bytes that its image may have, as a registry counts them and unpacked.
    pub(crate) bytes_max: u64,
}

/// The sidecar.
pub(crate) const SIDECAR: Program = Program {
    name: "emco-observer",
    package: "agent",
    description: "The sidecar: EMCO's log lines and traces, each with the person who caused it",
    bytes_max: 8_000_000,
};

/// All of them.
pub(crate) const PROGRAMS: [Program; 3] = [
    SIDECAR,
    Program {
        name: "emco-observer-control",
        package: "control",
        description: "The control plane: puts the sidecar into EMCO's pods",
        bytes_max: 12_000_000,
    },
    Program {
        name: "emco-lab",
        package: "lab",
        description: "The embedded backend and the workload for a trial",
        bytes_max: 16_000_000,
    },
];

/// A built program.
#[derive(Debug)]
pub(crate) struct Built {
    /// The binary.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Whether it runs without anything of its system.
    pub(crate) is_static: bool,
}

/// For what the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// What ships.
    Musl,
    /// Where that cannot be had.
    Glibc,
}

impl Target {
    /// musl, or where that cannot be had the C library of this system, and says so.
    pub(crate) fn choose() -> Self {
        let Err(error) = prepare_musl() else {
            return Self::Musl;
        };
        say::note(format_args!("dist: {error:#}"));
        say::note(format_args!(
            "dist: NOT THE SHIPPED FORM: linking this system's C library into static programs instead"
        ));
        Self::Glibc
    }

    /// Cargo's name for it.
    pub(crate) const fn triple(self) -> &'static str {
        match self {
            Self::Musl => MUSL,
            Self::Glibc => GLIBC,
        }
    }

    /// The C library that becomes part of the programs.
    pub(crate) const fn c_library(self) -> &'static str {
        match self {
            Self::Musl => "musl",
            Self::Glibc => "glibc",
        }
    }

    /// What only this target wants of the Rust compiler.
    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Musl => &[],
            Self::Glibc => &["-C", "target-feature=+crt-static"],
        }
    }
}

/// Makes sure that the target and a C compiler for it are there.
fn prepare_musl() -> Result<()> {
    if !has_target()? {
        let mut add = Command::new("rustup");
        add.args(["target", "add", MUSL])
            .current_dir(workspace::root());
        child::output("rustup target add", &mut add, INSTALL_BOUND)
            .with_context(|| format!("install the target with `rustup target add {MUSL}`"))?;
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
    Ok(targets.lines().any(|line| line.trim() == MUSL))
}

/// Builds the sidecar, for those who measure it.
pub(crate) fn sidecar() -> Result<Built> {
    build(SIDECAR, Target::choose())
}

/// Builds `program`. Each is built alone: what one asks of a library is not in another.
pub(crate) fn build(program: Program, target: Target) -> Result<Built> {
    fetch(target)?;
    let moved = moved(&sources()?);
    let mut command = workspace::cargo();
    command
        .args(["build", "--locked", "--profile", "dist"])
        .args(["--package", program.package, "--bin", program.name])
        .args(["--target", target.triple()])
        .arg("--config")
        .arg(rust_flags(target, &moved));
    for variable in FLAGS {
        command.env_remove(variable);
    }
    command.env(c_flags_variable(target), c_flags(&moved));
    if let Some(revision) = revision() {
        command.env("EMCO_OBSERVER_REVISION", revision);
    }
    child::run_heard::<Last>("cargo build", &mut command, BUILD_BOUND).success("cargo build")?;
    let path = workspace::target()
        .join(target.triple())
        .join("dist")
        .join(program.name);
    let built = given(&path)?;
    ensure!(
        built.is_static,
        "{} needs libraries of its system",
        path.display()
    );
    Ok(built)
}

/// Sources have to be there before the folders that hold them can be named.
fn fetch(target: Target) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["fetch", "--locked", "--quiet", "--target", target.triple()]);
    child::output("cargo fetch", &mut command, INSTALL_BOUND).map(drop)
}

/// Folders that hold what is compiled: ours, what is built on the way, and those of other crates.
struct Sources {
    root: PathBuf,
    target: PathBuf,
    crates: Vec<PathBuf>,
}

fn sources() -> Result<Sources> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let folder = home
        .context("neither CARGO_HOME nor HOME is set")?
        .join("registry/src");
    let mut crates = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        crates.push(entry?.path());
    }
    crates.sort();
    Ok(Sources {
        root: workspace::root(),
        target: workspace::target(),
        crates,
    })
}

/// What is replaced by what; of two that fit, the later one counts.
fn moved(sources: &Sources) -> Vec<String> {
    let pair = |from: &Path, to: &str| format!("{}={to}", from.display());
    let mut moved = vec![
        pair(&sources.root, "/emco-observer"),
        pair(&sources.target, "/target"),
    ];
    moved.extend(sources.crates.iter().map(|path| pair(path, "/crates")));
    moved
}

/// Added to the flags that `.cargo/config.toml` has for the target.
fn rust_flags(target: Target, moved: &[String]) -> String {
    let moved = moved
        .iter()
        .map(|pair| format!("--remap-path-prefix={pair}"));
    let flags: Vec<String> = target
        .flags()
        .iter()
        .map(|flag| (*flag).to_owned())
        .chain(moved)
        .collect();
    // A list of strings is the same in TOML as it is here.
    format!("target.{}.rustflags={flags:?}", target.triple())
}

/// The variable that crates with sources in C read flags from.
fn c_flags_variable(target: Target) -> String {
    format!("CFLAGS_{}", target.triple().replace('-', "_"))
}

fn c_flags(moved: &[String]) -> String {
    let moved = moved.iter().map(|pair| format!("-ffile-prefix-map={pair}"));
    let flags: Vec<String> = NO_TIME
        .iter()
        .map(|flag| (*flag).to_owned())
        .chain(moved)
        .collect();
    flags.join(" ")
}

/// What is built: the commit, and whether files differ from it. Not known outside a checkout.
pub(super) fn revision() -> Option<String> {
    git(&["describe", "--always", "--abbrev=12", "--dirty"])
}

/// When what is built was made, in seconds: `SOURCE_DATE_EPOCH`, or the time of the commit.
pub(super) fn seconds() -> Result<i64> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let text = given.or_else(|| git(&["log", "-1", "--format=%ct"]));
    text.map_or(Ok(0), |text| {
        text.parse()
            .with_context(|| format!("{text} is no time in seconds"))
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(workspace::root());
    let text = child::output("git", &mut command, ASK_BOUND).ok()?;
    Some(text.trim().to_owned())
}

/// A program that is there.
pub(crate) fn given(path: &Path) -> Result<Built> {
    let bytes = read(path)?;
    let elf = Elf::parse(&bytes).with_context(|| format!("look at {}", path.display()))?;
    Ok(Built {
        path: path.to_path_buf(),
        bytes: u64::try_from(bytes.len())?,
        is_static: elf.is_static,
    })
}

/// Reads a program, within a bound.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    workspace::read_bytes(path, PROGRAM_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved_from(root: &str) -> Vec<String> {
        moved(&Sources {
            root: PathBuf::from(root),
            target: PathBuf::from(root).join("target"),
            crates: vec![PathBuf::from("/home/me/.cargo/registry/src/index-1")],
        })
    }

    #[test]
    fn folders_get_fixed_names_the_narrowest_last() {
        assert_eq!(
            moved_from("/a"),
            [
                "/a=/emco-observer",
                "/a/target=/target",
                "/home/me/.cargo/registry/src/index-1=/crates"
            ]
        );
    }

    #[test]
    fn cargo_is_told_in_its_own_language() {
        assert_eq!(
            rust_flags(Target::Musl, &["/a=/b".to_owned()]),
            r#"target.x86_64-unknown-linux-musl.rustflags=["--remap-path-prefix=/a=/b"]"#
        );
        assert_eq!(
            rust_flags(Target::Glibc, &[]),
            r#"target.x86_64-unknown-linux-gnu.rustflags=["-C", "target-feature=+crt-static"]"#
        );
        assert_eq!(
            c_flags_variable(Target::Musl),
            "CFLAGS_x86_64_unknown_linux_musl"
        );
        assert_eq!(
            c_flags(&moved_from("/a")),
            "-Wno-builtin-macro-redefined -D__DATE__=\"-\" -D__TIME__=\"-\" \
             -ffile-prefix-map=/a=/emco-observer -ffile-prefix-map=/a/target=/target \
             -ffile-prefix-map=/home/me/.cargo/registry/src/index-1=/crates"
        );
    }

    #[test]
    fn a_program_that_is_given_is_looked_at() {
        let own = std::env::current_exe().unwrap();
        let built = given(&own).unwrap();
        assert!(!built.is_static);
        assert_eq!(built.bytes, std::fs::metadata(&own).unwrap().len());
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = given(file.path()).unwrap_err();
        assert!(format!("{error:#}").ends_with("it is no ELF program"));
    }
}
