//! The licences of all that is in a program, as their authors ask to be given with it.
//!
//! First each crate with its SPDX expression, then each text once, under the crates it came with. What
//! a crate's package has as text is taken as it is; a crate whose package has none is in the list alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::build::Target;
use super::sbom::Graph;
use crate::workspace;

/// How files with licences begin, in capital letters.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
/// Longest of them, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
const RULE: &str =
    "================================================================================";

/// A crate and the texts that came with it.
#[derive(Debug)]
struct Notice {
    title: String,
    texts: Vec<String>,
}

/// The texts for the crates of `graph`, which have their sources where cargo says.
pub(super) fn make(graph: &Graph, target: Target) -> Result<String> {
    let metadata = workspace::metadata(&["--filter-platform", target.triple()])?;
    let mut notices = Vec::new();
    for package in &metadata.packages {
        let Some(licence) = graph.licence(&package.name, &package.version) else {
            continue;
        };
        let folder = package.manifest_path.parent();
        let folder = folder.with_context(|| format!("{} has no folder", package.name))?;
        notices.push(Notice {
            title: format!("{} {} ({licence})", package.name, package.version),
            texts: texts(folder)?,
        });
    }
    Ok(render(&notices, target.c_library()))
}

/// All files with licences in `folder`, in the order of their names.
fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_uppercase();
        if NAMES.iter().any(|begin| name.starts_with(begin)) && path.is_file() {
            let text = workspace::read_bytes(&path, TEXT_BYTES_MAX)?;
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            found.insert(name, text.trim_matches('\n').to_owned());
        }
    }
    Ok(found.into_values().collect())
}

fn render(notices: &[Notice], c_library: &str) -> String {
    let mut titles: BTreeSet<&str> = notices.iter().map(|n| n.title.as_str()).collect();
    titles.extend(["rust-std (MIT OR Apache-2.0)"]);
    let mut text = format!(
        "This program contains {c_library} and the following:\n\n{}\n",
        titles.into_iter().collect::<Vec<_>>().join("\n")
    );
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for notice in notices {
        for text in &notice.texts {
            users.entry(text).or_default().insert(&notice.title);
        }
    }
    let mut sections: Vec<_> = users
        .into_iter()
        .map(|(licence, titles)| (titles, licence))
        .collect();
    sections.sort_unstable();
    for (titles, licence) in sections {
        let titles = titles.into_iter().collect::<Vec<_>>().join("\n");
        // A string takes everything that is written to it.
        let _infallible = write!(text, "\n{RULE}\n{titles}\n\n{licence}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_there_once_with_all_who_came_with_it() {
        let notice = |title: &str, texts: &[&str]| Notice {
            title: title.to_owned(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        let all = [
            notice("b 1 (MIT)", &["be free"]),
            notice("c 1 (MIT)", &[]),
            notice("a 1 (MIT)", &["be free", "be named"]),
        ];
        assert_sections(
            &render(&all, "musl"),
            &[
                "This program contains musl and the following:\n\na 1 (MIT)\nb 1 (MIT)\nc 1 (MIT)\nrust-std (MIT OR Apache-2.0)\n",
                "\na 1 (MIT)\n\nbe named\n",
                "\na 1 (MIT)\nb 1 (MIT)\n\nbe free\n",
            ],
        );
    }

    fn assert_sections(text: &str, sections: &[&str]) {
        let separator = format!("\n{RULE}");
        let found: Vec<_> = text.split(&separator).collect();
        assert_eq!(found, sections);
    }

    #[test]
    fn texts_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("LICENSE-MIT", "one\r\n"),
            ("copying.txt", "two\n"),
            ("README.md", "three"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::create_dir(folder.path().join("LICENSES")).unwrap();
        assert_eq!(texts(folder.path()).unwrap(), ["two", "one"]);
        assert!(texts(&folder.path().join("absent")).is_err());
    }
}
