//! The forward receiver of npm's `@fluent-org/logger`: a second opinion on every frame we send.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::recipe;

const PACKAGE: &str = include_str!("../../peers/forward/package.json");
const LOCK: &str = include_str!("../../peers/forward/package-lock.json");
const SERVER: &str = include_str!("../../peers/forward/server.js");

/// Installs into `<dir>/forward`: `node_modules` and `server.js`.
pub(crate) fn install(dir: &Path) -> Result<()> {
    let text = format!("{PACKAGE}{LOCK}{SERVER}");
    recipe::make(&dir.join("forward"), &text, |folder| {
        recipe::write(&folder.join("package.json"), PACKAGE)?;
        recipe::write(&folder.join("package-lock.json"), LOCK)?;
        recipe::write(&folder.join("server.js"), SERVER)?;
        recipe::step(
            "install the forward receiver",
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                .current_dir(folder),
        )
    })
}
