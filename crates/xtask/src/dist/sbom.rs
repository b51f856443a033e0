//! What is in a program, as a bill of materials in `CycloneDX`'s JSON.
//!
//! Cargo is asked which crates become part of the program for its target and features: what only
//! builds (build scripts, procedural macros) or only tests is not in it. Digests are those of the lock
//! file. What cargo does not know of is added: Rust's standard library and the C library.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::build::{Program, Target};
use crate::{child, workspace};

const BOUND: Duration = Duration::from_mins(2);
/// What cargo prints of a crate, between the signs that no field has.
const FORMAT: &str = "{p}\t{l}\t{r}\t";
/// A crate that was printed with what it needs before.
const REPEATED: &str = "(*)";

/// One crate of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: String,
}

impl Crate {
    /// `name vVersion (path)`, licence, repository.
    fn parse(text: &str) -> Result<Self> {
        let mut fields = text.split('\t');
        let mut field = || {
            fields
                .next()
                .with_context(|| format!("{text} is cut short"))
        };
        let (package, licence, repository) = (field()?, field()?, field()?);
        let mut words = package.split(' ');
        let name = words.next().unwrap_or_default();
        let version = words.next().and_then(|word| word.strip_prefix('v'));
        Ok(Self {
            name: name.to_owned(),
            version: version
                .with_context(|| format!("{package} has no version"))?
                .to_owned(),
            licence: licence.replace('/', " OR "),
            repository: repository.to_owned(),
        })
    }

    /// What names it everywhere.
    fn url(&self) -> String {
        url(&self.name, &self.version)
    }
}

fn url(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// The crates of a program, and which needs which.
#[derive(Debug, Default)]
pub(super) struct Graph {
    crates: BTreeMap<String, Crate>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo what becomes part of `program`.
    pub(super) fn of(program: Program, target: Target) -> Result<Self> {
        let mut tree = workspace::cargo();
        tree.args(["tree", "--locked", "--quiet", "--charset", "ascii"])
            .args(["--package", program.package, "--target", target.triple()])
            .args(["--edges", "normal,no-proc-macro", "--prefix", "depth"])
            .args(["--format", FORMAT]);
        Self::parse(&child::output("cargo tree", &mut tree, BOUND)?)
    }

    /// Under what a crate comes, if it is in here.
    pub(super) fn licence(&self, name: &str, version: &str) -> Option<&str> {
        let found = self.crates.get(&url(name, version))?;
        Some(&found.licence)
    }

    /// Reads what `cargo tree --prefix depth` printed; the first line is the program.
    fn parse(tree: &str) -> Result<Self> {
        let mut graph = Self::default();
        let mut above: Vec<String> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let digits = line.bytes().take_while(u8::is_ascii_digit).count();
            let (depth, text) = line.split_at(digits);
            let depth: usize = depth
                .parse()
                .with_context(|| format!("{line} has no depth"))?;
            ensure!(depth <= above.len(), "{line} has nothing above it");
            let found = Crate::parse(text.trim_end_matches(REPEATED))?;
            let url = found.url();
            above.truncate(depth);
            if let Some(parent) = above.last() {
                let needs = graph.needs.entry(parent.clone()).or_default();
                needs.insert(url.clone());
            }
            above.push(url.clone());
            graph.crates.insert(url, found);
        }
        ensure!(!graph.crates.is_empty(), "cargo named no crate");
        Ok(graph)
    }
}

/// Digests of the crates in a lock file, by their names and versions.
fn digests(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        block.lines().find_map(|line| {
            let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
            value.strip_suffix('"').map(str::to_owned)
        })
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| {
            let named = (value(block, "name")?, value(block, "version")?);
            Some((named, value(block, "checksum")?))
        })
        .collect()
}

/// The bill of `program`, which has `digest` in hexadecimal form and was made at `created`.
pub(super) fn make(
    program: Program,
    target: Target,
    graph: &Graph,
    digest: &str,
    created: &str,
) -> Result<Vec<u8>> {
    let lock = workspace::read_text(&workspace::root().join("Cargo.lock"))?;
    let mut rustc = Command::new("rustc");
    rustc.arg("--version").current_dir(workspace::root());
    let rustc = child::output("rustc", &mut rustc, BOUND)?;
    let rust = rustc.split(' ').nth(1).context("rustc has no version")?;
    let about = About {
        program,
        c_library: target.c_library(),
        rust,
        digest,
        created,
    };
    let bill = bill(&about, graph, &digests(&lock))?;
    let mut text = serde_json::to_vec_pretty(&bill).context("write the bill of materials")?;
    text.push(b'\n');
    Ok(text)
}

/// What a bill says besides the crates.
struct About<'a> {
    program: Program,
    c_library: &'a str,
    rust: &'a str,
    digest: &'a str,
    created: &'a str,
}

fn bill(
    about: &About<'_>,
    graph: &Graph,
    digests: &BTreeMap<(String, String), String>,
) -> Result<Value> {
    let program = graph
        .crates
        .values()
        .find(|found| found.name == about.program.package)
        .context("cargo did not name the program")?;
    let others = graph.crates.values().filter(|found| *found != program);
    let mut components: Vec<Value> = others.map(|found| component(found, digests)).collect();
    components.extend(runtime(about));
    let dependencies = graph.crates.keys().map(|url| {
        let mut needs = graph.needs.get(url).cloned().unwrap_or_default();
        if *url == program.url() {
            needs.extend(["rust-std", about.c_library].map(str::to_owned));
        }
        json!({ "dependsOn": needs, "ref": url })
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "components": components,
        "dependencies": dependencies.collect::<Vec<_>>(),
        "metadata": {
            "component": {
                "bom-ref": program.url(),
                "description": about.program.description,
                "hashes": [{ "alg": "SHA-256", "content": about.digest }],
                "licenses": [{ "expression": program.licence }],
                "name": about.program.name,
                "type": "application",
                "version": program.version,
            },
            "timestamp": about.created,
        },
        "specVersion": "1.5",
        "version": 1,
    }))
}

fn component(found: &Crate, digests: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "bom-ref": found.url(),
        "licenses": [{ "expression": found.licence }],
        "name": found.name,
        "purl": found.url(),
        "type": "library",
        "version": found.version,
    });
    let named = (found.name.clone(), found.version.clone());
    if let Some(fields) = component.as_object_mut() {
        match digests.get(&named) {
            Some(digest) => {
                let hashes = json!([{ "alg": "SHA-256", "content": digest }]);
                fields.insert("hashes".to_owned(), hashes);
            }
            // One of ours: it is in no registry.
            None => drop(fields.remove("purl")),
        }
        if !found.repository.is_empty() {
            let references = json!([{ "type": "vcs", "url": found.repository }]);
            fields.insert("externalReferences".to_owned(), references);
        }
    }
    component
}

/// What comes with the compilers.
fn runtime(about: &About<'_>) -> [Value; 2] {
    let c_licence = if about.c_library == "musl" {
        "MIT"
    } else {
        "LGPL-2.1-or-later"
    };
    [
        json!({
            "bom-ref": "rust-std",
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            "name": "rust-std",
            "type": "library",
            "version": about.rust,
        }),
        json!({
            "bom-ref": about.c_library,
            "licenses": [{ "expression": c_licence }],
            "name": about.c_library,
            "type": "library",
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0agent v0.1.0 (/a/crates/agent)\tApache-2.0\t\t\n\
        1bytes v1.2.3\tMIT\thttps://example.org/bytes\t\n\
        1hyper v1.0.0\tMIT/Apache-2.0\t\t\n\
        2bytes v1.2.3\tMIT\thttps://example.org/bytes\t (*)\n\
        1model v0.1.0 (/a/crates/model)\tApache-2.0\t\t\n";
    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"bytes\"\nversion = \"1.2.3\"\n\
        source = \"s\"\nchecksum = \"0a\"\n\n[[package]]\nname = \"model\"\nversion = \"0.1.0\"\n";

    fn made() -> Value {
        let about = About {
            program: super::super::build::SIDECAR,
            c_library: "musl",
            rust: "1.2.3",
            digest: "0b",
            created: "2026-01-01T00:00:00Z",
        };
        bill(&about, &Graph::parse(TREE).unwrap(), &digests(LOCK)).unwrap()
    }

    #[test]
    fn each_crate_is_there_once_with_its_digest() {
        let bill = made();
        let components = bill["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|c| &c["name"]).collect();
        assert_eq!(names, ["bytes", "hyper", "model", "rust-std", "musl"]);
        assert_eq!(components[0]["hashes"][0]["content"], "0a");
        assert_eq!(components[0]["purl"], "pkg:cargo/bytes@1.2.3");
        assert_eq!(
            components[0]["externalReferences"][0]["url"],
            "https://example.org/bytes"
        );
        assert_eq!(
            components[1]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(components[2].get("purl"), None);
        assert_eq!(bill["metadata"]["component"]["name"], "emco-observer");
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], "0b");
    }

    #[test]
    fn who_needs_whom_is_known() {
        let bill = made();
        let needs = |name: &str| {
            let all = bill["dependencies"].as_array().unwrap();
            let found = all.iter().find(|d| d["ref"] == name).unwrap();
            found["dependsOn"].to_string()
        };
        assert_eq!(
            needs("pkg:cargo/hyper@1.0.0"),
            r#"["pkg:cargo/bytes@1.2.3"]"#
        );
        assert_eq!(
            needs("pkg:cargo/agent@0.1.0"),
            r#"["musl","pkg:cargo/bytes@1.2.3","pkg:cargo/hyper@1.0.0","pkg:cargo/model@0.1.0","rust-std"]"#
        );
        assert_eq!(needs("pkg:cargo/bytes@1.2.3"), "[]");
    }

    #[test]
    fn what_cargo_does_not_print_is_an_error() {
        for tree in [
            "",
            "agent v1\tMIT\t\t",
            "0agent\tMIT\t\t",
            "1a v1\tMIT\t\t",
            "0a v1",
        ] {
            assert!(Graph::parse(tree).is_err(), "{tree}");
        }
    }

    #[test]
    fn the_sidecar_has_what_it_uses_and_nothing_that_only_builds() {
        let sidecar = super::super::build::SIDECAR;
        let graph = Graph::of(sidecar, Target::Glibc).unwrap();
        let created = "2026-01-01T00:00:00Z";
        let bill = make(sidecar, Target::Glibc, &graph, "0b", created);
        let bill: Value = serde_json::from_slice(&bill.unwrap()).unwrap();
        let components = bill["components"].as_array().unwrap();
        let has = |name: &str| components.iter().any(|c| c["name"] == name);
        assert!(has("tokio") && has("model") && has("rust-std") && has("glibc"));
        for name in [
            "testkit",
            "proptest",
            "serde_derive",
            "cc",
            "rusqlite",
            "xtask",
        ] {
            assert!(!has(name), "{name}");
        }
        for component in components {
            assert!(
                component["licenses"][0]["expression"]
                    .as_str()
                    .is_some_and(|l| !l.is_empty()),
                "{component}"
            );
        }
    }
}
