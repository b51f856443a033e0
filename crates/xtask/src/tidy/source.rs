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
    /// Whether the whole file is tests.
    pub(crate) is_test: bool,
}

impl Source {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension() == Some("rs".as_ref())
    }

    /// One file; whether another declares it as tests is not known yet.
    pub(crate) fn new(path: String, text: String) -> Self {
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        Self {
            path,
            text,
            is_test,
        }
    }

    /// The files that this one declares as tests (`#[cfg(test)] mod name;`), without ending.
    fn test_modules(&self) -> Vec<String> {
        let path = Path::new(&self.path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(path).to_string_lossy();
        let folder = match &*stem {
            "mod" | "lib" | "main" => folder.into_owned(),
            stem => format!("{folder}/{stem}"),
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let declared = lines.windows(2).filter_map(|pair| match pair {
            ["#[cfg(test)]", line] => line.split_once("mod ")?.1.strip_suffix(';'),
            _ => None,
        });
        declared.map(|name| format!("{folder}/{name}")).collect()
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
    let mut sources = Vec::with_capacity(paths.len());
    for path in paths {
        let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
        sources.push(Source::new(inside.into_owned(), read_text(&path)?));
    }
    mark_tests(&mut sources);
    Ok(sources)
}

/// Marks the files that others declare as tests, with all files below them.
fn mark_tests(sources: &mut [Source]) {
    let modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in sources {
        let belongs = |module: &String| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.is_test |= modules.iter().any(belongs);
    }
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
        let source = Source::new(
            "crates/a/src/b.rs".to_owned(),
            "//! Header.\n\nuse std::fmt;\n    // why\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n"
                .to_owned(),
        );
        let code: Vec<_> = source.code().collect();
        assert_eq!(code, [(3, "use std::fmt;"), (5, "fn a() {}")]);
        assert_eq!(source.test_lines(), 4);
    }

    #[test]
    fn a_test_module_in_its_own_file_hides_no_code() {
        let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n";
        let source = Source::new("crates/a/src/b.rs".to_owned(), text.to_owned());
        assert_eq!(source.code().count(), 3);
    }

    #[test]
    fn modules_declared_as_tests_are_tests_with_all_below() {
        let file = |path: &str, text: &str| Source::new(path.to_owned(), text.to_owned());
        let mut sources = [
            file("a/src/lib.rs", "#[cfg(test)]\nmod simulation;\nmod tail;\n"),
            file("a/src/simulation/mod.rs", ""),
            file("a/src/simulation/disk.rs", ""),
            file("a/src/simulations.rs", ""),
            file("a/src/tail.rs", "#[cfg(test)]\nmod checks;\n"),
            file("a/src/tail/checks.rs", ""),
            file("a/src/tail/tests.rs", ""),
        ];
        mark_tests(&mut sources);
        let tests: Vec<bool> = sources.iter().map(|source| source.is_test).collect();
        assert_eq!(tests, [false, true, true, false, false, true, true]);
    }
}
