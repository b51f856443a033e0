//! Programs of the system that a chore needs: the ones that are there, or from Debian's archive
//! where we may install.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{child, say};

const BOUND: Duration = Duration::from_mins(10);

/// A program, and the package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// What is called.
    pub(crate) program: &'static str,
    /// What has it.
    pub(crate) package: &'static str,
}

/// Makes sure that all `tools` can be called.
///
/// # Errors
/// If some are missing and cannot be installed; says which packages to install.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let packages = missing(tools);
    if packages.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "install what is missing: apt-get install {}",
            packages.join(" ")
        );
    }
    say::note(format_args!("installing {}", packages.join(" ")));
    if install(&packages).is_err() {
        apt(&["update"])?;
        install(&packages)?;
    }
    let still = missing(tools);
    anyhow::ensure!(
        still.is_empty(),
        "{} did not bring its program",
        still.join(" ")
    );
    Ok(())
}

fn missing(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools
        .iter()
        .filter(|tool| !is_callable(tool.program))
        .map(|tool| tool.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Whether `program` is in a folder of `PATH`.
fn is_callable(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn install(packages: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    child::output("apt-get", &mut command, BOUND)
        .map(drop)
        .with_context(|| format!("apt-get {}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_missing_programs_are_named_once() {
        let tool = |program| Tool {
            program,
            package: "package",
        };
        assert_eq!(missing(&[tool("sh")]), [""; 0]);
        let absent = [tool("sh"), tool("no-such-program"), tool("nor-this-one")];
        assert_eq!(missing(&absent), ["package"]);
    }
}
