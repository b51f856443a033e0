//! What `verify` makes, and what it takes for proof.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]
#![allow(dead_code, reason = "shared with tests that need more of it")]

#[path = "common/mod.rs"]
mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use common::{checked, cluster, with_level};
use control::inject::{LogMode, PodSecurity, Settings, SidecarKind};
use control::verify::pod::{Standing, delivered, pod, sidecar, standing};
use serde_json::{Value, json};

#[test]
fn its_pod_gets_a_sidecar_wherever_one_of_emco_does() {
    let made = pod("one", "text", "control:1", &["secret".to_owned()]);
    for level in [
        PodSecurity::Privileged,
        PodSecurity::Baseline,
        PodSecurity::Restricted,
    ] {
        for kind in [SidecarKind::Native, SidecarKind::Plain] {
            let settings = Settings {
                sidecar: kind,
                ..Settings::default()
            };
            let with = checked(&made, &settings, &with_level(cluster(34), level));
            let status = sidecar(&with).unwrap();
            let logs = if level == PodSecurity::Privileged {
                "hostpath"
            } else {
                "wrap"
            };
            assert_eq!(
                (status.logs.as_str(), status.service.as_str()),
                (logs, "line")
            );
        }
    }
    assert_eq!(sidecar(&made), None);
    let settings = Settings {
        logs: LogMode::None,
        ..Settings::default()
    };
    let with = checked(&made, &settings, &cluster(34));
    assert_eq!(sidecar(&with).unwrap().logs, "none");
}

#[test]
fn kubelets_words_are_passed_on() {
    let seen = |status: Value| standing(&json!({ "status": status }));
    let starts = |why: &str| Standing::Starts(why.to_owned());
    assert_eq!(seen(json!({})), starts("no kubelet has said anything"));
    let pending = json!({ "conditions": [{ "type": "PodScheduled", "message": "0/1 nodes" }] });
    assert_eq!(seen(pending), starts("0/1 nodes"));
    let own = |state: Value| json!({ "containerStatuses": [{ "name": "line", "state": state }] });
    assert_eq!(seen(own(json!({ "running": {} }))), Standing::Runs);
    let no_image = own(json!({ "waiting": { "reason": "ErrImagePull" } }));
    assert_eq!(
        seen(no_image),
        starts("container line does not run (ErrImagePull)")
    );
    let ours = json!({ "initContainerStatuses": [
        { "name": "emco-observer", "state": { "waiting": { "reason": "CrashLoopBackOff" } } } ] });
    assert_eq!(
        seen(ours),
        starts("container emco-observer does not run (CrashLoopBackOff)")
    );
    assert_eq!(seen(json!({ "phase": "Succeeded" })), Standing::Over);
}

#[test]
fn a_line_has_arrived_when_every_lane_for_lines_has_delivered() {
    let line = |lane: &str, outcome: &str, count: u32| {
        format!(
            "emco_observer_lane_records_total{{lane=\"{lane}\",outcome=\"{outcome}\"}} {count}\n"
        )
    };
    assert_eq!(delivered(""), None);
    assert_eq!(delivered(&line("elastic", "delivered", 0)), None);
    assert_eq!(delivered(&line("elastic", "dead_lettered", 1)), None);
    assert_eq!(delivered(&line("otlp", "delivered", 1)), None);
    let one = line("elastic", "delivered", 1);
    assert_eq!(delivered(&one).unwrap(), ["elastic"]);
    let waits = one.clone() + &line("forward", "delivered", 0);
    assert_eq!(delivered(&waits), None);
    let both = one + &line("forward", "delivered", 2);
    assert_eq!(delivered(&both).unwrap(), ["elastic", "forward"]);
}

#[test]
fn its_line_is_one_of_emco_and_it_waits_for_its_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_emco-observer-control"))
        .args(["say", "a line"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["msg"].as_str(), line["level"].as_str()),
        (Some("a line"), Some("info"))
    );
    assert_eq!(child.try_wait().unwrap(), None, "it waits");
    child.kill().unwrap();
    child.wait().unwrap();
}
