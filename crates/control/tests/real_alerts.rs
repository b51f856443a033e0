//! The chart's alerts before Debian's promtool: each fires where it should, and says which pod is meant,
//! and none does where all is well.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::path::Path;

use testkit::peers::check_rules;

const RULES: &str = include_str!("../../../deploy/helm/emco-observer/files/alerts.yaml");
const TESTS: &str = include_str!("fixtures/alerts.yaml");

#[test]
fn alerts_fire_where_they_should() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(said) = check_rules(&own.join("tests/fixtures/alerts.yaml")) else {
        return;
    };
    assert_eq!(said, "");
    // the tests name every rule
    for name in RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(TESTS.contains(&format!("alertname: {name}\n")), "{name}");
    }
}
