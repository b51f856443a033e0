//! How it stands with the sidecar of a pod, by what kubelets and the API server say of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]

#[path = "common/mod.rs"]
mod common;

use common::{applied, as_pod, cluster, fixture, injected, services, with_level};
use control::inject::{
    Evidence, INJECT, LogMode, Namespace, PodSecurity, Settings, SidecarKind, Surroundings,
};
use control::watchdog::{ConfigurationSource, Lines, PodReport, Spans, Standing, Wanted, look};
use serde_json::{Value, json};

const IMAGE: &str = "registry.example.com/emco-observer:0.1.0";

fn settings() -> Settings {
    Settings {
        image: IMAGE.to_owned(),
        ..Settings::default()
    }
}

fn looked_with(pod: &Value, settings: &Settings, surroundings: &Surroundings) -> PodReport {
    let wanted = Wanted {
        settings,
        surroundings,
        image: Some(&settings.image),
        exact: true,
        configuration: None,
    };
    look(pod, &wanted).expect("it has not ended")
}

fn looked(pod: &Value) -> PodReport {
    looked_with(pod, &settings(), &cluster(34))
}

/// A pod of a Deployment, without a sidecar.
fn bare(service: &str) -> Value {
    let mut pod = as_pod(
        &fixture(&format!("{service}.yaml")),
        &format!("{service}-7d9c5-x2x4z"),
    );
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.insert("namespace".to_owned(), json!("emco"));
    metadata["labels"]["pod-template-hash"] = json!("7d9c5");
    let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "name": format!("{service}-7d9c5"), "uid": "4f1b", "controller": true });
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    pod
}

fn with(settings: &Settings, surroundings: &Surroundings) -> Value {
    let pod = bare("orchestrator");
    applied(&pod, &injected(&pod, settings, surroundings))
}

/// An orchestrator with the sidecar that it should have.
fn current() -> Value {
    with(&settings(), &cluster(34))
}

fn plain() -> Settings {
    Settings {
        sidecar: SidecarKind::Plain,
        ..settings()
    }
}

/// What a kubelet says of a container that waits.
fn waiting(name: &str, reason: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "imageID": "", "lastState": {}, "ready": false,
        "restartCount": 0, "started": false,
        "state": { "waiting": { "reason": reason, "message": "Back-off" } } })
}

fn running(name: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "imageID": "sha256:1", "containerID": "containerd://1",
        "lastState": {}, "ready": true, "restartCount": 0, "started": true,
        "state": { "running": { "startedAt": "2026-08-01T10:00:00Z" } } })
}

fn ended(name: &str, code: i64, reason: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "imageID": "sha256:1", "lastState": {}, "ready": code == 0,
        "restartCount": 0, "started": false,
        "state": { "terminated": { "exitCode": code, "reason": reason,
            "startedAt": "2026-08-01T10:00:00Z", "finishedAt": "2026-08-01T10:00:01Z" } } })
}

fn told(pod: Value, initialized: bool, init: &[Value], containers: &[Value]) -> Value {
    let mut pod = pod;
    let status = |is: bool| if is { "True" } else { "False" };
    pod["status"] = json!({
        "phase": if initialized { "Running" } else { "Pending" },
        "conditions": [
            { "type": "PodReadyToStartContainers", "status": "True" },
            { "type": "Initialized", "status": status(initialized) },
            { "type": "Ready", "status": "False", "reason": "ContainersNotReady" },
            { "type": "PodScheduled", "status": "True" },
        ],
        "initContainerStatuses": init,
        "containerStatuses": containers,
    });
    pod
}

fn next(report: &PodReport) -> &str {
    report.next.as_deref().unwrap_or_default()
}

#[test]
fn every_service_is_current_with_the_sidecar_that_it_would_get() {
    let mut seen = 0;
    for (number, template) in services().iter().enumerate() {
        let pod = as_pod(template, &format!("pod-{number}"));
        let missing = looked(&pod);
        assert_eq!(missing.standing, Standing::Missing);
        assert_eq!((missing.image, missing.logs), (None, Lines::None));
        let pod = applied(&pod, &injected(&pod, &settings(), &cluster(34)));
        let report = looked(&pod);
        assert_eq!(report.standing, Standing::Current);
        assert_eq!(report.image.as_deref(), Some(IMAGE));
        assert_eq!(
            report.service.as_deref(),
            pod["metadata"]["labels"]["app"].as_str()
        );
        assert_eq!(report.logs, Lines::Hostpath);
        // there is a step just where there is something to reach
        assert_eq!(
            report.next.is_none(),
            report.spans == Spans::Overlay,
            "{report:?}"
        );
        seen += 1;
    }
    assert!(seen >= 4, "{seen} services");
}

#[test]
fn a_pod_without_its_sidecar_is_missing_one() {
    let report = looked(&bare("orchestrator"));
    assert_eq!(report.standing, Standing::Missing);
    assert_eq!(
        next(&report),
        "the pod started without its sidecar; kubectl rollout restart deployment/orchestrator --namespace emco"
    );

    // who says so and has none
    let mut forged = current();
    let init = forged["spec"]["initContainers"].as_array_mut().unwrap();
    init.retain(|container| container["name"] != "emco-observer");
    assert_eq!(looked(&forged).standing, Standing::Missing);

    // the webhook is not asked about namespaces that are not selected
    let mut asks = bare("orchestrator");
    asks["metadata"]["labels"][INJECT] = json!("true");
    let elsewhere = Surroundings {
        namespace: Namespace::default(),
        ..cluster(34)
    };
    let report = looked_with(&asks, &settings(), &elsewhere);
    assert_eq!(report.standing, Standing::Missing);
    assert!(next(&report).contains("label the namespace"), "{report:?}");
}

#[test]
fn successors_come_from_whoever_made_the_pod() {
    let of = |owner: Value| {
        let mut pod = bare("orchestrator");
        pod["metadata"]["ownerReferences"] = owner;
        looked(&pod).next.unwrap()
    };
    let owner = |kind: &str| json!([{ "kind": kind, "name": "store", "controller": true }]);
    assert!(of(owner("StatefulSet")).ends_with("restart statefulset/store --namespace emco"));
    assert!(of(owner("ReplicaSet")).ends_with("; ReplicaSet store makes another"));
    assert!(of(json!([])).ends_with("--namespace emco and make it again"));
}

#[test]
fn another_image_or_other_settings_are_outdated() {
    let newer = Settings {
        image: "registry.example.com/emco-observer:0.2.0".to_owned(),
        ..settings()
    };
    let report = looked_with(&current(), &newer, &cluster(34));
    assert_eq!(report.standing, Standing::Outdated);
    assert!(next(&report).contains(":0.1.0, and registry.example.com/emco-observer:0.2.0 is"));
    assert!(next(&report).ends_with("restart deployment/orchestrator --namespace emco"));

    let other = Settings {
        evidence: Evidence::Full,
        ..settings()
    };
    let report = looked_with(&current(), &other, &cluster(34));
    assert_eq!(report.standing, Standing::Outdated);
    assert!(next(&report).contains("other settings"), "{report:?}");

    // settings that are not the injector's say nothing of that
    let wanted = Wanted {
        settings: &other,
        surroundings: &cluster(34),
        image: None,
        exact: false,
        configuration: None,
    };
    assert_eq!(
        look(&current(), &wanted).unwrap().standing,
        Standing::Current
    );
    let text = current()["metadata"]["annotations"]["emco-observer.io/status"].to_string();
    let mut old = current();
    let version = format!("\\\"{}\\\"", env!("CARGO_PKG_VERSION"));
    let text = text.replace(&version, "\\\"0.0.9\\\"");
    old["metadata"]["annotations"]["emco-observer.io/status"] =
        serde_json::from_str(&text).unwrap();
    let report = look(&old, &wanted).unwrap();
    assert_eq!(report.standing, Standing::Outdated);
    assert!(next(&report).contains("by version 0.0.9"), "{report:?}");
}

/// Clusters have webhooks that take every image from their own registry.
#[test]
fn the_same_image_from_another_registry_is_current() {
    let from = |image: &str| {
        let mut pod = current();
        for container in pod["spec"]["initContainers"].as_array_mut().unwrap() {
            container["image"] = json!(image);
        }
        looked(&pod)
    };
    let report = from("mirror.example.org/cache/emco-observer:0.1.0");
    assert_eq!(report.standing, Standing::Current);
    assert_eq!(
        report.image.unwrap(),
        "mirror.example.org/cache/emco-observer:0.1.0"
    );
    assert_eq!(
        from("mirror.example.org/emco-observer:0.0.9").standing,
        Standing::Outdated
    );
}

#[test]
fn what_emco_waits_for_is_stuck() {
    let app = waiting("orchestrator", "PodInitializing");
    for reason in [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CrashLoopBackOff",
        "RunContainerError",
    ] {
        for (name, before) in [("emco-observer-prepare", None), ("emco-observer", Some(()))] {
            let mut init = vec![waiting(name, reason)];
            if before.is_some() {
                init.insert(0, ended("emco-observer-prepare", 0, "Completed"));
            }
            let report = looked(&told(current(), false, &init, std::slice::from_ref(&app)));
            assert_eq!(report.standing, Standing::Stuck, "{name} {reason}");
            let text = format!("container {name} does not run ({reason}) and EMCO does not start");
            assert!(next(&report).starts_with(&text), "{report:?}");
        }
    }
    let failed = [
        ended("emco-observer-prepare", 1, "Error"),
        waiting("emco-observer", "PodInitializing"),
    ];
    let report = looked(&told(current(), false, &failed, &[app]));
    assert_eq!(report.standing, Standing::Stuck);
    assert!(
        next(&report).contains("kubectl logs orchestrator-7d9c5-x2x4z"),
        "{report:?}"
    );
}

#[test]
fn what_emco_does_not_wait_for_is_failing() {
    let app = running("orchestrator");
    let prepared = ended("emco-observer-prepare", 0, "Completed");
    let native = |sidecar| {
        let init = [prepared.clone(), sidecar];
        looked(&told(current(), true, &init, std::slice::from_ref(&app)))
    };
    let beside = |sidecar| {
        let pod = with(&plain(), &cluster(34));
        let told = told(
            pod,
            true,
            std::slice::from_ref(&prepared),
            &[sidecar, app.clone()],
        );
        looked_with(&told, &plain(), &cluster(34))
    };
    for sidecar in [
        waiting("emco-observer", "CrashLoopBackOff"),
        waiting("emco-observer", "ImagePullBackOff"),
        ended("emco-observer", 137, "OOMKilled"),
    ] {
        for report in [native(sidecar.clone()), beside(sidecar.clone())] {
            assert_eq!(report.standing, Standing::Failing, "{sidecar}");
            assert!(next(&report).contains("EMCO runs"), "{report:?}");
        }
    }
    for sidecar in [
        running("emco-observer"),
        waiting("emco-observer", "ContainerCreating"),
    ] {
        for report in [native(sidecar.clone()), beside(sidecar.clone())] {
            assert_eq!(report.standing, Standing::Current, "{sidecar}");
        }
    }
}

#[test]
fn troubles_of_others_are_not_ours() {
    let init = [
        ended("emco-observer-prepare", 0, "Completed"),
        running("emco-observer"),
    ];
    let app = waiting("orchestrator", "ImagePullBackOff");
    assert_eq!(
        looked(&told(current(), true, &init, &[app])).standing,
        Standing::Current
    );
    // just made, nothing said of it yet
    let starting = [waiting("emco-observer-prepare", "PodInitializing")];
    assert_eq!(
        looked(&told(current(), false, &starting, &[])).standing,
        Standing::Current
    );
    assert_eq!(looked(&current()).standing, Standing::Current);
}

#[test]
fn who_wants_none_or_cannot_have_one_says_why() {
    let of = |change: fn(&mut Value)| {
        let mut pod = bare("orchestrator");
        change(&mut pod);
        looked(&pod)
    };
    let report = of(|pod| pod["metadata"]["labels"][INJECT] = json!("false"));
    assert_eq!(report.standing, Standing::OptedOut);
    let report = of(|pod| pod["metadata"]["labels"]["app"] = json!("mongo"));
    assert_eq!(report.standing, Standing::NotOurs);
    assert!(next(&report).contains("more_services"), "{report:?}");
    let report = of(|pod| pod["spec"]["hostNetwork"] = json!(true));
    assert_eq!(report.standing, Standing::Refused);
    assert!(next(&report).contains("hostNetwork"), "{report:?}");
    let report = of(|pod| {
        pod["metadata"]["annotations"] = json!({ "emco-observer.io/status": "{" });
    });
    assert_eq!(report.standing, Standing::Refused);

    let unselected = Surroundings {
        namespace: Namespace::default(),
        ..cluster(34)
    };
    let report = looked_with(&bare("orchestrator"), &settings(), &unselected);
    assert_eq!(report.standing, Standing::NotOurs);
    // a sidecar outlives the label until its pod ends
    let report = looked_with(&current(), &settings(), &unselected);
    assert_eq!(report.standing, Standing::NotOurs);
    assert!(next(&report).contains("keeps the sidecar"), "{report:?}");
}

#[test]
fn what_has_ended_or_is_ending_is_not_looked_at() {
    let wanted = (settings(), cluster(34));
    let wanted = Wanted {
        settings: &wanted.0,
        surroundings: &wanted.1,
        image: None,
        exact: true,
        configuration: None,
    };
    for phase in ["Succeeded", "Failed"] {
        let mut pod = bare("orchestrator");
        pod["status"] = json!({ "phase": phase });
        assert_eq!(look(&pod, &wanted), None);
    }
    let mut pod = bare("orchestrator");
    pod["metadata"]["deletionTimestamp"] = json!("2026-08-01T10:00:00Z");
    assert_eq!(look(&pod, &wanted), None);
}

#[test]
fn levels_say_what_is_reached_and_what_comes_next() {
    let of = |settings: &Settings, surroundings: &Surroundings| {
        let report = looked_with(&with(settings, surroundings), settings, surroundings);
        assert_eq!(report.standing, Standing::Current);
        report
    };
    let report = of(&settings(), &cluster(34));
    assert_eq!(
        (report.logs, report.spans, report.next),
        (Lines::Hostpath, Spans::Overlay, None)
    );

    let report = of(&settings(), &with_level(cluster(34), PodSecurity::Baseline));
    assert_eq!(
        (report.logs, report.spans, report.next),
        (Lines::Wrap, Spans::Overlay, None)
    );

    let bare = Settings {
        overlay: false,
        ..settings()
    };
    let report = of(&bare, &cluster(34));
    assert_eq!(
        (report.logs, report.spans),
        (Lines::Hostpath, Spans::Unknown)
    );
    assert!(
        next(&report).ends_with("global.zipkinIp is 127.0.0.1"),
        "{report:?}"
    );

    let none = Settings {
        logs: LogMode::None,
        ..settings()
    };
    let report = of(&none, &cluster(34));
    assert_eq!(report.logs, Lines::None);
    assert!(next(&report).contains("set it to auto"), "{report:?}");

    let optional = Settings {
        sidecar: SidecarKind::Optional,
        ..settings()
    };
    let report = of(&optional, &with_level(cluster(34), PodSecurity::Restricted));
    assert_eq!((report.logs, report.spans), (Lines::None, Spans::Unknown));
    assert!(
        next(&report).contains("make the sidecar native or plain"),
        "{report:?}"
    );
}

#[test]
fn emcos_own_configuration_says_where_spans_go() {
    let bare = Settings {
        overlay: false,
        ..settings()
    };
    let surroundings = cluster(34);
    let pod = with(&bare, &surroundings);
    let source = ConfigurationSource::find(&pod).unwrap();
    assert_eq!(
        (source.config_map.as_str(), source.key.as_str()),
        ("emco-orchestrator", "config.json")
    );
    let of = |configuration: Value| {
        let wanted = Wanted {
            settings: &bare,
            surroundings: &surroundings,
            image: Some(IMAGE),
            exact: true,
            configuration: Some(&configuration),
        };
        look(&pod, &wanted).unwrap()
    };
    for here in [
        json!({ "zipkin-ip": "127.0.0.1", "zipkin-port": "9411" }),
        json!({ "Zipkin-IP": "localhost" }),
    ] {
        let report = of(here);
        assert_eq!((report.spans, report.next), (Spans::Config, None));
    }
    for there in [
        json!({ "zipkin-ip": "zipkin.istio-system", "zipkin-port": "9411" }),
        json!({ "zipkin-ip": "127.0.0.1", "zipkin-port": "9412" }),
    ] {
        let report = of(there);
        assert_eq!(report.spans, Spans::Elsewhere);
        assert!(next(&report).contains("another Zipkin"), "{report:?}");
    }
    for nowhere in [json!({ "zipkin-ip": "" }), json!({}), json!([])] {
        let report = of(nowhere);
        assert_eq!(report.spans, Spans::None);
        assert!(next(&report).contains("sends no spans"), "{report:?}");
    }
    // other volumes cannot be read that way
    let mut secret = pod.clone();
    let volumes = secret["spec"]["volumes"].as_array_mut().unwrap();
    let volume = volumes
        .iter_mut()
        .find(|volume| volume["name"] == "orchestrator");
    *volume.unwrap() = json!({ "name": "orchestrator", "secret": { "secretName": "s" } });
    assert_eq!(ConfigurationSource::find(&secret), None);
}
