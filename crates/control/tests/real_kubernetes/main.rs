//! A real API server takes the pods that come out: it stores all of what was put in, and Pod Security
//! refuses none that it would take without a sidecar.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

#[path = "../common/mod.rs"]
mod common;
mod identity;
mod killed;
mod losing;
mod restarting;
mod rolling_back;
mod serving;
mod upgrading;
mod verifying;
mod watching;

use common::{applied, as_pod, cluster, fixture, injected, services};
use control::inject::{Decision, LogMode, Namespace, Settings, SidecarKind, Surroundings, review};
use control::manifests;
use serde_json::{Value, json};
use testkit::peers::Kubernetes;

fn settings(logs: LogMode, sidecar: SidecarKind) -> Settings {
    Settings {
        logs,
        sidecar,
        ..Settings::default()
    }
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// Everything in `sent` is in `stored`, which may have more: defaults, and what others put in.
fn stored_whole(sent: &Value, stored: &Value, at: &str) {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(_)) => {
            for (key, value) in sent {
                stored_whole(value, &stored[key], &format!("{at}/{key}"));
            }
        }
        (Value::Array(sent), Value::Array(all)) => {
            for (index, value) in sent.iter().enumerate() {
                let key = ["mountPath", "name"].into_iter();
                let key = key.filter(|key| value.get(key).is_some()).min();
                let same = key.and_then(|key| all.iter().find(|item| item[key] == value[key]));
                let found = same.or_else(|| all.get(index)).unwrap_or(&Value::Null);
                stored_whole(value, found, &format!("{at}/{index}"));
            }
        }
        // an empty list is not stored
        (Value::Null, Value::Null) => {}
        _ => assert_eq!(sent, stored, "{at}"),
    }
}

/// Lists that are sent empty are not stored.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| *value != &json!([]));
            kept.map(|(key, value)| (key.clone(), without_empty(value)))
                .collect()
        }
        Value::Array(list) => list.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

#[test]
fn what_was_put_in_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    server.namespace("emco", &[]);
    for (number, template) in services().iter().enumerate() {
        let pod = as_pod(template, &format!("pod-{number}"));
        for logs in [LogMode::Hostpath, LogMode::Wrap, LogMode::None] {
            for sidecar in [SidecarKind::Native, SidecarKind::Plain] {
                let settings = settings(logs, sidecar);
                let sent = applied(&pod, &injected(&pod, &settings, &cluster(34)));
                let path = pods("emco") + "?dryRun=All";
                let stored = server.create(&path, &sent).object();
                stored_whole(&without_empty(&sent), &stored, "");
                // with all that the server adds it is still the sidecar that it should be
                let decision = review(&stored, &settings, &cluster(34));
                assert_eq!(decision, Decision::Current);
            }
        }
    }

    let pod = as_pod(&fixture("orchestrator.yaml"), "orchestrator");
    let settings = settings(LogMode::Wrap, SidecarKind::Auto);
    let sent = applied(&pod, &injected(&pod, &settings, &cluster(34)));
    server.create(&pods("emco"), &sent).object();
    let stored = server
        .ask(&format!("{}/orchestrator", pods("emco")))
        .object();
    let sidecar = &stored["spec"]["initContainers"][1];
    assert_eq!(sidecar["name"], "emco-observer");
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(review(&stored, &settings, &cluster(34)), Decision::Current);
}

/// A service of EMCO as hard as the strictest level wants it; EMCO's charts do not reach that.
fn hardened() -> Value {
    let mut pod = as_pod(&fixture("orchestrator.yaml"), "orchestrator");
    let spec = &mut pod["spec"];
    let volumes = spec["volumes"].as_array_mut().unwrap();
    volumes.retain(|volume| volume["name"] != "localtime");
    let container = &mut spec["containers"][0];
    let mounts = container["volumeMounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["name"] != "localtime");
    container["securityContext"] = json!({
        "runAsNonRoot": true,
        "runAsUser": 100,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    pod
}

#[test]
fn pod_security_takes_with_a_sidecar_what_it_takes_without() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    let pod = hardened();
    for level in ["privileged", "baseline", "restricted"] {
        let labels = [
            ("pod-security.kubernetes.io/enforce", level),
            ("emco-observer.io/inject", "true"),
        ];
        server.namespace(level, &labels);
        let path = pods(level) + "?dryRun=All";
        server.create(&path, &pod).object();
        let surroundings = Surroundings {
            namespace: Namespace::from_labels(labels),
            ..cluster(34)
        };
        for logs in [
            LogMode::Auto,
            LogMode::Hostpath,
            LogMode::Wrap,
            LogMode::None,
        ] {
            for sidecar in [
                SidecarKind::Native,
                SidecarKind::Plain,
                SidecarKind::Optional,
            ] {
                let settings = settings(logs, sidecar);
                let with = applied(&pod, &injected(&pod, &settings, &surroundings));
                server.create(&path, &with).object();
            }
        }
        // what would have been refused, had the level not been known
        let hostpath = settings(LogMode::Hostpath, SidecarKind::Native);
        let with = applied(&pod, &injected(&pod, &hostpath, &cluster(34)));
        let answer = server.create(&path, &with);
        if level == "privileged" {
            answer.object();
        } else {
            let refusal = answer.refusal();
            assert!(refusal.contains("hostPath"), "{refusal}");
        }
    }
}

#[test]
fn kubectl_reads_the_manifests_that_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    server.namespace("emco", &[]);
    let tricky = json!({ "kubernetes": "yes", "a": "0644", "b": "1e3", "c": "~", "d": "12:30:45",
        "e": "two\nlines\n", "f": " edge ", "g": "- x: y # z", "h": "0x1f", "i": "1_000", "j": "",
        "k": "null", "l": "\u{85}\t\u{2028}é", "m": "2024-01-01", "n": "=", "o": "<<", "p": ".5" });
    for name in ["orchestrator.yaml", "rsync.yaml", "policy.yaml"] {
        let mut template = fixture(name);
        let metadata = template["metadata"].as_object_mut().unwrap();
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        for (key, value) in tricky.as_object().unwrap() {
            annotations[format!("example.com/{key}")] = value.clone();
        }
        let app = template["metadata"]["labels"]["app"].clone();
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": app, "namespace": "emco" },
            "spec": { "selector": { "matchLabels": { "app": app } }, "template": template },
        });
        let flow = format!("# flow style\n---\n{deployment}\n");
        let block = serde_saphyr::to_string(&deployment).unwrap();
        for text in [deployment.to_string(), flow, block] {
            let settings = settings(LogMode::Wrap, SidecarKind::Native);
            let (written, report) = manifests::inject(&text, &settings, &cluster(34)).unwrap();
            assert!(report.to_string().contains("injected"), "{report}");
            let arguments = ["create", "--dry-run=client", "-o", "json", "-f", "-"];
            let read = server.kubectl_with(&arguments, &written).text();
            let read: Value = serde_json::from_str(&read).unwrap();
            let expected = applied(&template, &injected(&template, &settings, &cluster(34)));
            assert_eq!(read["spec"]["template"], expected);
        }
    }
}
