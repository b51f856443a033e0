//! Pods that are left alone, and what is said of them.

use control::inject::{Decision, Namespace, Reason, Settings, SidecarKind, Surroundings, review};
use serde_json::{Value, json};

use crate::common::{checked, cluster, fixture};

fn refused(pod: &Value) -> Reason {
    refused_in(pod, &Settings::default(), &cluster(30))
}

fn refused_in(pod: &Value, settings: &Settings, surroundings: &Surroundings) -> Reason {
    match review(pod, settings, surroundings) {
        Decision::Skip(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// What `change` makes of orchestrator's pod is refused.
fn changed(change: impl FnOnce(&mut Value)) -> Reason {
    let mut pod = fixture("orchestrator.yaml");
    change(&mut pod);
    refused(&pod)
}

#[test]
fn what_is_not_emcos_is_left_alone() {
    let app = Some("emco-mongo".to_owned());
    assert_eq!(refused(&fixture("mongo.yaml")), Reason::NotEmco { app });
    let nameless = changed(|pod| pod["metadata"]["labels"] = Value::Null);
    assert_eq!(nameless, Reason::NotEmco { app: None });
    for reason in [nameless, Reason::OptedOut, Reason::NotSelected] {
        assert!(!reason.is_unexpected());
    }
}

#[test]
fn more_services_can_be_named_and_a_pod_can_ask_for_itself() {
    let mut pod = fixture("orchestrator.yaml");
    pod["metadata"]["labels"]["app"] = "my-controller".into();
    assert!(matches!(refused(&pod), Reason::NotEmco { .. }));
    let named = Settings {
        more_services: vec!["my-controller".to_owned()],
        ..Settings::default()
    };
    checked(&pod, &named, &cluster(30));
    pod["metadata"]["labels"]["emco-observer.io/inject"] = "true".into();
    checked(&pod, &Settings::default(), &cluster(30));
}

#[test]
fn a_pod_opts_out_by_label_or_annotation() {
    for part in ["labels", "annotations"] {
        for word in ["false", "no"] {
            let reason =
                changed(|pod| pod["metadata"][part]["emco-observer.io/inject"] = word.into());
            assert_eq!(reason, Reason::OptedOut);
        }
    }
    // who says both does not want it
    let both = changed(|pod| {
        pod["metadata"]["labels"]["emco-observer.io/inject"] = "true".into();
        pod["metadata"]["annotations"]["emco-observer.io/inject"] = "false".into();
    });
    assert_eq!(both, Reason::OptedOut);
}

#[test]
fn who_did_not_ask_gets_none() {
    let pod = fixture("orchestrator.yaml");
    for inject in [None, Some(false)] {
        let mut surroundings = cluster(30);
        surroundings.namespace = Namespace {
            inject,
            ..surroundings.namespace
        };
        let reason = refused_in(&pod, &Settings::default(), &surroundings);
        assert_eq!(reason, Reason::NotSelected);
        let mut pod = pod.clone();
        pod["metadata"]["annotations"]["emco-observer.io/inject"] = "true".into();
        checked(&pod, &Settings::default(), &surroundings);
    }
}

#[test]
fn pods_in_which_a_sidecar_would_do_harm_are_refused() {
    let reason = changed(|pod| pod["spec"]["hostNetwork"] = true.into());
    assert_eq!(reason, Reason::HostNetwork);
    let reason = changed(|pod| pod["spec"]["os"] = json!({ "name": "windows" }));
    assert_eq!(reason, Reason::Windows);
    let windows = json!({ "kubernetes.io/os": "windows" });
    let reason = changed(|pod| pod["spec"]["nodeSelector"] = windows);
    assert_eq!(reason, Reason::Windows);
    for (name, value) in [
        ("kubernetes.io/config.mirror", "4f3a"),
        ("kubernetes.io/config.source", "file"),
    ] {
        let reason = changed(|pod| pod["metadata"]["annotations"][name] = value.into());
        assert_eq!(reason, Reason::StaticPod);
        assert!(reason.is_unexpected());
    }
}

#[test]
fn what_ends_gets_no_container_that_does_not() {
    let mut pod = fixture("orchestrator.yaml");
    pod["spec"]["restartPolicy"] = "OnFailure".into();
    let settings = Settings::default();
    assert_eq!(
        refused_in(&pod, &settings, &cluster(28)),
        Reason::WouldNotEnd
    );
    checked(&pod, &settings, &cluster(29));
    let plain = Settings {
        sidecar: SidecarKind::Plain,
        ..settings
    };
    assert_eq!(refused_in(&pod, &plain, &cluster(34)), Reason::WouldNotEnd);
}

#[test]
fn names_and_ports_of_others_are_not_taken() {
    let named = |list: &'static str, name: &'static str| {
        changed(move |pod| {
            let mut items = pod["spec"][list].as_array().cloned().unwrap_or_default();
            items.push(json!({ "name": name }));
            pod["spec"][list] = items.into();
        })
    };
    for (list, name) in [
        ("containers", "emco-observer"),
        ("initContainers", "emco-observer"),
        ("initContainers", "emco-observer-prepare"),
        ("volumes", "emco-observer-state"),
    ] {
        let reason = named(list, name);
        assert!(
            matches!(&reason, Reason::NameTaken { name: taken, .. } if taken == name),
            "{reason:?}"
        );
    }
    let mounts = json!([{ "name": "emco-observer-own", "mountPath": "/own" }]);
    let reason = changed(|pod| pod["spec"]["containers"][0]["volumeMounts"] = mounts);
    assert!(reason.to_string().contains("a mount of emco-observer-own"));
    for port in [9464, 9411] {
        let ports = json!([{ "containerPort": 80 }, { "containerPort": port }]);
        let reason = changed(|pod| pod["spec"]["containers"][0]["ports"] = ports);
        let container = "orchestrator".to_owned();
        assert_eq!(reason, Reason::PortTaken { container, port });
    }
}

#[test]
fn the_service_has_to_be_found() {
    let other = json!([{ "name": "one" }, { "name": "two" }]);
    let reason = changed(|pod| pod["spec"]["containers"] = other);
    let app = "orchestrator".to_owned();
    assert_eq!(reason, Reason::NoContainer { app });
    assert!(matches!(
        changed(|pod| pod["spec"]["containers"] = json!([])),
        Reason::NoContainer { .. }
    ));
    let mut pod = fixture("orchestrator.yaml");
    pod["spec"]["containers"][0]["name"] = "emco".into();
    checked(&pod, &Settings::default(), &cluster(30));
}

#[test]
fn what_is_no_pod_is_said_to_be_none() {
    let path = |change: &dyn Fn(&mut Value)| match changed(|pod| change(pod)) {
        Reason::Malformed { path } => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(path(&|pod| *pod = json!([])), "metadata");
    assert_eq!(path(&|pod| pod["spec"] = json!("x")), "spec");
    assert_eq!(
        path(&|pod| pod["spec"]["volumes"] = json!({})),
        "spec.volumes"
    );
    assert_eq!(
        path(&|pod| pod["spec"]["volumes"][0] = json!(1)),
        "spec.volumes"
    );
    assert_eq!(
        path(&|pod| pod["spec"]["containers"][0]["command"] = json!("./x")),
        "spec.containers[0].command"
    );
    assert_eq!(
        path(&|pod| pod["spec"]["containers"][0]["env"] = json!({ "A": "b" })),
        "spec.containers[0].env"
    );
    assert_eq!(
        path(&|pod| pod["metadata"]["annotations"]["x"] = json!(1)),
        "metadata.annotations"
    );
    let status = "emco-observer.io/status";
    assert_eq!(
        path(&|pod| pod["metadata"]["annotations"][status] = "{".into()),
        format!("annotation {status}")
    );
}

#[test]
fn every_reason_says_what_to_do() {
    let app = || "x".to_owned();
    let reasons = [
        Reason::OptedOut,
        Reason::NotSelected,
        Reason::NotEmco { app: None },
        Reason::HostNetwork,
        Reason::Windows,
        Reason::StaticPod,
        Reason::NameTaken {
            what: "a volume",
            name: app(),
        },
        Reason::PortTaken {
            container: app(),
            port: 1,
        },
        Reason::NoContainer { app: app() },
        Reason::WouldNotEnd,
        Reason::Malformed { path: app() },
    ];
    let mut labels: Vec<&str> = reasons.iter().map(Reason::label).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), reasons.len());
    for reason in reasons {
        let text = reason.to_string();
        assert!(
            text.len() > 30 && text.len() < 200 && !text.ends_with('.'),
            "{text}"
        );
    }
}
