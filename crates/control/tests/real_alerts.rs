//! The chart's alerts before Debian's promtool: each fires where it should, and says which pod is meant,
//! and none does where all is well.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::path::Path;

use testkit::peers::check_rules;

#[test]
fn alerts_fire_where_they_should() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(said) = check_rules(&own.join("tests/fixtures/alerts.yaml")) else {
        return;
    };
    assert_eq!(said, "");
    // the tests name every rule
    let rules = own.join("../../deploy/helm/emco-observer/files/alerts.yaml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let tests = std::fs::read_to_string(own.join("tests/fixtures/alerts.yaml")).unwrap();
    for name in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name}");
    }
}
