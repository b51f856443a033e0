//! What an upgrade does with a pod, and when a new sidecar is said to run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]
#![allow(dead_code, reason = "shared with tests that need more of it")]

#[path = "common/mod.rs"]
mod common;

use common::{applied, cluster, fixture, injected};
use control::inject::{Settings, SidecarKind};
use control::upgrade::plan::{Step, plan};
use control::upgrade::progress::{Progress, progress};
use control::upgrade::successor::{in_flight, is_injected, ready, successor};
use control::watchdog::Wanted;
use serde_json::{Value, json};

fn settings(image: &str) -> Settings {
    Settings {
        image: image.to_owned(),
        sidecar: SidecarKind::Native,
        ..Settings::default()
    }
}

fn planned(pod: &Value, settings: &Settings) -> Option<Step> {
    let surroundings = cluster(34);
    let wanted = Wanted {
        settings,
        surroundings: &surroundings,
        image: Some(&settings.image),
        exact: true,
        configuration: None,
    };
    plan(pod, &wanted, false)
}

fn with(pod: &Value, image: &str) -> Value {
    applied(pod, &injected(pod, &settings(image), &cluster(34)))
}

/// As a kubelet says it of a native sidecar.
fn told(pod: &Value, id: &str, state: &Value, initialized: bool) -> Value {
    let mut pod = pod.clone();
    pod["status"] = json!({
        "conditions": [{ "type": "Initialized", "status": if initialized { "True" } else { "False" } }],
        "initContainerStatuses": [{ "name": "emco-observer", "containerID": id, "state": state }],
    });
    pod
}

#[test]
fn only_images_are_upgraded() {
    let bare = fixture("orchestrator.yaml");
    let new = settings("two");
    let old = with(&bare, "one");
    let Some(Step::InPlace(renewal)) = planned(&old, &new) else {
        panic!("its image is old");
    };
    assert_eq!((renewal.from.as_str(), renewal.whole), ("one", true));
    assert_eq!(renewal.patch.0.len(), 4);

    assert_eq!(planned(&with(&bare, "two"), &new), Some(Step::Nothing));
    let mut out = old.clone();
    out["metadata"]["labels"]["emco-observer.io/inject"] = json!("false");
    assert_eq!(planned(&out, &new), Some(Step::Nothing));
    let mut over = old.clone();
    over["status"] = json!({ "phase": "Succeeded" });
    assert_eq!(planned(&over, &new), None);

    let says = |pod: &Value, settings: &Settings| match planned(pod, settings) {
        Some(Step::Left(next)) => next,
        other => panic!("{other:?}"),
    };
    assert!(says(&bare, &new).contains("started without its sidecar"));
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let fails = told(&with(&bare, "two"), "", &waiting, true);
    assert!(says(&fails, &new).contains("CrashLoopBackOff"));
}

#[test]
fn other_settings_come_with_a_restart() {
    let bare = fixture("orchestrator.yaml");
    let with_old = with(&bare, "one");
    let planned = |image: &str, restart| {
        let settings = Settings {
            sidecar: SidecarKind::Plain,
            ..settings(image)
        };
        let surroundings = cluster(34);
        let wanted = Wanted {
            settings: &settings,
            surroundings: &surroundings,
            image: Some(image),
            exact: true,
            configuration: None,
        };
        plan(&with_old, &wanted, restart)
    };
    let restart = |step: Option<Step>| match step {
        Some(Step::Restart(next)) => next,
        other => panic!("{other:?}"),
    };
    assert!(restart(planned("one", false)).contains("other settings"));
    assert!(restart(planned("one", true)).contains("other settings"));
    // the image helps a little
    let Some(Step::InPlace(renewal)) = planned("two", false) else {
        panic!("its image is old");
    };
    assert!(!renewal.whole);
    assert!(restart(planned("two", true)).contains("two is wanted"));
}

#[test]
fn emco_that_waits_gets_an_image_for_all_that_is_ours() {
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff" } });
    let waits = told(
        &with(&fixture("orchestrator.yaml"), "one"),
        "",
        &waiting,
        false,
    );
    let Some(Step::InPlace(renewal)) = planned(&waits, &settings("two")) else {
        panic!("its image cannot be had");
    };
    assert_eq!(renewal.patch.0.len(), 6);
}

#[test]
fn a_new_sidecar_runs_when_another_container_does() {
    let pod = with(&fixture("orchestrator.yaml"), "one");
    let running = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
    let before = told(&pod, "containerd://1", &running, true);
    let now = |id: &str, state: &Value| progress(&before, &told(&pod, id, state, true));
    assert_eq!(now("containerd://1", &running), Progress::Starts);
    let ended = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    assert_eq!(now("containerd://1", &ended), Progress::Starts);
    assert_eq!(
        now("containerd://2", &running),
        Progress::Runs("containerd://2".to_owned())
    );
    for (reason, fails) in [
        ("ContainerCreating", false),
        ("ErrImagePull", false),
        ("ImagePullBackOff", true),
        ("InvalidImageName", true),
        ("ErrImageNeverPull", true),
        ("CrashLoopBackOff", true),
    ] {
        let expected = if fails {
            Progress::Fails(reason.to_owned())
        } else {
            Progress::Starts
        };
        assert_eq!(
            now("containerd://1", &waiting(reason)),
            expected,
            "{reason}"
        );
    }
    // the old one had failed already, and the kubelet has not looked yet
    let failed = told(&pod, "", &waiting("ImagePullBackOff"), true);
    assert_eq!(progress(&failed, &failed), Progress::Starts);
    let runs = told(&pod, "containerd://1", &running, true);
    assert_eq!(
        progress(&failed, &runs),
        Progress::Runs("containerd://1".to_owned())
    );

    let mut over = before.clone();
    over["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(progress(&before, &over), Progress::Over);
}

fn owned(pod: &Value, uid: &str) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "one", "uid": uid, "controller": true },
    ]);
    pod
}

#[test]
fn requests_in_flight_are_counted() {
    let build = "emco_observer_build_info{revision=\"\",version=\"0.1.0\"} 1\n";
    let line =
        "emco_requests_in_flight{action=\"a b\",method=\"GET\",route=\"/v2\",service=\"clm\"}";
    let more = "emco_requests_in_flight_is_none_of_these 7\n";
    assert_eq!(in_flight(build), Ok(0));
    assert_eq!(
        in_flight(&format!("{build}{line} 2\n{line} 0\n{line} 1\n")),
        Ok(3)
    );
    assert_eq!(in_flight(&format!("{build}{more}")), Ok(0));
    assert!(in_flight("").is_err());
    assert!(in_flight("go_goroutines 7\n").is_err());
}

#[test]
fn a_successor_is_tried_without_what_is_of_this_pod() {
    let bare = fixture("orchestrator.yaml");
    assert_eq!(successor(&with(&bare, "one")), None, "nobody would make it");
    let mut pod = owned(&with(&bare, "one"), "1");
    pod["metadata"]["name"] = json!("one-abcde");
    pod["metadata"]["uid"] = json!("2");
    pod["metadata"]["resourceVersion"] = json!("3");
    pod["spec"]["nodeName"] = json!("node");
    pod["status"] = json!({ "phase": "Running" });
    let next = successor(&pod).unwrap();
    assert_eq!(next["metadata"]["labels"], bare["metadata"]["labels"]);
    assert_eq!(next["spec"], bare["spec"]);
    let keys: Vec<_> = next["metadata"].as_object().unwrap().keys().collect();
    assert!(
        keys.iter()
            .all(|key| ["annotations", "generateName", "labels"].contains(&key.as_str()))
    );
    assert_eq!(next.get("status"), None);

    let injected = with(&next, "two");
    assert!(is_injected(&injected, &settings("two"), &cluster(34)));
    assert!(!is_injected(&injected, &settings("one"), &cluster(34)));
    assert!(!is_injected(&next, &settings("two"), &cluster(34)));
}

#[test]
fn pods_of_the_same_owner_are_counted() {
    let pod = |uid: &str, ready: &str| {
        let mut pod = owned(&fixture("orchestrator.yaml"), uid);
        pod["status"] = json!({ "conditions": [{ "type": "Ready", "status": ready }] });
        pod
    };
    let mut ending = pod("1", "True");
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let pods = [
        pod("1", "True"),
        pod("1", "False"),
        pod("2", "True"),
        ending,
        pod("1", "True"),
    ];
    assert_eq!(ready(&pods, &pods[1]), 2);
    assert_eq!(ready(&pods[1..2], &pods[0]), 0);
}
