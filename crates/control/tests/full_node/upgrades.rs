//! Sidecars of pods that run get another image, and pods that need one a restart; EMCO's containers are
//! not touched by the former. The chart before this one becomes this one, while pods start.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use testkit::peers::until;

use super::trial::{LONG, OWN, Trial, chart, status, tried};

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
    trial.others_are_gone("control", 2);
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

/// What pods that start meanwhile have got.
#[derive(Debug, Default)]
struct Started {
    with: u32,
    without: u32,
}

#[test]
fn no_pod_goes_without_while_the_chart_before_is_upgraded() {
    let Some(trial) = Trial::start() else { return };
    let node = &trial.node;
    trial.namespace("emco", true);
    let before = Path::new(env!("CARGO_MANIFEST_DIR"));
    let before = before.join("tests/fixtures/charts/emco-observer-0.0.9.tgz");
    let release = |verb: &str, chart: &Path| {
        let release = [verb, OWN, chart.to_str().unwrap(), "--namespace", OWN];
        let values = ["--create-namespace", "--wait", "--set", "backend=embedded"];
        let values = if verb == "install" {
            &values[..]
        } else {
            &values[1..]
        };
        node.helm3(&[&release[..], values].concat()).text();
    };
    release("install", &before);
    trial.is_asked();
    trial.make_service("emco", "clm", &WRITES);
    let pod = trial.running("emco", "clm");
    let secret = format!("/api/v1/namespaces/{OWN}/secrets/{OWN}-control-certificates");
    let authority = node.ask(&secret).object()["data"]["ca.crt"].clone();

    let is_over = AtomicBool::new(false);
    let started = std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            let mut started = Started::default();
            while !is_over.load(Ordering::Relaxed) {
                let pods = "/api/v1/namespaces/emco/pods?dryRun=All";
                let tried = node.create(pods, &tried("tried")).object();
                if tried["spec"]["initContainers"].is_null() {
                    started.without += 1;
                } else {
                    started.with += 1;
                }
            }
            started
        });
        release("upgrade", &chart());
        trial.others_are_gone("control", 2);
        is_over.store(true, Ordering::Relaxed);
        starting.join().unwrap()
    });
    println!("pods that started during the upgrade: {started:?}");
    assert_eq!(started.without, 0, "{started:?}");
    assert!(started.with >= 20, "{started:?}");
    assert_eq!(node.ask(&secret).object()["data"]["ca.crt"], authority);

    // the sidecar before it, as it is, sends to where lines go now: over TLS, with its token
    let begun = Instant::now();
    until("lines of the sidecar before arrive", LONG, || {
        (trial.count("clm") > 0).then_some(())
    });
    println!("its new address is taken up after {:.0?}", begun.elapsed());
    let now = trial.running("emco", "clm");
    for name in ["clm", OWN] {
        let id = |pod: &Value| status(pod, name)["containerID"].clone();
        assert_eq!(id(&now), id(&pod), "{name} is the same container");
    }
}
