//! The reference parser of `OpenMetrics`, of Python's `prometheus-client`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::recipe;

const REQUIREMENTS: &str = include_str!("../../peers/openmetrics/requirements.txt");
const PARSE: &str = include_str!("../../peers/openmetrics/parse.py");

/// Installs into `<dir>/openmetrics`: the package and `parse.py`, which is called in that folder.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{REQUIREMENTS}{PARSE}");
    recipe::make(&dir.join("openmetrics"), &text, |folder| {
        let requirements = folder.join("requirements.txt");
        recipe::write(&requirements, REQUIREMENTS)?;
        recipe::write(&folder.join("parse.py"), PARSE)?;
        recipe::step(
            "install the parser of OpenMetrics",
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                .args(["--require-hashes", "--requirement"])
                .arg(&requirements)
                .arg("--target")
                .arg(folder),
        )
    })
}
