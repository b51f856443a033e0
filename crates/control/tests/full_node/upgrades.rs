//! Sidecars of pods that run get another image, and pods that need one a restart; EMCO's containers are
//! not touched by the former.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use super::trial::{OWN, Trial, chart, status};

const WRITES: [&str; 4] = ["-lines", "1000000", "-rate", "20"];
const IMAGE: &str = "docker.io/library/emco-observer";

#[test]
fn sidecars_are_upgraded_in_pods_that_run() {
    let Some(trial) = Trial::start() else { return };
    trial.namespace("emco", true);
    trial.install(&[]);
    for service in ["clm", "dcm"] {
        trial.make_service("emco", service, &WRITES);
    }
    let before = ["clm", "dcm"].map(|service| trial.running("emco", service));
    trial.node.name_image(
        &format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION")),
        &format!("{IMAGE}:next"),
    );
    take(&trial, "sidecar.image.tag=next");
    let done = upgrade(&trial, &[]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        said(&done).contains("2 upgraded, 0 restarted, 0 as they should be, 0 that need more"),
        "{}",
        said(&done)
    );
    for (service, before) in ["clm", "dcm"].into_iter().zip(&before) {
        let pod = trial.running("emco", service);
        assert_eq!(pod["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(
            status(&pod, service)["containerID"],
            status(before, service)["containerID"],
            "EMCO's container is the same"
        );
        assert_ne!(
            status(&pod, OWN)["containerID"],
            status(before, OWN)["containerID"]
        );
        assert_eq!(sidecar(&pod)["image"], "emco-observer:next");
    }
    println!("{}", said(&done));
    does_not_run_and_is_put_back(&trial);
    is_restarted(&trial);
}

fn does_not_run_and_is_put_back(trial: &Trial) {
    take(trial, "sidecar.image.tag=none-such");
    let done = upgrade(trial, &["--timeout", "30s"]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(
        said(&done).contains("its image emco-observer:next is put back"),
        "{}",
        said(&done)
    );
    for service in ["clm", "dcm"] {
        let pod = trial.running("emco", service);
        assert_eq!(sidecar(&pod)["image"], "emco-observer:next");
        assert_eq!(status(&pod, service)["restartCount"], 0, "{pod}");
    }
    println!("{}", said(&done));
}

fn is_restarted(trial: &Trial) {
    take(trial, "sidecar.image.tag=next,injection.evidence=full");
    let before = trial.running("emco", "clm");
    let done = upgrade(trial, &["--restart"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        said(&done).contains("0 upgraded, 2 restarted, 0 as they should be, 0 that need more"),
        "{}",
        said(&done)
    );
    let pod = trial.running("emco", "clm");
    assert_ne!(pod["metadata"]["uid"], before["metadata"]["uid"]);
    println!("{}", said(&done));
}

/// Upgrades the release.
fn take(trial: &Trial, value: &str) {
    let chart = chart();
    let upgrade = ["upgrade", OWN, chart.to_str().unwrap(), "--namespace", OWN];
    let values = ["--wait", "--set", "backend=embedded", "--set", value];
    trial.node.helm4(&[&upgrade[..], &values].concat()).text();
}

/// As docs/install.md says it.
fn upgrade(trial: &Trial, more: &[&str]) -> Output {
    let path = format!("/api/v1/namespaces/{OWN}/configmaps/{OWN}-control");
    let map = trial.node.ask(&path).object();
    let config: PathBuf = trial.node.kubeconfig().with_file_name("control.yaml");
    std::fs::write(&config, map["data"]["config.yaml"].as_str().unwrap()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_emco-observer-control"))
        .args(["upgrade", "--config"])
        .arg(config)
        .args(more)
        .env("KUBECONFIG", trial.node.kubeconfig())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn sidecar(pod: &Value) -> Value {
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    let found = containers.iter().find(|container| container["name"] == OWN);
    found.unwrap().clone()
}
