//! The pure core stays pure, and protocols stay free of the runtime.
//!
//! | where | knows no |
//! |---|---|
//! | `model`, `decode`, `correlate`, `emco-state` | runtime, clock, file, socket, thread, process, environment |
//! | `wire.rs`, `engine.rs` of every crate | runtime, clock, file, socket |

use super::{Finding, Source};

const PURE_CRATES: [&str; 4] = ["model", "decode", "correlate", "emco-state"];
const PURE_FILES: [&str; 2] = ["wire.rs", "engine.rs"];
const OUTSIDE: [&str; 5] = [
    "tokio::",
    "std::fs",
    "std::net",
    "SystemTime::now",
    "Instant::now",
];
const OUTSIDE_OF_PURE_CRATES: [&str; 7] = [
    "Instant",
    "SystemTime",
    "std::env",
    "std::process",
    "std::thread",
    "rustix::",
    "hyper::",
];
const MODULES: [&str; 5] = ["fs", "net", "env", "process", "thread"];

/// Code lines that reach outside.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.is_test {
        return Vec::new();
    }
    let is_pure_crate = PURE_CRATES
        .iter()
        .any(|name| source.path.starts_with(&format!("crates/{name}/src/")));
    let is_pure_file = PURE_FILES
        .iter()
        .any(|name| source.path.ends_with(&format!("/{name}")));
    let mut findings = Vec::new();
    for (number, line) in source.code() {
        let outside = OUTSIDE
            .iter()
            .filter(|_| is_pure_crate || is_pure_file)
            .chain(OUTSIDE_OF_PURE_CRATES.iter().filter(|_| is_pure_crate))
            .find(|name| line.contains(**name));
        let grouped = is_pure_crate && imports_module(line);
        if outside.is_some() || grouped {
            findings.push(Finding::new(
                format!("{}:{number}", source.path),
                format!(
                    "reaches outside ({}): take time, bytes and settings as arguments",
                    outside.unwrap_or(&"std::{…}")
                ),
            ));
        }
    }
    findings
}

/// Whether `line` is `use std::{…}` with a module of the outside in it.
fn imports_module(line: &str) -> bool {
    let list = line.trim_start().strip_prefix("use std::{");
    list.is_some_and(|list| {
        list.split([',', ':', '}', ' '])
            .any(|word| MODULES.contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: &str) -> usize {
        let text = format!(
            "//! May speak of std::fs and tokio::net.\n{line}\n#[cfg(test)]\nmod tests {{\n    use std::fs;\n}}\n"
        );
        let source = Source::new(path.to_owned(), text);
        check(&source).len()
    }

    #[test]
    fn the_pure_core_reaches_nothing_outside() {
        let path = "crates/decode/src/cri.rs";
        assert_eq!(found(path, "use std::collections::HashMap;"), 0);
        for line in [
            "use std::fs::File;",
            "use std::{fmt, fs};",
            "use tokio::sync::mpsc;",
            "let now = Instant::now();",
            "let home = std::env::var(\"HOME\");",
        ] {
            assert_eq!(found(path, line), 1, "{line}");
        }
    }

    #[test]
    fn protocols_know_no_runtime_and_no_clock() {
        let path = "crates/out-forward/src/wire.rs";
        assert_eq!(found(path, "use tokio::io::AsyncRead;"), 1);
        assert_eq!(found(path, "let now = Instant::now();"), 1);
        assert_eq!(found(path, "pub fn tick(&mut self, now: Instant) {"), 0);
    }

    #[test]
    fn drivers_may_reach_outside() {
        assert_eq!(found("crates/out-forward/src/client.rs", "use std::fs;"), 0);
    }
}
