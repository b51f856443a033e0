use serde_json::json;

use super::*;
use crate::inject::{KubernetesVersion, LogMode, Namespace};

/// A file as charts and people write them: comments, odd separators, scalars of YAML 1.1.
const FILE: &str = "\
# Source: chart/config.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: emco-orchestrator}   # kept as it is
data:
  config.json: |
    --- not a separator: indented
    { \"zipkin-ip\": \"\" }
  on: \"yes\"
---   # the service
# Source: chart/deployment.yaml

apiVersion: apps/v1
kind: Deployment
metadata:
  name: emco-orchestrator
  annotations:
    country: \"no\"
    date: \"2024-01-01\"
    octal: \"0644\"
spec:
  paused: no
  template:
    metadata:
      labels: {app: orchestrator}
    spec:
      containers:
      - name: orchestrator
        image: emco-orch:latest
        command: [./orchestrator]
        args: []
        volumeMounts:
        - {name: orchestrator, mountPath: /opt/emco/orchestrator/config.json, subPath: config.json}
      volumes:
      - name: orchestrator
        configMap:
          name: emco-orchestrator
          defaultMode: 0644
---
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: emco-mongo}
spec: {template: {metadata: {labels: {app: emco-mongo}}, spec: {containers: [{name: mongo}]}}}
";

fn surroundings() -> Surroundings {
    let version = Some(KubernetesVersion::new(1, 30));
    Surroundings {
        server: version,
        oldest_node: version,
        namespace: Namespace {
            inject: Some(true),
            ..Namespace::default()
        },
    }
}

fn settings() -> Settings {
    Settings {
        image: "example.com/emco-observer:1".to_owned(),
        logs: LogMode::Wrap,
        ..Settings::default()
    }
}

fn injected(text: &str) -> (String, Report) {
    inject(text, &settings(), &surroundings()).unwrap()
}

fn values(text: &str) -> Vec<Value> {
    let mut values = Vec::new();
    Documents::parse(text)
        .unwrap()
        .change(|value| {
            values.push(value.clone());
            false
        })
        .unwrap();
    values
}

#[test]
fn a_file_as_it_is_written() {
    let (text, report) = injected(FILE);
    let version = concat!("version\\\":\\\"", env!("CARGO_PKG_VERSION"));
    let text = text.replace(version, "version\\\":\\\"<ours>");
    insta::assert_snapshot!(format!("{report}\n{text}"));
}

#[test]
fn what_does_not_change_keeps_its_bytes() {
    let (text, _) = injected(FILE);
    let (before, rest) = FILE
        .split_once("apiVersion: apps/v1\nkind: Deployment")
        .unwrap();
    assert!(text.starts_with(before));
    let (_, after) = rest.split_once("---\n---\n").unwrap();
    assert!(text.ends_with(&format!("---\n---\n{after}")));
}

#[test]
fn values_are_read_as_kubernetes_reads_them_and_written_so_that_everybody_reads_the_same() {
    let before = values(FILE);
    let deployment = &before[1];
    assert_eq!(deployment["spec"]["paused"], false);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["defaultMode"], 0o644);
    let (text, _) = injected(FILE);
    let after = values(&text);
    assert_eq!(after[1]["metadata"], deployment["metadata"]);
    for quoted in ["country: \"no\"", "octal: \"0644\""] {
        assert!(
            text.contains(quoted) || text.contains(&quoted.replace('"', "'")),
            "{text}"
        );
    }
}

#[test]
fn the_second_time_nothing_changes_and_ejected_it_is_what_it_was() {
    let (text, _) = injected(FILE);
    let (again, report) = injected(&text);
    assert_eq!(again, text);
    assert!(report.to_string().contains("current"));
    let (bare, report) = eject(&text).unwrap();
    assert_eq!(values(&bare), values(FILE));
    assert!(report.to_string().contains("ejected"));
    let (unchanged, report) = eject(&bare).unwrap();
    assert_eq!(unchanged, bare);
    assert!(report.to_string().contains("bare"));
}

#[test]
fn pods_are_found_in_everything_that_makes_them() {
    let pod = json!({
        "metadata": { "labels": { "app": "clm" } },
        "spec": { "containers": [{ "name": "clm" }] },
    });
    let of = |kind: &str, spec: Value| json!({ "kind": kind, "metadata": { "name": "x" }, "spec": spec });
    let template = json!({ "template": pod });
    let mut list = Vec::new();
    for kind in [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "ReplicationController",
        "Job",
    ] {
        list.push(of(kind, template.clone()));
    }
    list.push(of(
        "CronJob",
        json!({ "jobTemplate": { "spec": template } }),
    ));
    list.push(json!({ "kind": "PodTemplate", "metadata": { "name": "x" }, "template": pod }));
    list.push(json!({ "kind": "Pod", "metadata": { "name": "x", "labels": { "app": "clm" } }, "spec": pod["spec"] }));
    list.push(json!({ "kind": "Service", "spec": template }));
    list.push(json!({ "kind": "Deployment", "spec": null }));
    let text = json!({ "kind": "List", "apiVersion": "v1", "items": list }).to_string();
    let (after, report) = injected(&text);
    assert_eq!(report.to_string().matches("injected").count(), 9);
    assert!(after.starts_with("{\n"), "JSON stays JSON");
    let (bare, _) = eject(&after).unwrap();
    assert_eq!(values(&bare), values(&text));
    let single = of("DeploymentList", json!(null));
    assert_eq!(Workload::find(&single), []);
}

#[test]
fn a_document_that_cannot_be_read_is_named() {
    let broken = "kind: Pod\n---\n# a comment\nkind: {\n";
    let error = inject(broken, &settings(), &surroundings()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("document 2, which begins at line 4"),
        "{error}"
    );
    let error = inject("{ \"kind\": ", &settings(), &surroundings()).unwrap_err();
    assert!(error.to_string().contains("no JSON"), "{error}");
}

#[test]
fn files_of_every_form_pass() {
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "%YAML 1.2\n---\nkind: Namespace\n",
        "--- {kind: Namespace}\n--- \nkind: Secret",
        "kind: Namespace\r\n---\r\nkind: Secret\r\n",
        "[]\n",
        "just text\n",
        "kind: Namespace\n...\n",
        "{kind: Namespace}\n",
    ] {
        let (same, report) = injected(text);
        assert_eq!(same, text);
        assert_eq!(report.to_string(), "no workload in it\n");
    }
}

#[test]
fn what_stands_behind_a_separator_is_written_anew() {
    let pod =
        "{kind: Pod, metadata: {name: x, labels: {app: clm}}, spec: {containers: [{name: clm}]}}";
    for text in [
        format!("--- {pod}\n---\nkind: Secret\n"),
        format!("---\n  \n  {pod}"),
        pod.to_owned(),
    ] {
        let (after, report) = injected(&text);
        assert!(report.to_string().contains("injected"), "{text}");
        let (bare, _) = eject(&after).unwrap();
        assert_eq!(values(&bare), values(&text), "{after}");
    }
}
