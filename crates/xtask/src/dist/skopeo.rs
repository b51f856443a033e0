//! Others read the image: skopeo, as an OCI archive and as one of Docker's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::apt::{self, Tool};
use crate::{child, say, workspace};

const BOUND: Duration = Duration::from_mins(1);

/// Reads `archive` in both forms, each layer included.
///
/// Where skopeo neither is nor can be installed, this says so; an unattended gate fails.
pub(super) fn read(archive: &Path, digest: &str) -> Result<()> {
    let skopeo = apt::ensure(&[Tool {
        program: "skopeo",
        package: "skopeo",
    }]);
    match skopeo {
        Err(error) if !workspace::is_ci() => {
            say::note(format_args!(
                "dist: skopeo did not read the image: {error:#}"
            ));
            return Ok(());
        }
        outcome => outcome?,
    }
    let found = inspect(&format!("oci-archive:{}", archive.display()))?;
    ensure!(
        found.pointer("/Digest") == Some(&Value::from(digest)),
        "skopeo finds another image: {found}"
    );
    let folder = archive.with_extension("copied");
    let copied = ["oci-archive", "docker-archive"]
        .iter()
        .try_for_each(|form| copy(form, archive, &folder));
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    copied
}

fn inspect(image: &str) -> Result<Value> {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--no-tags", image]);
    let text = child::output("skopeo inspect", &mut command, BOUND)?;
    serde_json::from_str(&text).context("understand the answer of skopeo")
}

/// A copy is only made of what has the digests it should have.
fn copy(form: &str, archive: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new("skopeo");
    command
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("{form}:{}", archive.display()))
        .arg(format!("dir:{}", folder.display()));
    child::output("skopeo copy", &mut command, BOUND)
        .map(drop)
        .with_context(|| format!("read {} as {form}", archive.display()))
}
