//! Who may use whom: the table of `docs/architecture.md`, as data.

use anyhow::Result;

use super::Finding;
use crate::workspace::{Metadata, read_text};

/// Each of our crates with those of our crates it may use, in the order of the layers.
const USES: &[(&str, &[&str])] = &[
    // pure
    ("model", &[]),
    ("decode", &["model"]),
    ("correlate", &["model"]),
    ("emco-state", &[]),
    // parts
    ("telemetry", &[]),
    ("net", &[]),
    ("spool", &["telemetry"]),
    ("pipeline", &["model", "spool", "telemetry"]),
    ("in-tail", &["model", "pipeline", "telemetry"]),
    ("in-spans", &["model", "net", "spool", "telemetry"]),
    ("out-forward", &["model", "net", "pipeline", "telemetry"]),
    ("out-elastic", &["model", "net", "pipeline", "telemetry"]),
    ("out-otlp", &["model", "net", "pipeline", "telemetry"]),
    ("out-events", &["model", "net", "pipeline", "telemetry"]),
    ("hub", &["model", "net", "telemetry"]),
    (
        "head",
        &[
            "model",
            "decode",
            "correlate",
            "telemetry",
            "net",
            "spool",
            "pipeline",
            "in-tail",
            "in-spans",
        ],
    ),
    // programs
    (
        "agent",
        &[
            "model",
            "decode",
            "correlate",
            "telemetry",
            "net",
            "spool",
            "pipeline",
            "in-tail",
            "in-spans",
            "head",
            "out-forward",
            "out-elastic",
            "out-otlp",
            "out-events",
            "hub",
        ],
    ),
    (
        "control",
        &["model", "net", "telemetry", "hub", "pipeline", "out-events"],
    ),
    ("doctor", &["emco-state", "net", "telemetry"]),
    ("lab", &["model", "decode", "net", "telemetry", "hub"]),
    // development
    ("testkit", &["model"]),
    ("xtask", &["model", "testkit"]),
    (
        "fuzz",
        &[
            "model",
            "decode",
            "spool",
            "pipeline",
            "in-tail",
            "in-spans",
            "out-forward",
            "out-elastic",
            "out-otlp",
            "hub",
            "control",
        ],
    ),
];

/// May be used by the tests of every crate.
const FOR_TESTS: &str = "testkit";

/// Dependencies between our crates that the table does not name.
pub(crate) fn check(own: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &own.packages {
        let Some((_, allowed)) = USES.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::new(
                &package.name,
                "is not in the table of docs/architecture.md: name its role and what it may use",
            ));
            continue;
        };
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some());
        for dependency in ours {
            let name = dependency.name.as_str();
            let is_dev = dependency.kind.as_deref() == Some("dev");
            let is_allowed = allowed.contains(&name) || (is_dev && name == FOR_TESTS);
            if !is_allowed {
                findings.push(Finding::new(
                    &package.name,
                    format!("may not use {name} (docs/architecture.md says whom it may use)"),
                ));
            }
        }
    }
    findings
}

/// Crates that do not take part in the workspace's lints.
pub(crate) fn check_lints(own: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in &own.packages {
        if !read_text(&package.manifest_path)?.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(
                &package.name,
                "has lints of its own: say `[lints] workspace = true`",
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(name: &str, dependencies: &serde_json::Value) -> Metadata {
        let package = json!({ "name": name, "version": "0.1.0", "license": "Apache-2.0",
            "manifest_path": "Cargo.toml", "dependencies": dependencies });
        serde_json::from_value(json!({ "packages": [package] })).unwrap()
    }

    #[test]
    fn a_use_that_the_table_does_not_name_is_found() {
        let own = workspace(
            "decode",
            &json!([
                { "name": "model", "kind": null, "path": "crates/model" },
                { "name": "pipeline", "kind": null, "path": "crates/pipeline" },
                { "name": "memchr", "kind": null, "path": null },
            ]),
        );
        let found = check(&own);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("pipeline"), "{}", found[0]);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        let tests = json!([{ "name": "testkit", "kind": "dev", "path": "crates/testkit" }]);
        assert_eq!(check(&workspace("hub", &tests)), []);
        let shipped = json!([{ "name": "testkit", "kind": null, "path": "crates/testkit" }]);
        assert_eq!(check(&workspace("hub", &shipped)).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(check(&workspace("common", &json!([]))).len(), 1);
    }

    #[test]
    fn the_table_only_points_down() {
        for (row, (name, allowed)) in USES.iter().enumerate() {
            for used in *allowed {
                let position = USES.iter().position(|(other, _)| other == used);
                let is_below = position.is_some_and(|position| position < row);
                assert!(is_below, "{name} uses {used}");
            }
        }
    }
}
