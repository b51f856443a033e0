//! Every pod that EMCO's own charts make, in all surroundings, if the corpus is there; the fixtures in
//! any case.

use std::collections::BTreeSet;

use control::inject::{
    Decision, Evidence, Istio, LogMode, PodSecurity, Settings, Surroundings, eject, review,
};
use serde_json::Value;

use crate::common::{
    Mesh, checked, cluster, coherent, ejected, fixture, manifests, meshed, templates, with_istio,
    with_level,
};

const MESHES: [Mesh; 3] = [Mesh::Native, Mesh::Plain, Mesh::Hold];
const FIXTURES: [&str; 6] = [
    "orchestrator.yaml",
    "rsync.yaml",
    "policy.yaml",
    "odd.json",
    "istio_native.json",
    "istio_plain.json",
];
/// Pods of EMCO's charts that are none of its services.
const OTHERS: usize = 4;

/// Settings and surroundings of every kind.
fn everywhere() -> Vec<(Settings, Surroundings)> {
    let mut all = Vec::new();
    for logs in [LogMode::Hostpath, LogMode::Wrap, LogMode::None] {
        for overlay in [true, false] {
            for minor in [27, 34] {
                let settings = Settings {
                    logs,
                    overlay,
                    ..Settings::default()
                };
                all.push((settings, cluster(minor)));
            }
        }
    }
    for evidence in [Evidence::Full, Evidence::AsSampled] {
        let settings = Settings {
            evidence,
            ..Settings::default()
        };
        all.push((settings, cluster(30)));
    }
    let restricted = with_level(cluster(30), PodSecurity::Restricted);
    all.push((Settings::default(), restricted));
    all
}

/// All that has to hold for one pod of EMCO, wherever Istio's injector comes in.
fn hold_everywhere(pod: &Value) {
    for (settings, surroundings) in everywhere() {
        let alone = with_istio(surroundings, Istio::Absent);
        checked(pod, &settings, &alone);
        let surroundings = with_istio(surroundings, Istio::Injects);
        let patched = checked(pod, &settings, &surroundings);
        for mesh in MESHES {
            // Istio first
            checked(&meshed(pod, mesh), &settings, &surroundings);
            // Istio after us, which moves its own to the front, and again
            for later in [
                meshed(&patched, mesh),
                meshed(&meshed(&patched, mesh), mesh),
            ] {
                let decision = review(&later, &settings, &surroundings);
                assert_eq!(decision, Decision::Current);
                coherent(&later);
                let bare = ejected(&later);
                assert!(!bare.to_string().contains("emco-observer"), "{bare}");
            }
        }
    }
}

#[test]
fn fixtures_hold_in_all_surroundings() {
    for name in FIXTURES {
        hold_everywhere(&fixture(name));
    }
}

#[test]
fn every_service_of_emco_holds_in_all_surroundings() {
    let Some(folder) = manifests() else { return };
    let mut services = BTreeSet::new();
    // the same pods but for what they are configured with
    for (name, whole) in [
        ("emco-services-default.yaml", true),
        ("emco-services-info-zipkin-loopback.yaml", false),
    ] {
        let mut others = 0;
        for pod in templates(&folder.join(name)) {
            match review(&pod, &Settings::default(), &cluster(30)) {
                Decision::Inject(injection) => {
                    assert_eq!(injection.notes, []);
                    services.insert(injection.summary.service);
                    if whole {
                        hold_everywhere(&pod);
                    } else {
                        checked(&pod, &Settings::default(), &cluster(30));
                    }
                }
                Decision::Skip(reason) => {
                    assert!(!reason.is_unexpected(), "{reason}");
                    others += 1;
                }
                Decision::Current => panic!("nothing is in it yet"),
            }
        }
        // gitea and what it needs
        assert_eq!(others, OTHERS, "{name}");
    }
    let expected: BTreeSet<String> = Settings::default().services.into_iter().collect();
    assert_eq!(services, expected);
}

#[test]
fn stores_and_tools_beside_emco_are_left_alone() {
    let Some(folder) = manifests() else { return };
    for name in [
        "emco-db-chart-default.yaml",
        "emco-db-installer-default.yaml",
        "emco-tools-default.yaml",
    ] {
        let pods = templates(&folder.join(name));
        assert_eq!(pods.len(), 2, "{name}");
        for pod in pods {
            for (settings, surroundings) in everywhere() {
                let decision = review(&pod, &settings, &surroundings);
                let Decision::Skip(reason) = decision else {
                    panic!("{decision:?}")
                };
                assert_eq!(reason.label(), "not_emco");
            }
            assert_eq!(eject(&pod), Ok(None));
        }
    }
}
