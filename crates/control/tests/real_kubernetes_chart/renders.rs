//! What is rendered, and what is refused.

use std::collections::BTreeSet;
use std::path::Path;

use control::inject::Settings;
use garde::Validate as _;
use serde_json::Value;
use testkit::peers::{Kubernetes, check_schemas};

use super::{DESTINATION, HELMS, chart, read, yaml};

/// Values that somebody has, and their name; the first are those that the others are compared with.
const SETS: [(&str, &[&str]); 8] = [
    ("external", &[]),
    ("embedded", &["backend=embedded"]),
    (
        "embedded_and_kept",
        &[
            "backend=embedded",
            "lab.storage.enabled=true",
            "lab.storage.size=20Gi",
            "lab.storage.storageClassName=fast",
            "networkPolicy.enabled=true",
        ],
    ),
    (
        "without_the_internet",
        &[
            "global.imageRegistry=registry.example.com/emco/",
            "global.imagePullSecrets={pull}",
            "control.image.digest=sha256:\
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "sidecar.image.tag=0.2.0",
        ],
    ),
    (
        "rights_and_secrets_of_others",
        &[
            "rbac.create=false",
            "serviceAccount.create=false",
            "serviceAccount.name=observer",
            "certificates.existingSecret=own",
        ],
    ),
    (
        "placed_and_closed",
        &[
            "control.replicas=3",
            "control.priorityClassName=system-cluster-critical",
            "control.nodeSelector.zone=a",
            "control.tolerations[0].operator=Exists",
            "networkPolicy.enabled=true",
            "networkPolicy.webhookFrom[0].ipBlock.cidr=10.0.0.0/24",
            "networkPolicy.apiServerTo[0].ipBlock.cidr=10.0.0.1/32",
            "hub.gateways[0]=istio-system/reporter",
        ],
    ),
    (
        "monitored",
        &[
            "monitoring.serviceMonitor.enabled=true",
            "monitoring.podMonitor.enabled=true",
            "monitoring.podMonitor.labels.release=prometheus",
            "monitoring.prometheusRule.enabled=true",
        ],
    ),
    (
        "several_namespaces_without_a_hub",
        &[
            "namespaces={emco,emco-two}",
            "hub.enabled=false",
            "sidecar.secrets.elastic-password=changed",
            "injection.evidence=full",
            "injection.overlay=false",
        ],
    ),
];

const OPERATORS: [&str; 3] = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];

#[test]
fn both_helms_render_the_same_bytes_and_versions_of_kubernetes_know_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cluster) = Kubernetes::start(folder.path()) else {
        return;
    };
    let mut base = Vec::new();
    let mut known = Vec::new();
    for (name, values) in SETS {
        let text = rendered(&cluster, values);
        let documents = documents(&text);
        let objects: Vec<Value> = documents.iter().map(|text| yaml(text)).collect();
        for object in &objects {
            is_labelled(object);
            is_configured(object);
        }
        let of_kubernetes =
            |object: &&Value| !OPERATORS.contains(&object["kind"].as_str().unwrap_or_default());
        known.extend(objects.iter().filter(of_kubernetes).cloned());
        let is_new = |text: &&String| !base.contains(*text);
        let shown: Vec<&str> = documents
            .iter()
            .filter(is_new)
            .map(String::as_str)
            .collect();
        insta::assert_snapshot!(name, shown.join("---\n"));
        if base.is_empty() {
            base = documents;
        }
    }
    let mistakes = check_schemas(&known).expect("the schemas are installed");
    assert_eq!(mistakes, []);
}

/// What all four calls answer.
fn rendered(cluster: &Kubernetes, values: &[&str]) -> String {
    let chart = chart();
    let mut arguments = vec!["template", "emco-observer", chart.to_str().unwrap()];
    arguments.extend(["--namespace", "emco-observer"]);
    if !values.contains(&"backend=embedded") {
        arguments.extend(["--set-string", DESTINATION]);
    }
    let kinds = OPERATORS.map(|kind| format!("monitoring.coreos.com/v1/{kind}"));
    for kind in &kinds {
        arguments.extend(["--api-versions", kind]);
    }
    for value in values {
        arguments.extend(["--set", value]);
    }
    let mut texts = HELMS.iter().flat_map(|helm| {
        let call = || helm(cluster, &arguments).text();
        [call(), call()]
    });
    let first = texts.next().expect("four calls");
    for text in texts {
        assert_eq!(text, first, "{values:?}");
    }
    first
}

fn documents(text: &str) -> Vec<String> {
    let parts = text.split("---\n").filter(|part| !part.trim().is_empty());
    parts.map(str::to_owned).collect()
}

fn is_labelled(object: &Value) {
    let labels = &object["metadata"]["labels"];
    for label in ["name", "instance", "component", "version", "managed-by"] {
        let label = format!("app.kubernetes.io/{label}");
        assert!(labels[&label].is_string(), "{label}: {object}");
    }
}

/// The control plane takes what its file says of injection.
fn is_configured(object: &Value) {
    let Some(text) = object["data"]["config.yaml"].as_str() else {
        return;
    };
    let file = yaml(text);
    if file["injection"].is_null() {
        assert!(file["lanes"].is_object(), "the sidecars' file: {text}");
        return;
    }
    let settings: Settings = serde_json::from_value(file["injection"].clone()).unwrap();
    settings.validate().unwrap();
    let standard = Settings::default();
    assert_eq!(settings.services, standard.services);
    assert_eq!(settings.resources, standard.resources);
    assert_eq!(settings.state_bytes_limit, standard.state_bytes_limit);
}

#[test]
fn what_is_not_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cluster) = Kubernetes::start(folder.path()) else {
        return;
    };
    let chart = chart();
    let chart = chart.to_str().unwrap();
    for helm in HELMS {
        helm(&cluster, &["lint", "--strict", chart]).text();
        let said = helm(&cluster, &["template", chart]);
        assert!(!said.success && said.errors.contains("where do lines go?"));
        for (value, about) in [
            ("contrl.replicas=2", "contrl"),
            ("control.replicas=0", "replicas"),
            ("control.image.digest=latest", "digest"),
            ("injection.evidnce=full", "evidnce"),
            ("injection.logs=files", "logs"),
            ("injection.image=x", "image"),
            ("sidecar.config.lanes.elastc.url=x", "elastc"),
            ("sidecar.config.lanes.elastic.urls=x", "urls"),
            ("backend=internal", "backend"),
            ("namespaces={}", "namespaces"),
        ] {
            for command in [&["template", chart][..], &["lint", chart]] {
                let values = ["--set-string", DESTINATION, "--set", value];
                let said = helm(&cluster, &[command, &values].concat());
                let text = format!("{}{}", said.output, said.errors);
                assert!(!said.success && text.contains(about), "{value}: {text}");
            }
        }
        // what only templates know; `helm lint` takes it for a hint
        for (values, about) in [
            ("serviceAccount.create=false", "serviceAccount.name"),
            ("backend=embedded,hub.enabled=false", "hub.enabled=true"),
        ] {
            let template = ["template", chart, "--set", values];
            let said = helm(
                &cluster,
                &[&template[..], &["--set-string", DESTINATION]].concat(),
            );
            assert!(!said.success && said.errors.contains(about), "{said:?}");
        }
    }
}

#[test]
fn the_chart_names_its_version_images_and_metrics_of_ours() {
    let about = yaml(&read("Chart.yaml"));
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    let images = about["annotations"]["artifacthub.io/images"]
        .as_str()
        .unwrap();
    let values = yaml(&read("values.yaml"));
    for part in ["sidecar", "control", "lab"] {
        let name = values[part]["image"]["repository"].as_str().unwrap();
        let image = format!("image: {name}:{}\n", env!("CARGO_PKG_VERSION"));
        assert!(images.contains(&image), "{image}");
    }
    let ours = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let named = metrics(&(read("files/alerts.yaml") + &read("files/emco.json")));
    assert!(named.len() >= 8, "{named:?}");
    for metric in named {
        let name = metric.strip_suffix("_bucket").unwrap_or(&metric);
        assert!(ours.contains(&format!("\"{name}\"")), "{metric}");
    }
}

/// The sources of what sidecars and the control plane count.
fn sources(crates: &Path) -> String {
    let mut text = String::new();
    for part in [
        "control",
        "head",
        "hub",
        "out-otlp",
        "pipeline",
        "telemetry",
    ] {
        read_all(&crates.join(part).join("src"), &mut text);
    }
    text
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else {
            text.push_str(&String::from_utf8(std::fs::read(&path).unwrap()).unwrap());
        }
    }
}

fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("emco_"));
    metrics.map(str::to_owned).collect()
}
