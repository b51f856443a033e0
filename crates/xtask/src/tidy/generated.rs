//! Files that a generator of ours makes must be what it would make now.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::workspace::read_text;
use crate::{callmap, chart, configuration};

/// How one file is made.
pub(crate) struct Generator {
    /// The file, inside the repository.
    pub(crate) output: &'static str,
    /// Makes its text; nothing if what it is made from is not on this machine.
    pub(crate) make: fn(root: &Path) -> Result<Option<String>>,
    /// The command that writes it.
    pub(crate) command: &'static str,
}

/// All of them.
pub(crate) const GENERATORS: &[Generator] = &[
    Generator {
        output: callmap::OUTPUT,
        make: callmap::make,
        command: "cargo xtask callmap",
    },
    Generator {
        output: configuration::SCHEMA,
        make: configuration::make_schema,
        command: "cargo xtask configuration",
    },
    Generator {
        output: configuration::PAGE,
        make: configuration::make_page,
        command: "cargo xtask configuration",
    },
    Generator {
        output: chart::SCHEMA,
        make: chart::make_schema,
        command: "cargo xtask configuration",
    },
    Generator {
        output: chart::VALUES,
        make: chart::make_values,
        command: "cargo xtask configuration",
    },
    Generator {
        output: chart::PAGE,
        make: chart::make_page,
        command: "cargo xtask configuration",
    },
];

/// Files that are not what their generator would make.
pub(crate) fn check(root: &Path, generators: &[Generator]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for generator in generators {
        let Some(expected) = (generator.make)(root)? else {
            continue;
        };
        let is_current =
            read_text(&root.join(generator.output)).is_ok_and(|found| found == expected);
        if !is_current {
            findings.push(Finding::new(
                generator.output,
                format!("is not current: run `{}`", generator.command),
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: fn(&Path) -> Result<Option<String>>, found: Option<&str>) -> usize {
        let root = tempfile::tempdir().unwrap();
        if let Some(found) = found {
            std::fs::write(root.path().join("table.rs"), found).unwrap();
        }
        let generator = Generator {
            output: "table.rs",
            make,
            command: "cargo xtask table",
        };
        check(root.path(), &[generator]).unwrap().len()
    }

    #[test]
    fn stale_and_missing_files_are_found() {
        let make = |_: &Path| Ok(Some("new".to_owned()));
        assert_eq!(made(make, Some("new")), 0);
        assert_eq!(made(make, Some("old")), 1);
        assert_eq!(made(make, None), 1);
    }

    #[test]
    fn without_its_source_a_file_is_taken_as_it_is() {
        assert_eq!(made(|_| Ok(None), Some("old")), 0);
    }
}
