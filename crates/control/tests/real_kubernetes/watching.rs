//! Who has a sidecar and which, as a real API server tells of pods: the command `status`, and what
//! replicas count and tell operators.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use control::inject::{LogMode, Settings, SidecarKind};
use control::settings::Certificates;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use testkit::peers::Kubernetes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::common::{applied, as_pod, cluster, fixture, injected};
use super::serving::Scene;

/// Everything that is waited for is there long before.
const LONG: Duration = Duration::from_secs(30);
/// What these pods are in. It is selected only once they are there.
const LATE: &str = "late";

/// A pod of a Deployment of that name.
fn pod(name: &str) -> Value {
    let mut pod = as_pod(
        &fixture("orchestrator.yaml"),
        &format!("{name}-5b7c9-abcde"),
    );
    pod["metadata"]["labels"]["pod-template-hash"] = json!("5b7c9");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": format!("{name}-5b7c9"),
        "uid": format!("00000000-0000-0000-0000-{:0>12}", name.len()),
        "controller": true,
    }]);
    pod
}

fn with(pod: &Value, settings: &Settings) -> Value {
    applied(pod, &injected(pod, settings, &cluster(34)))
}

fn waiting(name: &str, reason: &str) -> Value {
    json!({ "name": name, "image": "emco-observer", "imageID": "", "ready": false, "restartCount": 3,
        "lastState": {}, "started": false, "state": { "waiting": { "reason": reason } } })
}

fn status(initialized: bool, init: &Value, containers: &Value) -> Value {
    let initialized = if initialized { "True" } else { "False" };
    json!({ "status": {
        "conditions": [{ "type": "Initialized", "status": initialized }],
        "initContainerStatuses": init,
        "containerStatuses": containers,
    } })
}

/// One pod for each standing.
fn prepare(server: &Kubernetes) {
    server.namespace(LATE, &[]);
    let pods = format!("/api/v1/namespaces/{LATE}/pods");
    // what an injector gives that knows of no node
    let plain = Settings {
        sidecar: SidecarKind::Plain,
        ..Settings::default()
    };
    let native = Settings {
        sidecar: SidecarKind::Native,
        logs: LogMode::Wrap,
        ..Settings::default()
    };
    let old = Settings {
        image: "emco-observer:0.0.1".to_owned(),
        ..plain.clone()
    };
    let mut refused = pod("refused-x");
    refused["spec"]["hostNetwork"] = json!(true);
    let mut out = pod("out");
    out["metadata"]["labels"]["emco-observer.io/inject"] = json!("false");
    let mut mongo = pod("m");
    mongo["metadata"]["labels"]["app"] = json!("mongo");
    for pod in [
        with(&pod("good"), &plain),
        with(&pod("old-one"), &old),
        pod("bare-one"),
        with(&pod("stuck-one"), &native),
        with(&pod("failing-one"), &plain),
        refused,
        out,
        mongo,
    ] {
        server.create(&pods, &pod).object();
    }
    let tell = |name: &str, status: &Value| {
        let path = format!("{pods}/{name}-5b7c9-abcde/status");
        server.patch(&path, status).object();
    };
    let stuck = json!([waiting("emco-observer-prepare", "ImagePullBackOff")]);
    let waits = json!([waiting("orchestrator", "PodInitializing")]);
    tell("stuck-one", &status(false, &stuck, &waits));
    let failing = json!([waiting("emco-observer", "CrashLoopBackOff")]);
    tell("failing-one", &status(true, &json!([]), &failing));
    let label = json!({ "metadata": { "labels": { "emco-observer.io/inject": "true" } } });
    let namespace = format!("/api/v1/namespaces/{LATE}");
    server.patch(&namespace, &label).object();
}

fn run(kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emco-observer-control"))
        .arg("status")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn status_says_who_has_a_sidecar_and_which() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    prepare(&server);
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "injection: { logs: auto }\n").unwrap();
    let config = config.to_str().unwrap();

    let done = run(
        &server.kubeconfig(),
        &["--output", "json", "--config", config],
    );
    assert!(done.status.success(), "{}", text(&done.stderr));
    insta::assert_snapshot!("status_json", text(&done.stdout));
    let done = run(&server.kubeconfig(), &["--config", config]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    insta::assert_snapshot!("status_text", text(&done.stdout));

    // more pods than are read at once
    let pods = format!("/api/v1/namespaces/{LATE}/pods");
    for number in 0..60 {
        server
            .create(&pods, &pod(&format!("more-{number}")))
            .object();
    }
    let done = run(&server.kubeconfig(), &["-o", "json"]);
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(answer["counts"]["missing"], 61);
    assert_eq!(answer["pods"].as_array().unwrap().len(), 68);

    readers_may_ask(&server);
    configurations_are_read(&server, folder.path());
}

/// EMCO's own configuration, where it may be read.
fn configurations_are_read(server: &Kubernetes, folder: &Path) {
    const OWN: &str = "own";
    server.namespace(OWN, &[("emco-observer.io/inject", "true")]);
    let settings = Settings {
        sidecar: SidecarKind::Plain,
        overlay: false,
        ..Settings::default()
    };
    let pods = format!("/api/v1/namespaces/{OWN}/pods");
    server.create(&pods, &with(&pod("one"), &settings)).object();
    let config = folder.join("own.yaml");
    std::fs::write(&config, "injection: { overlay: false }\n").unwrap();
    let arguments = [
        "-n",
        OWN,
        "-o",
        "json",
        "--config",
        config.to_str().unwrap(),
    ];
    let spans = || {
        let done = run(&server.kubeconfig(), &arguments);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(answer["counts"], json!({ "current": 1 }));
        answer["pods"][0]["spans"].clone()
    };
    assert_eq!(spans(), "unknown");
    let maps = format!("/api/v1/namespaces/{OWN}/configmaps");
    let map = json!({ "metadata": { "name": "emco-orchestrator" },
        "data": { "config.json": "{\"zipkin-ip\": \"127.0.0.1\", \"zipkin-port\": \"9411\"}" } });
    server.create(&maps, &map).object();
    assert_eq!(spans(), "config");
}

/// Whoever may list namespaces and pods; others are told what they lack.
fn readers_may_ask(server: &Kubernetes) {
    server.service_account(LATE, "reader");
    let kubeconfig = server.kubeconfig_of(LATE, "reader");
    let done = run(&kubeconfig, &[]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(
        said.contains("cannot ask the API server for namespaces"),
        "{said}"
    );
    assert!(said.contains("forbidden"), "{said}");

    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({ "metadata": { "name": "reader" }, "rules": [
        { "apiGroups": [""], "resources": ["namespaces", "pods"], "verbs": ["list"] } ] });
    server
        .create(&format!("{roles}/clusterroles"), &role)
        .object();
    let binding = json!({ "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": LATE, "name": "reader" }] });
    server
        .create(&format!("{roles}/clusterrolebindings"), &binding)
        .object();
    let image = [
        "--image",
        "emco-observer:0.0.1",
        "--namespace",
        LATE,
        "-o",
        "json",
    ];
    let done = run(&kubeconfig, &image);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    let pods = answer["pods"].as_array().unwrap();
    let of = |name: &str| {
        let pod = pods
            .iter()
            .find(|pod| pod["pod"] == format!("{name}-5b7c9-abcde"));
        pod.unwrap()["standing"].clone()
    };
    assert_eq!(
        (of("good"), of("old-one")),
        (json!("outdated"), json!("current"))
    );

    // what can be read is shown, and what cannot is named
    server.service_account(LATE, "other-reader");
    let some = json!({ "metadata": { "name": "namespaces" }, "rules": [
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"] } ] });
    server
        .create(&format!("{roles}/clusterroles"), &some)
        .object();
    let mut binding = binding;
    binding["metadata"]["name"] = json!("namespaces");
    binding["roleRef"]["name"] = json!("namespaces");
    binding["subjects"][0]["name"] = json!("other-reader");
    server
        .create(&format!("{roles}/clusterrolebindings"), &binding)
        .object();
    let done = run(&server.kubeconfig_of(LATE, "other-reader"), &[]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(
        said.contains("cannot list the pods of namespace late: "),
        "{said}"
    );

    let done = run(&kubeconfig, &["--namespace", "nowhere"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("there is no namespace nowhere"));
}

#[test]
fn status_says_that_there_is_nobody_to_ask() {
    let folder = tempfile::tempdir().unwrap();
    let done = run(&folder.path().join("none"), &[]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(
        said.contains("nothing says where the API server is"),
        "{said}"
    );
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "injektion: {}\n").unwrap();
    let done = run(
        &folder.path().join("none"),
        &["--config", config.to_str().unwrap()],
    );
    assert_eq!(done.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_count_pods_and_tell_of_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let server = tokio::task::spawn_blocking(move || {
        let server = Kubernetes::start(&path)?;
        prepare(&server);
        Some(server)
    });
    let Some(server) = server.await.unwrap() else {
        return;
    };
    let scene = Scene::start(server, 2, Certificates::default()).await;
    scene.ready().await;
    let standings = [
        ("current", 1),
        ("outdated", 1),
        ("missing", 1),
        ("stuck", 1),
        ("failing", 1),
        ("refused", 1),
        ("opted_out", 1),
        ("not_ours", 1),
    ];
    for page in &scene.pages {
        for (standing, count) in standings {
            let line = format!("emco_observer_control_pods{{standing=\"{standing}\"}} {count}\n");
            shows(*page, &line).await;
        }
        // both have told, or heard that the other has
        let told = |text: &str| {
            let of = |outcome: &str| {
                let name = format!("emco_observer_control_events_total{{outcome=\"{outcome}\"}} ");
                let value = text.lines().find_map(|line| line.strip_prefix(&name));
                value.map_or(0, |value| value.parse::<u64>().unwrap())
            };
            of("sent") + of("known") >= 5
        };
        until(*page, told).await;
    }

    let events: Api<Event> = Api::namespaced(scene.client.clone(), LATE);
    let found = events.list(&ListParams::default()).await.unwrap().items;
    let mut found: Vec<String> = found.iter().map(said).collect();
    found.sort();
    insta::assert_snapshot!("events", found.join("\n"));
    scene.end().await;
}

fn said(event: &Event) -> String {
    let regarding = event.regarding.as_ref().unwrap();
    let text = |text: &Option<String>| text.clone().unwrap();
    let (kind, name) = (text(&regarding.kind), text(&regarding.name));
    format!(
        "{kind}/{name} {}: {}",
        text(&event.reason),
        text(&event.note)
    )
}

async fn shows(page: SocketAddr, line: &str) {
    until(page, |text| text.contains(line)).await;
}

/// Waits until the metrics of a replica are as they should be.
async fn until(page: SocketAddr, good: impl Fn(&str) -> bool) {
    let mut last = String::new();
    let asked = async {
        loop {
            last = metrics(page).await;
            if good(&last) {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let good = timeout(LONG, asked).await;
    assert!(good.is_ok(), "{last}");
}

async fn metrics(page: SocketAddr) -> String {
    shown(page, "/metrics").await
}

/// What a replica answers.
pub(super) async fn shown(page: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(page).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}
