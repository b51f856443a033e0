//! The reference parser of `OpenMetrics`, installed by `cargo xtask peers`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a client asks for who reads `OpenMetrics`.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// What the reference parser finds in a page; `None`, and said, where it is not installed.
pub(crate) fn parsed(page: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("EMCO_PEERS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/peers"),
        std::path::PathBuf::from,
    );
    let folder = folder.join("openmetrics");
    if !folder.is_dir() {
        let missing = "the parser is missing: run `cargo xtask peers openmetrics`";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}");
        eprintln!("SKIPPED, NOT TESTED: {missing}");
        return None;
    }
    let mut python = Command::new("python3")
        .arg("parse.py")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut input = python.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    let refused = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{refused}\n{page}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}
