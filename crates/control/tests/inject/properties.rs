//! Whatever is in a pod: no panic, and where a sidecar is put in, all of it comes out again.

use control::inject::{
    Decision, Evidence, LogMode, PodSecurity, Settings, SidecarKind, eject, review,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::common::{applied, cluster, ejected, fixture, untouched, with_level};

/// Names that mean something, and some that do not.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("orchestrator".to_owned()),
        Just("istio-proxy".to_owned()),
        Just("emco-observer-prepare".to_owned()),
        "[a-z/~]{0,6}",
    ]
}

/// Any JSON.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        name().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let map = vec((name(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            map.prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Places of a pod that are looked at.
const PLACES: [&str; 24] = [
    "/metadata",
    "/metadata/annotations",
    "/metadata/annotations/emco-observer.io~1status",
    "/metadata/annotations/emco-observer.io~1logs",
    "/metadata/annotations/traffic.sidecar.istio.io~1excludeInboundPorts",
    "/metadata/labels",
    "/spec",
    "/spec/containers",
    "/spec/containers/0",
    "/spec/containers/0/name",
    "/spec/containers/0/env",
    "/spec/containers/0/env/1",
    "/spec/containers/0/command",
    "/spec/containers/0/volumeMounts",
    "/spec/containers/0/volumeMounts/1",
    "/spec/containers/0/ports",
    "/spec/containers/0/resources",
    "/spec/initContainers",
    "/spec/volumes",
    "/spec/volumes/1",
    "/spec/volumes/1/configMap",
    "/spec/imagePullSecrets",
    "/spec/securityContext",
    "/spec/terminationGracePeriodSeconds",
];

/// Puts `value` at `place`, or takes away what is there.
fn set(pod: &mut Value, place: &str, value: Option<&Value>) {
    let (parent, key) = place.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    match (pod.pointer_mut(parent), value) {
        (Some(Value::Object(map)), Some(value)) => {
            map.insert(key, value.clone());
        }
        (Some(Value::Object(map)), None) => {
            map.remove(&key);
        }
        (Some(Value::Array(list)), Some(value)) => {
            if let Some(item) = key
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get_mut(index))
            {
                *item = value.clone();
            }
        }
        _ => {}
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let logs = prop_oneof![
        Just(LogMode::Auto),
        Just(LogMode::Hostpath),
        Just(LogMode::Wrap),
        Just(LogMode::None),
    ];
    let sidecar = prop_oneof![Just(SidecarKind::Auto), Just(SidecarKind::Optional)];
    let evidence = prop_oneof![Just(Evidence::Full), Just(Evidence::AsSampled)];
    (logs, sidecar, evidence, any::<bool>()).prop_map(|(logs, sidecar, evidence, overlay)| {
        Settings {
            logs,
            sidecar,
            evidence,
            overlay,
            ..Settings::default()
        }
    })
}

/// What has to hold for any pod.
fn hold(pod: &Value, settings: &Settings, minor: u16) {
    let surroundings = with_level(cluster(minor), PodSecurity::Privileged);
    if let Ok(Some(patch)) = eject(pod) {
        let mut bare = pod.clone();
        // a pod that somebody changed may hold nothing at a path; it is never taken half apart
        let before = json_patch::patch(&mut bare, &patch).is_err().then_some(pod);
        assert!(before.is_none_or(|before| *before == bare));
    }
    let Decision::Inject(injection) = review(pod, settings, &surroundings) else {
        return;
    };
    let patched = applied(pod, &injection);
    assert_eq!(review(&patched, settings, &surroundings), Decision::Current);
    if injection.replaces {
        return;
    }
    assert_eq!(&ejected(&patched), pod);
    untouched(pod, &patched);
}

proptest! {
    #[test]
    fn any_json_is_no_reason_to_panic(pod in any_value(), settings in settings()) {
        hold(&pod, &settings, 30);
    }

    #[test]
    fn pods_with_odd_parts(
        changes in vec((proptest::sample::select(PLACES.as_slice()), proptest::option::of(any_value())), 1..4),
        settings in settings(),
        minor in 27..31_u16,
    ) {
        let mut pod = fixture("orchestrator.yaml");
        for (place, value) in &changes {
            set(&mut pod, place, value.as_ref());
        }
        hold(&pod, &settings, minor);
    }

    #[test]
    fn pods_with_sidecars_that_somebody_changed(
        changes in vec((proptest::sample::select(PLACES.as_slice()), proptest::option::of(any_value())), 1..4),
        before in settings(),
        after in settings(),
    ) {
        let surroundings = cluster(30);
        let mut pod = fixture("rsync.yaml");
        let Decision::Inject(injection) = review(&pod, &before, &surroundings) else {
            panic!("it is EMCO's");
        };
        pod = applied(&pod, &injection);
        for (place, value) in &changes {
            set(&mut pod, place, value.as_ref());
        }
        hold(&pod, &after, 30);
    }

    #[test]
    fn any_status_is_read_or_refused(status in any_value(), text in ".{0,40}") {
        let mut pod = fixture("orchestrator.yaml");
        for status in [status.to_string(), text] {
            pod["metadata"]["annotations"]["emco-observer.io/status"] = json!(status);
            hold(&pod, &Settings::default(), 30);
        }
    }
}
