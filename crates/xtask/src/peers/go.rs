//! What the recipes of programs in Go have in common: a module whose content is pinned by its hash is
//! fetched, copied and built with low priority. Its own `go.sum` pins everything below it, and nothing
//! that is not pinned is built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::recipe;
use crate::{child, interrupt};

/// The oldest Go that builds the modules below, as `go version` counts.
const OLDEST: (u32, u32) = (1, 24);
const ASK_BOUND: Duration = Duration::from_secs(20);
/// Cargo comes first.
const NICE: &str = "10";
/// How many packages are compiled at once: some take 2 GB.
const AT_ONCE: &str = "2";

/// A module at a version, with the hashes that `go.sum` keeps of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Module {
    /// Its path.
    pub(super) path: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// Hash of its files.
    pub(super) files: &'static str,
    /// Hash of its `go.mod`.
    pub(super) manifest: &'static str,
}

impl Module {
    /// Its two lines of `go.sum`.
    pub(super) fn sums(&self) -> String {
        let Self { path, version, .. } = self;
        format!(
            "{path} {version} {}\n{path} {version}/go.mod {}\n",
            self.files, self.manifest
        )
    }

    /// Its line of `go.mod`.
    pub(super) fn requirement(&self) -> String {
        format!("require {} {}\n", self.path, self.version)
    }
}

/// Go, and where it keeps what it fetches and compiles on the way.
#[derive(Debug)]
pub(super) struct Go {
    kept: PathBuf,
}

impl Go {
    /// Asks the Go that is installed for its version. What it fetches goes into `peers`, unless
    /// `GOMODCACHE` and `GOCACHE` say otherwise.
    pub(super) fn find(peers: &Path) -> Result<Self> {
        let advice = || {
            let (major, minor) = OLDEST;
            format!("install Go {major}.{minor} or newer, and put it into PATH")
        };
        let text = child::output(
            "go env",
            Command::new("go").args(["env", "GOVERSION"]),
            ASK_BOUND,
        )
        .with_context(advice)?;
        let version = version(&text).with_context(advice)?;
        ensure!(
            version >= OLDEST,
            "{} is too old: {}",
            text.trim(),
            advice()
        );
        Ok(Self { kept: kept(peers) })
    }

    /// Copies the source of `module` into `folder`, which must not be there.
    pub(super) fn fetch(&self, module: &Module, folder: &Path) -> Result<()> {
        let empty = folder.with_extension("fetch");
        recipe::write(&empty.join("go.mod"), "module peers\n\ngo 1.24\n")?;
        recipe::write(&empty.join("go.sum"), &module.sums())?;
        let Module { path, version, .. } = module;
        let mut download = self.command();
        download
            .args(["go", "mod", "download", "-json"])
            .arg(format!("{path}@{version}"))
            .current_dir(&empty);
        let said = child::output("go mod download", &mut download, recipe::FETCH_BOUND)?;
        let found: Found = serde_json::from_str(&said).context("read what go mod download says")?;
        ensure!(
            found.sum == module.files && found.go_mod_sum == module.manifest,
            "{path}@{version} is not what it was: {}",
            found.sum
        );
        recipe::step(
            "copy the module",
            Command::new("cp").arg("-r").arg(&found.dir).arg(folder),
        )?;
        // Go keeps its copies read-only.
        recipe::step(
            "make the module's copy writable",
            Command::new("chmod").args(["-R", "u+w"]).arg(folder),
        )?;
        recipe::clear(&empty)
    }

    /// Builds `package` of the module in `folder` into `program`, with `texts` in the place of the
    /// variables that they are named after.
    pub(super) fn build(
        &self,
        folder: &Path,
        package: &str,
        texts: &[(String, String)],
        program: &Path,
    ) -> Result<()> {
        interrupt::wait(Duration::ZERO)?;
        let texts = texts
            .iter()
            .map(|(name, text)| format!(" -X {name}={text}"));
        let texts: String = texts.collect();
        let mut build = self.command();
        build
            .args([
                "go",
                "build",
                "-mod=readonly",
                "-buildvcs=false",
                "-trimpath",
            ])
            .args(["-p", AT_ONCE])
            .arg(format!("-ldflags=-s -w{texts}"))
            .arg("-o")
            .arg(program)
            .arg(package)
            .current_dir(folder);
        recipe::step(&format!("build {package}"), &mut build)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nice");
        command
            .args(["-n", NICE])
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-modcacherw")
            .env("GOWORK", "off");
        for (name, folder) in [("GOMODCACHE", "modules"), ("GOCACHE", "build")] {
            if std::env::var_os(name).is_none() {
                command.env(name, self.kept.join(folder));
            }
        }
        command
    }
}

/// Forgets what was fetched and compiled on the way to a program.
pub(super) fn forget(peers: &Path) -> Result<()> {
    recipe::clear(&kept(peers))
}

fn kept(peers: &Path) -> PathBuf {
    peers.join("go")
}

/// What `go mod download` says of a module.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    dir: PathBuf,
    sum: String,
    go_mod_sum: String,
}

/// `go1.26.8` or `go1.26rc1 X:…` as numbers.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.trim().strip_prefix("go")?.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let minor = rest.get(..end.unwrap_or(rest.len()))?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_numbers() {
        for (text, expected) in [
            ("go1.26.8\n", Some((1, 26))),
            ("go1.24", Some((1, 24))),
            ("go1.9rc2", Some((1, 9))),
            ("devel", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        assert!(OLDEST > (1, 9));
    }

    #[test]
    fn a_module_is_written_as_go_reads_it() {
        let module = Module {
            path: "example.org/a",
            version: "v1.0.0",
            files: "h1:files=",
            manifest: "h1:manifest=",
        };
        assert_eq!(module.requirement(), "require example.org/a v1.0.0\n");
        assert_eq!(
            module.sums(),
            "example.org/a v1.0.0 h1:files=\nexample.org/a v1.0.0/go.mod h1:manifest=\n"
        );
    }
}
