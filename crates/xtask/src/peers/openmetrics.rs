//! The reference parser of `OpenMetrics`, of Python's `prometheus-client`.

use std::path::Path;

use anyhow::Result;

use super::recipe;

const REQUIREMENTS: &str = include_str!("../../peers/openmetrics/requirements.txt");
const PARSE: &str = include_str!("../../peers/openmetrics/parse.py");

/// Installs into `<dir>/openmetrics`: the package and `parse.py`, which is called in that folder.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{REQUIREMENTS}{PARSE}");
    recipe::make(&dir.join("openmetrics"), &text, |folder| {
        recipe::write(&folder.join("parse.py"), PARSE)?;
        let what = "install the parser of OpenMetrics";
        recipe::pip(what, REQUIREMENTS, &[], folder)
    })
}
