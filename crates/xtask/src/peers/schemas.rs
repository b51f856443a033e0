//! The schemas of Kubernetes 1.28 and newer, as Python's `kubernetes-validate` carries them, and
//! Python's `jsonschema` to check objects against them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result};

use super::recipe;

const REQUIREMENTS: &str = include_str!("../../peers/schemas/requirements.txt");
const CHECK: &str = include_str!("../../peers/schemas/check.py");
/// The versions of Kubernetes 1 that are kept.
const MINORS: RangeInclusive<u32> = 28..=37;
/// Where the package has those that know every field there is, and no other.
const PACKAGE: &str = "kubernetes_validate/kubernetes-json-schema";

/// Installs into `<dir>/schemas`: `versions/1.<minor>.json`, what `check.py` calls, and itself.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{REQUIREMENTS}{CHECK}{MINORS:?}{PACKAGE}");
    recipe::make(&dir.join("schemas"), &text, |folder| {
        recipe::write(&folder.join("check.py"), CHECK)?;
        let what = "install the schemas of Kubernetes";
        let options = ["--only-binary", ":all:"];
        recipe::pip(what, REQUIREMENTS, &options, folder)?;
        let versions = folder.join("versions");
        fs::create_dir_all(&versions).context("make a folder for the schemas")?;
        for minor in MINORS {
            let from = format!("{PACKAGE}/v1.{minor}.0-local-strict/_definitions.json");
            let to = versions.join(format!("1.{minor}.json"));
            fs::rename(folder.join(&from), to).with_context(|| format!("take {from}"))?;
        }
        recipe::clear(&folder.join("kubernetes_validate"))
    })
}
