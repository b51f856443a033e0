//! Another image for a sidecar in a pod that runs.

use control::inject::{
    Decision, Evidence, LogMode, PodSecurity, Renewal, Settings, SidecarKind, Surroundings, renew,
    review,
};
use serde_json::Value;

use crate::common::{Mesh, applied, cluster, fixture, injected, meshed, services, with_level};

fn with_image(settings: &Settings, image: &str) -> Settings {
    Settings {
        image: image.to_owned(),
        ..settings.clone()
    }
}

fn changed(pod: &Value, patch: &json_patch::Patch) -> Value {
    let mut changed = pod.clone();
    json_patch::patch(&mut changed, patch).expect("the patch fits");
    changed
}

/// Everything but images of ours and our annotation.
fn rest(pod: &Value) -> Value {
    let mut rest = pod.clone();
    let annotations = rest["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove("emco-observer.io/status").unwrap();
    for list in ["initContainers", "containers"] {
        let Some(containers) = rest["spec"][list].as_array_mut() else {
            continue;
        };
        for container in containers {
            if container["name"].as_str() == Some("emco-observer") {
                container["image"] = Value::Null;
            }
        }
    }
    rest
}

fn renewed(pod: &Value, settings: &Settings, surroundings: &Surroundings) -> Option<Renewal> {
    renew(pod, false, settings, surroundings).unwrap()
}

#[test]
fn a_pod_with_another_image_is_as_if_it_had_been_made_with_it() {
    let pods = services().into_iter();
    let pods = pods.chain([meshed(&fixture("orchestrator.yaml"), Mesh::Native)]);
    for pod in pods {
        for logs in [LogMode::Hostpath, LogMode::Wrap, LogMode::None] {
            for minor in [27, 34] {
                let surroundings = cluster(minor);
                let old = Settings {
                    logs,
                    image: "registry.example.com/emco-observer:1".to_owned(),
                    ..Settings::default()
                };
                let new = with_image(&old, "registry.example.com/emco-observer:2");
                let stored = applied(&pod, &injected(&pod, &old, &surroundings));
                let renewal = renewed(&stored, &new, &surroundings).unwrap();
                assert!(renewal.whole);
                assert_eq!(renewal.from, old.image);
                let upgraded = changed(&stored, &renewal.patch);
                assert_ne!(upgraded, stored);
                assert_eq!(rest(&upgraded), rest(&stored));
                assert_eq!(review(&upgraded, &new, &surroundings), Decision::Current);
                assert_eq!(changed(&upgraded, &renewal.back), stored);
                assert_eq!(renewed(&upgraded, &new, &surroundings), None);
                // somebody was faster
                let twice = json_patch::patch(&mut upgraded.clone(), &renewal.patch);
                assert!(twice.is_err());
            }
        }
    }
}

#[test]
fn what_runs_before_emco_is_renewed_only_while_emco_waits() {
    let pod = fixture("orchestrator.yaml");
    let old = Settings {
        logs: LogMode::Wrap,
        sidecar: SidecarKind::Native,
        image: "one".to_owned(),
        ..Settings::default()
    };
    let new = with_image(&old, "two");
    let stored = applied(&pod, &injected(&pod, &old, &cluster(34)));
    let images = |waits| {
        let renewal = renew(&stored, waits, &new, &cluster(34)).unwrap().unwrap();
        let upgraded = changed(&stored, &renewal.patch);
        let containers = upgraded["spec"]["initContainers"]
            .as_array()
            .unwrap()
            .clone();
        let images = containers
            .iter()
            .map(|one| one["image"].as_str().unwrap().to_owned());
        images.collect::<Vec<_>>()
    };
    assert_eq!(images(true), ["two", "two"]);
    assert_eq!(images(false), ["one", "two"]);
}

#[test]
fn other_settings_stay_old() {
    let pod = fixture("orchestrator.yaml");
    let old = Settings {
        image: "one".to_owned(),
        ..Settings::default()
    };
    let stored = applied(&pod, &injected(&pod, &old, &cluster(34)));
    let new = Settings {
        evidence: Evidence::Full,
        ..with_image(&old, "two")
    };
    let renewal = renewed(&stored, &new, &cluster(34)).unwrap();
    assert!(!renewal.whole);
    let upgraded = changed(&stored, &renewal.patch);
    let decision = review(&upgraded, &new, &cluster(34));
    assert!(matches!(decision, Decision::Inject(_)), "{decision:?}");
    // it can be taken out, all the same
    let bare = crate::common::ejected(&upgraded);
    assert_eq!(bare, pod);
}

#[test]
fn what_others_gave_an_image_is_left_alone() {
    let pod = fixture("orchestrator.yaml");
    let old = Settings {
        sidecar: SidecarKind::Plain,
        image: "registry.example.com/emco-observer:1".to_owned(),
        ..Settings::default()
    };
    let surroundings = with_level(cluster(34), PodSecurity::Privileged);
    let new = with_image(&old, "registry.example.com/emco-observer:2");
    assert_eq!(renewed(&pod, &new, &surroundings), None);
    let mut stored = applied(&pod, &injected(&pod, &old, &surroundings));
    stored["spec"]["containers"][0]["image"] = "mirror.example.com/emco-observer:1".into();
    assert_eq!(renewed(&stored, &new, &surroundings), None);
}
