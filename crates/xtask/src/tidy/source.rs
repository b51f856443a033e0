//! The text files of the repository, as rules see them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::read_text;

/// Folders that hold nothing we wrote.
const FOREIGN: [&str; 5] = [".git", ".cache", "target", "node_modules", "data"];
/// Endings of the files that rules look into.
const TEXT: [&str; 12] = [
    "rs", "toml", "md", "yaml", "yml", "json", "js", "mjs", "css", "html", "sh", "sql",
];

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path inside the repository, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension() == Some("rs".as_ref())
    }

    /// Whether the whole file is tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Whether a generator of ours made it.
    pub(crate) fn is_generated(&self) -> bool {
        self.text
            .lines()
            .take(5)
            .any(|line| line.contains("@generated"))
    }

    /// The lines of the product, numbered from 1: neither comments nor the inline test module.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.split_tests()
            .0
            .into_iter()
            .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
    }

    /// How many lines the inline test module has.
    pub(crate) fn test_lines(&self) -> usize {
        self.split_tests().1
    }

    fn split_tests(&self) -> (Vec<(usize, &str)>, usize) {
        let lines: Vec<&str> = self.text.lines().collect();
        let begin = lines.windows(2).position(|pair| {
            matches!(pair, [attribute, module]
                if *attribute == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{'))
        });
        let code = begin.unwrap_or(lines.len());
        let tests = lines.len() - code;
        let numbered = lines.into_iter().take(code).zip(1..);
        (
            numbered.map(|(line, number)| (number, line)).collect(),
            tests,
        )
    }
}

/// Reads every text file of the repository.
pub(crate) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            Ok(Source {
                text: read_text(&path)?,
                path: path
                    .strip_prefix(root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned(),
            })
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let (name, path) = (entry.file_name(), entry.path());
        let kind = entry
            .file_type()
            .with_context(|| format!("look at {}", path.display()))?;
        if kind.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
            collect(&path, paths)?;
        } else if kind.is_file() && is_text(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| TEXT.contains(&ending)) || path.ends_with(".ci/run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_left_without_comments_and_tests() {
        let source = Source {
            path: "crates/a/src/b.rs".to_owned(),
            text: "//! Header.\n\nuse std::fmt;\n    // why\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n"
                .to_owned(),
        };
        let code: Vec<_> = source.code().collect();
        assert_eq!(code, [(3, "use std::fmt;"), (5, "fn a() {}")]);
        assert_eq!(source.test_lines(), 4);
    }

    #[test]
    fn a_test_module_in_its_own_file_hides_no_code() {
        let source = Source {
            path: "crates/a/src/b.rs".to_owned(),
            text: "#[cfg(test)]\nmod tests;\nfn a() {}\n".to_owned(),
        };
        assert_eq!(source.code().count(), 3);
    }
}
