//! Pods to try, places to try them in, and what has to hold for every patch.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use control::inject::{
    Decision, Injection, Istio, KubernetesVersion, Namespace, PodSecurity, Settings, Surroundings,
    eject, review,
};
use serde_json::{Map, Value, json};

pub(crate) const OPERATIONS_MAX: usize = 12;
pub(crate) const BYTES_MAX: usize = 5000;

const OURS: [&str; 2] = ["emco-observer", "emco-observer-prepare"];

/// The pod (or the template of one) in a fixture.
pub(crate) fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = std::fs::read(folder.join(name)).expect("the fixture is there");
    let text = String::from_utf8(text).expect("it is text");
    let manifest: Value = serde_saphyr::from_str(&text).expect("it is YAML or JSON");
    match manifest.pointer("/spec/template") {
        Some(template) => template.clone(),
        None => manifest,
    }
}

/// EMCO's manifests as its charts render them, if they are there.
pub(crate) fn manifests() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/manifests");
    shared.is_dir().then_some(shared)
}

/// The pods and the templates of pods in a file.
pub(crate) fn templates(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    let file = File::open(path).expect("the file can be opened");
    file.take(1 << 24)
        .read_to_string(&mut text)
        .expect("it is text");
    let manifests: Vec<Value> = serde_saphyr::from_multiple(&text).expect("it is YAML");
    let template = |manifest: Value| match manifest["kind"].as_str() {
        Some("Pod") => Some(manifest),
        _ => manifest.pointer("/spec/template").cloned(),
    };
    manifests.into_iter().filter_map(template).collect()
}

/// The pods of EMCO's services: those of its charts if they are there, and the fixtures that a server
/// takes.
pub(crate) fn services() -> Vec<Value> {
    let charts = manifests().map(|folder| templates(&folder.join("emco-services-default.yaml")));
    let fixtures = [
        "orchestrator.yaml",
        "rsync.yaml",
        "policy.yaml",
        "istio_native.json",
    ];
    let settings = Settings::default();
    let is_service = |pod: &Value| {
        let app = pod["metadata"]["labels"]["app"].as_str();
        app.is_some_and(|app| settings.is_service(app))
    };
    let pods = charts.into_iter().flatten().filter(is_service);
    pods.chain(fixtures.map(fixture)).collect()
}

/// A template as the pod that is made of it.
pub(crate) fn as_pod(template: &Value, name: &str) -> Value {
    let mut pod = template.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    let metadata = pod["metadata"].as_object_mut().expect("it has metadata");
    metadata.remove("generateName");
    metadata.remove("namespace");
    metadata.insert("name".to_owned(), json!(name));
    pod
}

/// A namespace that asks for sidecars, in a cluster of version 1.`minor`.
pub(crate) fn cluster(minor: u16) -> Surroundings {
    let version = Some(KubernetesVersion::new(1, minor));
    Surroundings {
        server: version,
        oldest_node: version,
        namespace: Namespace {
            inject: Some(true),
            ..Namespace::default()
        },
    }
}

pub(crate) fn with_level(surroundings: Surroundings, level: PodSecurity) -> Surroundings {
    let namespace = Namespace {
        pod_security: level,
        ..surroundings.namespace
    };
    Surroundings {
        namespace,
        ..surroundings
    }
}

pub(crate) fn with_istio(surroundings: Surroundings, istio: Istio) -> Surroundings {
    let namespace = Namespace {
        istio,
        ..surroundings.namespace
    };
    Surroundings {
        namespace,
        ..surroundings
    }
}

/// The injection that `pod` gets.
pub(crate) fn injected(pod: &Value, settings: &Settings, surroundings: &Surroundings) -> Injection {
    match review(pod, settings, surroundings) {
        Decision::Inject(injection) => *injection,
        other => panic!("not injected: {other:?}"),
    }
}

pub(crate) fn applied(pod: &Value, injection: &Injection) -> Value {
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &injection.patch).expect("the patch fits");
    patched
}

pub(crate) fn ejected(pod: &Value) -> Value {
    let patch = eject(pod).expect("it can be told what is ours");
    let mut bare = pod.clone();
    json_patch::patch(&mut bare, &patch.expect("something is ours")).expect("the patch fits");
    bare
}

/// Injects and checks everything that has to hold for any pod; the pod with its sidecar.
pub(crate) fn checked(pod: &Value, settings: &Settings, surroundings: &Surroundings) -> Value {
    let injection = injected(pod, settings, surroundings);
    let operations = injection.patch.0.len();
    assert!(operations <= OPERATIONS_MAX, "{operations} operations");
    let bytes = serde_json::to_vec(&injection.patch).unwrap().len();
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");

    let patched = applied(pod, &injection);
    assert_eq!(review(&patched, settings, surroundings), Decision::Current);
    assert_eq!(&ejected(&patched), pod);
    untouched(pod, &patched);
    coherent(&patched);
    patched
}

/// Nothing of the pod is another but the places that injection is for.
pub(crate) fn untouched(before: &Value, after: &Value) {
    let without = |value: &Value, keys: &[&str]| {
        let mut map = value.as_object().cloned().unwrap_or_default();
        map.retain(|key, _| !keys.contains(&key.as_str()));
        map
    };
    assert_eq!(
        without(before, &["metadata", "spec"]),
        without(after, &["metadata", "spec"])
    );
    let rest = |pod: &Value| without(&pod["metadata"], &["annotations"]);
    assert_eq!(rest(before), rest(after));
    let lists = [
        "containers",
        "initContainers",
        "volumes",
        "imagePullSecrets",
    ];
    let rest = |pod: &Value| without(&pod["spec"], &lists);
    assert_eq!(rest(before), rest(after));

    for (name, value) in before["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let now = &after["metadata"]["annotations"][name];
        if name == "traffic.sidecar.istio.io/excludeInboundPorts" {
            let (value, now) = (value.as_str().unwrap(), now.as_str().unwrap());
            assert!(now.starts_with(value), "{value} became {now}");
        } else {
            assert_eq!(value, now, "annotation {name}");
        }
    }
    for list in ["volumes", "imagePullSecrets"] {
        prefix(&before["spec"][list], &after["spec"][list]);
    }
    for list in ["initContainers", "containers"] {
        let theirs = |pod: &Value| -> Vec<Value> {
            let all = pod["spec"][list].as_array().into_iter().flatten();
            let theirs = all.filter(|container| !is_ours(container));
            theirs.cloned().collect()
        };
        let (before, after) = (theirs(before), theirs(after));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            let changed = ["env", "volumeMounts", "command"];
            assert_eq!(without(before, &changed), without(after, &changed));
            prefix(&before["env"], &after["env"]);
            mounts(&before["volumeMounts"], &after["volumeMounts"]);
            command(&before["command"], &after["command"]);
        }
    }
}

fn prefix(before: &Value, after: &Value) {
    for (index, item) in before.as_array().into_iter().flatten().enumerate() {
        assert_eq!(item, &after[index]);
    }
}

/// Mounts stay where they are; the volume of `config.json` may be ours.
fn mounts(before: &Value, after: &Value) {
    for (index, mount) in before.as_array().into_iter().flatten().enumerate() {
        let mut now = after[index].clone();
        if now["name"] == "emco-observer-shared" {
            assert_eq!(mount["subPath"], "config.json");
            now["name"] = mount["name"].clone();
        }
        assert_eq!(mount, &now);
    }
}

fn command(before: &Value, after: &Value) {
    if before == after {
        return;
    }
    let words = after.as_array().unwrap();
    let end = words.iter().position(|word| word == "--").unwrap();
    assert_eq!(before.as_array().unwrap()[..], words[end + 1..]);
}

/// The pod is one that can run: names are there once, mounts have their volumes, nothing of ours
/// holds EMCO back.
pub(crate) fn coherent(pod: &Value) {
    let spec = &pod["spec"];
    let all = |list: &str| spec[list].as_array().cloned().unwrap_or_default();
    let volumes: Vec<Value> = all("volumes")
        .iter()
        .map(|volume| volume["name"].clone())
        .collect();
    let distinct: HashSet<String> = volumes.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), volumes.len(), "{volumes:?}");
    let containers: Vec<Value> = all("initContainers")
        .into_iter()
        .chain(all("containers"))
        .collect();
    let names: HashSet<String> = containers
        .iter()
        .map(|each| each["name"].to_string())
        .collect();
    assert_eq!(names.len(), containers.len(), "{names:?}");
    for container in &containers {
        let mounts = container["volumeMounts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let paths: HashSet<String> = mounts
            .iter()
            .map(|mount| mount["mountPath"].to_string())
            .collect();
        assert_eq!(paths.len(), mounts.len());
        if !is_ours(container) {
            continue;
        }
        for mount in &mounts {
            assert!(volumes.contains(&mount["name"]), "{mount}");
        }
        for probe in ["readinessProbe", "startupProbe", "livenessProbe"] {
            assert_eq!(container.get(probe), None);
        }
        assert_eq!(container["securityContext"]["runAsNonRoot"], true);
    }
    let sidecar = containers
        .iter()
        .filter(|container| container["name"] == "emco-observer");
    assert_eq!(sidecar.count(), 1);
}

pub(crate) fn is_ours(container: &Value) -> bool {
    OURS.iter().any(|name| container["name"] == *name)
}

/// How Istio's injector does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mesh {
    Native,
    /// The proxy is the last container.
    Plain,
    /// The proxy is the first container, and the others wait for it.
    Hold,
}

/// What Istio's injector makes of `pod`, also of one that it has seen before.
pub(crate) fn meshed(pod: &Value, mesh: Mesh) -> Value {
    let container = pod["spec"]["containers"][0]["name"].clone();
    let mut pod = pod.clone();
    let annotations = json!({
        "istio.io/rev": "default",
        "prometheus.io/path": "/stats/prometheus",
        "prometheus.io/port": "15020",
        "prometheus.io/scrape": "true",
        "sidecar.istio.io/status": "{\"initContainers\":[\"istio-init\",\"istio-proxy\"],\"containers\":null,\"volumes\":[\"workload-socket\",\"credential-socket\",\"workload-certs\",\"istio-envoy\",\"istio-data\",\"istio-podinfo\",\"istio-token\",\"istiod-ca-cert\"],\"imagePullSecrets\":null,\"revision\":\"default\"}",
    });
    let metadata = pod["metadata"].as_object_mut().unwrap();
    let present = metadata.entry("annotations").or_insert(Value::Null);
    if present.is_null() {
        *present = json!({});
    }
    let present: &mut Map<String, Value> = present.as_object_mut().unwrap();
    present.extend(annotations.as_object().unwrap().clone());
    // it names the first container unless somebody has
    present
        .entry("kubectl.kubernetes.io/default-container")
        .or_insert(container);

    let init = json!({ "name": "istio-init", "image": "docker.io/istio/proxyv2:1.27.0",
        "args": ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337"] });
    let mut proxy = json!({ "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.27.0",
        "ports": [{ "containerPort": 15090, "name": "http-envoy-prom" }],
        "volumeMounts": [{ "name": "istio-envoy", "mountPath": "/etc/istio/proxy" }] });
    let spec = pod["spec"].as_object_mut().unwrap();
    let mut list = |name: &str| -> Vec<Value> {
        let items = spec.remove(name).unwrap_or_default();
        let items = items.as_array().cloned().unwrap_or_default();
        let theirs = |item: &Value| !item["name"].as_str().unwrap().starts_with("istio-");
        items.into_iter().filter(theirs).collect()
    };
    let (mut inits, mut containers) = (list("initContainers"), list("containers"));
    let mut volumes = list("volumes");
    volumes.retain(|volume| volume["name"] != "istiod-ca-cert");
    match mesh {
        Mesh::Native => {
            proxy["restartPolicy"] = json!("Always");
            inits.splice(0..0, [init, proxy]);
        }
        Mesh::Plain => {
            inits.push(init);
            containers.push(proxy);
        }
        Mesh::Hold => {
            inits.push(init);
            containers.insert(0, proxy);
        }
    }
    volumes.extend([
        json!({ "name": "istio-envoy", "emptyDir": { "medium": "Memory" } }),
        json!({ "name": "istio-data", "emptyDir": {} }),
        json!({ "name": "istio-podinfo", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "annotations", "fieldRef": { "fieldPath": "metadata.annotations" } } ] } }),
        json!({ "name": "istio-token", "projected": { "sources": [{ "serviceAccountToken": {
            "audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token" } }] } }),
        json!({ "name": "istiod-ca-cert", "configMap": { "name": "istio-ca-root-cert" } }),
    ]);
    spec.insert("initContainers".to_owned(), inits.into());
    spec.insert("containers".to_owned(), containers.into());
    spec.insert("volumes".to_owned(), volumes.into());
    pod
}
