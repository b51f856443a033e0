//! The patches of some pods, as they are written down, and where the sidecar stands.

use std::fmt::Write as _;

use control::inject::{
    Decision, Evidence, Istio, LogMode, Note, Obstacle, PodSecurity, PullPolicy, Settings,
    SidecarKind, review,
};
use serde_json::{Value, json};

use crate::common::{
    Mesh, applied, checked, cluster, ejected, fixture, injected, meshed, with_istio, with_level,
};

fn settings(logs: LogMode) -> Settings {
    Settings {
        image: "registry.example.com/emco-observer:0.1.0".to_owned(),
        logs,
        ..Settings::default()
    }
}

/// The patch of a fixture, one operation a paragraph.
fn golden(name: &str, settings: &Settings, minor: u16, level: PodSecurity) -> String {
    let pod = fixture(name);
    let surroundings = with_level(cluster(minor), level);
    checked(&pod, settings, &surroundings);
    let injection = injected(&pod, settings, &surroundings);
    let mut text = format!("{:?}\n", injection.summary);
    for note in &injection.notes {
        writeln!(text, "note: {note}").unwrap();
    }
    for operation in &injection.patch.0 {
        text += &serde_json::to_string_pretty(operation).unwrap();
        text.push('\n');
    }
    let version = concat!("version\\\":\\\"", env!("CARGO_PKG_VERSION"));
    text.replace(version, "version\\\":\\\"<ours>")
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().cloned().unwrap_or_default();
    let names = items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn orchestrator_by_the_nodes_files() {
    let settings = settings(LogMode::Auto);
    insta::assert_snapshot!(golden(
        "orchestrator.yaml",
        &settings,
        30,
        PodSecurity::Privileged
    ));
}

#[test]
fn orchestrator_by_wrap_in_a_restricted_namespace() {
    let settings = settings(LogMode::Auto);
    insta::assert_snapshot!(golden(
        "orchestrator.yaml",
        &settings,
        30,
        PodSecurity::Restricted
    ));
}

#[test]
fn orchestrator_in_an_old_cluster() {
    let settings = settings(LogMode::Auto);
    insta::assert_snapshot!(golden(
        "orchestrator.yaml",
        &settings,
        27,
        PodSecurity::Privileged
    ));
}

#[test]
fn rsync_by_wrap_keeps_its_own_sampler() {
    let settings = settings(LogMode::Wrap);
    insta::assert_snapshot!(golden("rsync.yaml", &settings, 30, PodSecurity::Privileged));
}

#[test]
fn policy_without_lines() {
    let settings = settings(LogMode::None);
    insta::assert_snapshot!(golden(
        "policy.yaml",
        &settings,
        30,
        PodSecurity::Privileged
    ));
}

#[test]
fn clm_behind_a_native_proxy() {
    let settings = settings(LogMode::Auto);
    insta::assert_snapshot!(golden(
        "istio_native.json",
        &settings,
        33,
        PodSecurity::Privileged
    ));
}

#[test]
fn dcm_behind_a_proxy_that_holds_it_back() {
    let settings = settings(LogMode::Auto);
    insta::assert_snapshot!(golden(
        "istio_plain.json",
        &settings,
        28,
        PodSecurity::Privileged
    ));
}

#[test]
fn a_pod_with_fields_of_another_time() {
    let settings = settings(LogMode::Wrap);
    insta::assert_snapshot!(golden("odd.json", &settings, 34, PodSecurity::Privileged));
}

#[test]
fn the_sidecar_stands_behind_istios_proxy_and_before_the_service() {
    let pod = fixture("orchestrator.yaml");
    let wrap = settings(LogMode::Wrap);
    let order = |mesh: Option<Mesh>, minor| {
        let pod = mesh.map_or(pod.clone(), |mesh| meshed(&pod, mesh));
        let patched = checked(&pod, &wrap, &cluster(minor));
        (
            names(&patched, "initContainers"),
            names(&patched, "containers"),
        )
    };
    let (ours, service) = (["emco-observer-prepare", "emco-observer"], "orchestrator");
    let (inits, containers) = order(None, 30);
    assert_eq!(inits, ours);
    assert_eq!(containers, [service]);
    let (inits, containers) = order(Some(Mesh::Native), 30);
    assert_eq!(inits, ["istio-init", "istio-proxy", ours[0], ours[1]]);
    assert_eq!(containers, [service]);
    let (inits, containers) = order(Some(Mesh::Plain), 27);
    assert_eq!(inits, [ours[0], "istio-init"]);
    assert_eq!(containers, [ours[1], service, "istio-proxy"]);
    let (_, containers) = order(Some(Mesh::Hold), 27);
    assert_eq!(containers, ["istio-proxy", ours[1], service]);
}

#[test]
fn the_kind_follows_from_the_oldest_part_of_the_cluster() {
    let pod = fixture("orchestrator.yaml");
    let kind = |sidecar, server, node| {
        let mut surroundings = cluster(server);
        surroundings.oldest_node = cluster(node).oldest_node;
        let settings = Settings {
            sidecar,
            ..settings(LogMode::Auto)
        };
        let injection = injected(&pod, &settings, &surroundings);
        let said = injection.notes.contains(&Note::NotNative);
        (injection.summary.kind.name(), said)
    };
    assert_eq!(kind(SidecarKind::Auto, 34, 29), ("native", false));
    assert_eq!(kind(SidecarKind::Auto, 29, 28), ("plain", false));
    assert_eq!(kind(SidecarKind::Auto, 28, 34), ("plain", false));
    assert_eq!(kind(SidecarKind::Plain, 34, 34), ("plain", false));
    assert_eq!(kind(SidecarKind::Native, 28, 28), ("native", false));
    assert_eq!(kind(SidecarKind::Native, 34, 27), ("plain", true));
    let mut unknown = cluster(34);
    unknown.oldest_node = None;
    let injection = injected(&pod, &settings(LogMode::Auto), &unknown);
    assert_eq!(injection.summary.kind.name(), "plain");
}

#[test]
fn lines_come_as_pod_security_allows() {
    let pod = fixture("orchestrator.yaml");
    let logs = |mode, level| {
        let surroundings = with_level(cluster(30), level);
        let injection = injected(&pod, &settings(mode), &surroundings);
        (injection.summary.logs.name(), injection.notes.clone())
    };
    let (privileged, baseline) = (PodSecurity::Privileged, PodSecurity::Baseline);
    assert_eq!(logs(LogMode::Auto, privileged), ("hostpath", vec![]));
    assert_eq!(logs(LogMode::Auto, baseline), ("wrap", vec![]));
    assert_eq!(logs(LogMode::Wrap, privileged), ("wrap", vec![]));
    assert_eq!(logs(LogMode::None, baseline), ("none", vec![]));
    // the pod would be refused, which is worse than to get the lines another way
    let forbidden = vec![Note::HostPathForbidden(baseline)];
    assert_eq!(logs(LogMode::Hostpath, baseline), ("wrap", forbidden));
}

#[test]
fn what_cannot_be_wrapped_has_no_lines() {
    for command in [json!(null), json!([])] {
        let mut pod = fixture("orchestrator.yaml");
        pod["spec"]["containers"][0]["command"] = command;
        let injection = injected(&pod, &settings(LogMode::Wrap), &cluster(30));
        assert_eq!(injection.summary.logs.name(), "none");
        let container = "orchestrator".to_owned();
        assert_eq!(injection.notes, [Note::NoCommand { container }]);
        checked(&pod, &settings(LogMode::Wrap), &cluster(30));
    }
}

#[test]
fn a_pod_says_what_it_wants_by_annotations() {
    let mut pod = fixture("orchestrator.yaml");
    for (name, value) in [
        ("emco-observer.io/logs", "none"),
        ("emco-observer.io/evidence", "full"),
        ("emco-observer.io/overlay", "false"),
    ] {
        pod["metadata"]["annotations"][name] = value.into();
    }
    let settings = settings(LogMode::Auto);
    let injection = injected(&pod, &settings, &cluster(30));
    assert_eq!(injection.notes, []);
    assert_eq!(injection.summary.logs.name(), "none");
    assert!(!injection.summary.overlay);
    let text = serde_json::to_string(&injection.patch).unwrap();
    assert!(text.contains("always_on") && !text.contains("LENGTH_LIMIT"));
    checked(&pod, &settings, &cluster(30));

    pod["metadata"]["annotations"]["emco-observer.io/logs"] = "hostPath".into();
    let injection = injected(&pod, &settings, &cluster(30));
    assert_eq!(injection.summary.logs.name(), "hostpath");
    let note = injection.notes[0].to_string();
    assert!(
        note.contains("emco-observer.io/logs") && note.contains("hostPath"),
        "{note}"
    );
}

#[test]
fn evidence_is_asked_of_the_service_and_nothing_that_it_has_is_overwritten() {
    let variables = |fixture_name: &str, evidence| {
        let settings = Settings {
            evidence,
            ..settings(LogMode::Auto)
        };
        let patched = checked(&fixture(fixture_name), &settings, &cluster(30));
        let env = patched["spec"]["containers"][0]["env"].clone();
        let otel = |item: &&Value| item["name"].as_str().unwrap().starts_with("OTEL_");
        let otel: Vec<Value> = env
            .as_array()
            .unwrap()
            .iter()
            .filter(otel)
            .cloned()
            .collect();
        otel
    };
    assert_eq!(variables("orchestrator.yaml", Evidence::Full).len(), 3);
    assert_eq!(variables("orchestrator.yaml", Evidence::Limited).len(), 4);
    assert_eq!(
        variables("orchestrator.yaml", Evidence::AsSampled),
        Vec::<Value>::new()
    );
    let rsync = variables("rsync.yaml", Evidence::Full);
    assert_eq!(rsync.len(), 3);
    assert_eq!(rsync[0]["value"], "parentbased_always_on");
}

#[test]
fn an_overlay_needs_a_mount_that_can_be_copied() {
    let base = fixture("orchestrator.yaml");
    let obstacle = |change: &dyn Fn(&mut Value)| {
        let mut pod = base.clone();
        change(&mut pod);
        let injection = injected(&pod, &settings(LogMode::Auto), &cluster(30));
        checked(&pod, &settings(LogMode::Auto), &cluster(30));
        injection.notes
    };
    let no = |why| vec![Note::NoOverlay { why }];
    assert_eq!(obstacle(&|_| {}), []);
    let mount = |pod: &mut Value, key: &str, value: Value| {
        pod["spec"]["containers"][0]["volumeMounts"][1][key] = value;
    };
    let source = |pod: &mut Value, value: Value| pod["spec"]["volumes"][1] = value;
    assert_eq!(
        obstacle(&|pod| mount(pod, "subPath", Value::Null)),
        no(Obstacle::NoMount)
    );
    assert_eq!(
        obstacle(&|pod| mount(pod, "mountPath", "/etc/other.json".into())),
        no(Obstacle::NoMount)
    );
    let claim = json!({ "name": "orchestrator", "persistentVolumeClaim": { "claimName": "x" } });
    assert_eq!(
        obstacle(&|pod| source(pod, claim.clone())),
        no(Obstacle::OtherVolume)
    );
    let secret = json!({ "name": "orchestrator", "secret": { "secretName": "x" } });
    assert_eq!(obstacle(&|pod| source(pod, secret.clone())), []);
    let private =
        json!({ "name": "orchestrator", "secret": { "secretName": "x", "defaultMode": 256 } });
    assert_eq!(
        obstacle(&|pod| source(pod, private.clone())),
        no(Obstacle::Unreadable)
    );
    assert_eq!(
        obstacle(&|pod| {
            source(pod, private.clone());
            pod["spec"]["securityContext"] = json!({ "fsGroup": 2000 });
        }),
        []
    );
}

#[test]
fn istio_keeps_from_our_port_where_it_is_or_may_come() {
    let name = "traffic.sidecar.istio.io/excludeInboundPorts";
    let ports = |present: Option<&str>, istio| {
        let mut pod = fixture("orchestrator.yaml");
        if let Some(present) = present {
            pod["metadata"]["annotations"][name] = present.into();
        }
        let surroundings = with_istio(cluster(30), istio);
        let patched = checked(&pod, &settings(LogMode::Auto), &surroundings);
        let ports = patched["metadata"]["annotations"].get(name);
        ports.map(|ports| ports.as_str().unwrap().to_owned())
    };
    assert_eq!(ports(None, Istio::Unknown).unwrap(), "9464");
    assert_eq!(ports(None, Istio::Absent), None);
    assert_eq!(ports(Some(""), Istio::Injects).unwrap(), "9464");
    assert_eq!(
        ports(Some("8080,1"), Istio::Injects).unwrap(),
        "8080,1,9464"
    );
    assert_eq!(
        ports(Some("9464, 8080"), Istio::Injects).unwrap(),
        "9464, 8080"
    );
}

#[test]
fn a_pods_limit_of_storage_makes_room_for_our_volumes() {
    let storage = |pod: &Value| {
        let patched = checked(pod, &settings(LogMode::Hostpath), &cluster(30));
        patched["spec"]["initContainers"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()["resources"]
            .clone()
    };
    let free = storage(&fixture("orchestrator.yaml"));
    assert_eq!(free["limits"].get("ephemeral-storage"), None);
    let limited = storage(&fixture("odd.json"));
    assert_eq!(limited["limits"]["ephemeral-storage"], "576Mi");
    assert_eq!(limited["requests"]["ephemeral-storage"], "0");
}

#[test]
fn the_sidecar_stops_within_the_pods_time() {
    let grace = |seconds: u64| {
        let mut pod = fixture("orchestrator.yaml");
        pod["spec"]["terminationGracePeriodSeconds"] = seconds.into();
        let patched = checked(&pod, &settings(LogMode::Hostpath), &cluster(30));
        let env = patched["spec"]["initContainers"][1]["env"]
            .as_array()
            .cloned()
            .unwrap();
        let found = env
            .into_iter()
            .find(|item| item["name"] == "EMCO_OBSERVER_SHUTDOWN_GRACE");
        found.map(|item| item["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(grace(30), None);
    assert_eq!(grace(22), None);
    assert_eq!(grace(21).unwrap(), "19s");
    assert_eq!(grace(0).unwrap(), "1s");
}

#[test]
fn another_version_of_ours_is_replaced_exactly() {
    let pod = fixture("rsync.yaml");
    let before = checked(&pod, &settings(LogMode::Wrap), &cluster(27));
    for (new, surroundings) in [
        (
            Settings {
                image: "other:2".to_owned(),
                ..settings(LogMode::Wrap)
            },
            cluster(27),
        ),
        (settings(LogMode::Hostpath), cluster(27)),
        (
            Settings {
                overlay: false,
                ..settings(LogMode::None)
            },
            cluster(30),
        ),
        (
            Settings {
                evidence: Evidence::AsSampled,
                ..settings(LogMode::Wrap)
            },
            cluster(27),
        ),
        (
            Settings {
                output_bytes_limit: 80 << 20,
                ..settings(LogMode::Wrap)
            },
            cluster(27),
        ),
    ] {
        let injection = injected(&before, &new, &surroundings);
        assert!(injection.replaces);
        let replaced = applied(&before, &injection);
        let direct = applied(&pod, &injected(&pod, &new, &surroundings));
        assert_eq!(replaced, direct);
        assert_eq!(review(&replaced, &new, &surroundings), Decision::Current);
    }
}

#[test]
fn what_somebody_took_out_of_ours_is_put_back() {
    let pod = fixture("orchestrator.yaml");
    let settings = settings(LogMode::Wrap);
    let whole = checked(&pod, &settings, &cluster(30));
    let mut torn = whole.clone();
    torn["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .remove(1);
    torn["spec"]["containers"][0]["command"] = json!(["./orchestrator"]);
    let injection = injected(&torn, &settings, &cluster(30));
    assert_eq!(applied(&torn, &injection), whole);
}

#[test]
fn what_other_mutators_add_to_ours_is_theirs() {
    let pod = fixture("orchestrator.yaml");
    let settings = settings(LogMode::Wrap);
    let mut pod_later = checked(&pod, &settings, &cluster(30));
    // as the API server does it with the token of the service account, and a mirror with images
    for container in pod_later["spec"]["initContainers"].as_array_mut().unwrap() {
        container["image"] = json!("mirror.example.com/emco-observer:0.1.0");
        container["terminationMessagePath"] = json!("/dev/termination-log");
        container["volumeMounts"].as_array_mut().unwrap().push(json!({
            "name": "kube-api-access-1", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }));
    }
    assert_eq!(
        review(&pod_later, &settings, &cluster(30)),
        Decision::Current
    );
    assert_eq!(ejected(&pod_later), pod);
}

#[test]
fn secrets_for_the_image_come_behind_the_pods_own() {
    let settings = Settings {
        image_pull_secrets: vec!["emco-docker-registry-key".to_owned(), "ours".to_owned()],
        ..settings(LogMode::Wrap)
    };
    let patched = checked(&fixture("orchestrator.yaml"), &settings, &cluster(27));
    let names = names(&patched, "imagePullSecrets");
    assert_eq!(names, ["emco-docker-registry-key", "ours"]);
}

#[test]
fn nothing_runs_before_a_service_whose_sidecar_is_optional() {
    for (logs, level, expected) in [
        (LogMode::Auto, PodSecurity::Privileged, "hostpath"),
        (LogMode::Auto, PodSecurity::Restricted, "none"),
        (LogMode::Wrap, PodSecurity::Privileged, "none"),
    ] {
        let settings = Settings {
            sidecar: SidecarKind::Optional,
            ..settings(logs)
        };
        let surroundings = with_level(cluster(34), level);
        let pod = fixture("orchestrator.yaml");
        let patched = checked(&pod, &settings, &surroundings);
        assert_eq!(patched["spec"].get("initContainers"), None);
        assert_eq!(
            patched["spec"]["containers"][1]["command"],
            pod["spec"]["containers"][0]["command"]
        );
        let injection = injected(&pod, &settings, &surroundings);
        assert_eq!(injection.summary.logs.name(), expected);
        let why = Obstacle::Optional;
        assert!(injection.notes.contains(&Note::NoOverlay { why }));
        let no_wrap = injection.notes.contains(&Note::OptionalWithoutWrap);
        assert_eq!(no_wrap, expected == "none");
    }
}

#[test]
fn when_the_image_is_fetched_is_said_where_kubernetes_would_do_otherwise() {
    let policy = |image: &str, image_pull_policy| {
        let settings = Settings {
            image: image.to_owned(),
            image_pull_policy,
            ..settings(LogMode::Wrap)
        };
        let patched = checked(&fixture("orchestrator.yaml"), &settings, &cluster(30));
        let containers = patched["spec"]["initContainers"].as_array().unwrap();
        let said: Vec<_> = containers
            .iter()
            .map(|each| each.get("imagePullPolicy"))
            .collect();
        assert_eq!(said[0], said[1]);
        said[0].map(|policy| policy.as_str().unwrap().to_owned())
    };
    for image in ["a:1", "host:5000/a:1", "a@sha256:00", "a:1@sha256:00"] {
        assert_eq!(policy(image, PullPolicy::IfNotPresent), None, "{image}");
        assert_eq!(policy(image, PullPolicy::Always).unwrap(), "Always");
    }
    for image in ["a", "host:5000/a", "a:latest", "a:latest@sha256:00"] {
        assert_eq!(
            policy(image, PullPolicy::IfNotPresent).unwrap(),
            "IfNotPresent",
            "{image}"
        );
        assert_eq!(policy(image, PullPolicy::Always), None);
        assert_eq!(policy(image, PullPolicy::Never).unwrap(), "Never");
    }
}

#[test]
fn every_note_says_what_is_less() {
    let notes = [
        Note::UnknownWord {
            name: "emco-observer.io/logs",
            value: "x".to_owned(),
            allowed: "a or b",
        },
        Note::HostPathForbidden(PodSecurity::Baseline),
        Note::NoCommand {
            container: "x".to_owned(),
        },
        Note::NoOverlay {
            why: Obstacle::NoMount,
        },
        Note::OptionalWithoutWrap,
        Note::NotNative,
    ];
    let mut labels: Vec<&str> = notes.iter().map(Note::label).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), notes.len());
    for note in notes {
        let text = note.to_string();
        assert!(
            text.len() > 40 && text.len() < 200 && !text.ends_with('.'),
            "{text}"
        );
    }
}
