//! An installation that is made once for each state of its recipe.
//!
//! A folder is filled under another name and renamed when it is complete, with the recipe's text in
//! it; so a folder that is there is whole, and a changed recipe makes a new one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// How long fetching one thing may take.
pub(super) const FETCH_BOUND: Duration = Duration::from_mins(10);
/// The file that keeps the recipe's text.
const MARK: &str = ".recipe";

/// Makes `folder` as `build` does, unless it was made by the same `recipe` before.
pub(super) fn make(
    folder: &Path,
    recipe: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let mark = folder.join(MARK);
    if mark.is_file() && workspace::read_text(&mark)? == recipe {
        return Ok(());
    }
    let unfinished = folder.with_extension("unfinished");
    clear(&unfinished)?;
    fs::create_dir_all(&unfinished).with_context(|| format!("create {}", unfinished.display()))?;
    build(&unfinished)?;
    fs::write(unfinished.join(MARK), recipe).context("write the recipe's mark")?;
    clear(folder)?;
    fs::rename(&unfinished, folder).with_context(|| format!("put {} in place", folder.display()))
}

/// Runs one step of a recipe and shows what it said if it failed.
pub(super) fn step(what: &str, command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{what}: start {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let tail: String = said.chars().rev().take(4000).collect();
    let tail: String = tail.chars().rev().collect();
    bail!("{what} failed with {}: {tail}", output.status)
}

/// Installs Python packages into `folder`: those that `requirements` names with their hashes, and no
/// others.
pub(super) fn pip(what: &str, requirements: &str, options: &[&str], folder: &Path) -> Result<()> {
    let file = folder.join("requirements.txt");
    write(&file, requirements)?;
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(options)
        .args(["--require-hashes", "--requirement"])
        .arg(&file)
        .arg("--target")
        .arg(folder);
    step(what, &mut command)
}

/// Writes one asset.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
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
    fn a_recipe_is_cooked_once_and_again_when_it_changes() {
        let home = std::env::temp_dir().join(format!("recipe-test-{}", std::process::id()));
        let folder = home.join("peer");
        let mut cooked = 0;
        for recipe in ["one", "one", "two"] {
            make(&folder, recipe, |unfinished| {
                cooked += 1;
                write(&unfinished.join("sub/dish"), recipe)
            })
            .unwrap();
            assert_eq!(
                workspace::read_text(&folder.join("sub/dish")).unwrap(),
                recipe
            );
        }
        assert_eq!(cooked, 2);
        make(&folder, "three", |_| bail!("burnt")).unwrap_err();
        assert_eq!(
            workspace::read_text(&folder.join("sub/dish")).unwrap(),
            "two",
            "a failed attempt leaves what was there"
        );
        fs::remove_dir_all(&home).unwrap();
    }
}
