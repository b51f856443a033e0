//! The command `upgrade` before a real API server, which says what of a pod may be changed. What a
//! kubelet would say is told by the test.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use control::inject::{LogMode, Settings, SidecarKind};
use serde_json::{Value, json};
use testkit::peers::{self, Kubernetes};

use super::common::{applied, as_pod, cluster, fixture, injected};
use super::pods;
use super::rolling_back::node;
use super::serving::LONG;

const THERE: &str = "emco";

fn settings(image: &str) -> Settings {
    Settings {
        image: image.to_owned(),
        logs: LogMode::Wrap,
        sidecar: SidecarKind::Native,
        ..Settings::default()
    }
}

/// As the control plane of another version would have made it.
fn make(server: &Kubernetes, name: &str, image: &str) {
    let pod = as_pod(&fixture("orchestrator.yaml"), name);
    let pod = applied(&pod, &injected(&pod, &settings(image), &cluster(34)));
    server.create(&pods(THERE), &pod).object();
    tell(server, name, "containerd://1", &json!({ "running": {} }));
}

fn tell(server: &Kubernetes, name: &str, id: &str, state: &Value) {
    let status = json!({ "status": {
        "conditions": [{ "type": "Initialized", "status": "True" }],
        "initContainerStatuses": [{ "name": "emco-observer", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "lastState": {}, "containerID": id, "state": state }],
    } });
    server
        .patch(&format!("{}/{name}/status", pods(THERE)), &status)
        .object();
}

fn image(server: &Kubernetes, name: &str) -> String {
    let pod = server.ask(&format!("{}/{name}", pods(THERE))).object();
    let containers = pod["spec"]["initContainers"].as_array().unwrap().clone();
    let sidecar = containers.iter().find(|one| one["name"] == "emco-observer");
    sidecar.unwrap()["image"].as_str().unwrap().to_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    peers::until(what, LONG, || holds().then_some(()));
}

struct Upgrade(Child);

impl Upgrade {
    fn start(kubeconfig: &Path, config: &Path, more: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_emco-observer-control");
        let child = Command::new(program)
            .args(["upgrade", "--config"])
            .arg(config)
            .args(more)
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Its exit status, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.0.wait().unwrap().code();
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (status, said)
    }
}

#[test]
fn images_are_replaced_one_after_the_other_and_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    server.namespace(THERE, &[("emco-observer.io/inject", "true")]);
    node(&server);
    for name in ["a", "b"] {
        make(&server, name, "emco-observer:1");
    }
    let bare = as_pod(&fixture("orchestrator.yaml"), "bare");
    server.create(&pods(THERE), &bare).object();
    let config = folder.path().join("config.yaml");
    let write = |image: &str| {
        let text = format!("injection:\n  image: {image}\n  logs: wrap\n  sidecar: native\n");
        std::fs::write(&config, text).unwrap();
    };
    write("emco-observer:2");
    let start = |more: &[&str]| Upgrade::start(&server.kubeconfig(), &config, more);

    let (status, said) = start(&["--dry-run"]).end();
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("upgrade_dry_run", said);
    assert_eq!(image(&server, "a"), "emco-observer:1");

    let running = start(&[]);
    until("the first is changed", || {
        image(&server, "a") == "emco-observer:2"
    });
    assert_eq!(image(&server, "b"), "emco-observer:1");
    tell(&server, "a", "containerd://2", &json!({ "running": {} }));
    until("then the second", || {
        image(&server, "b") == "emco-observer:2"
    });
    tell(&server, "b", "containerd://2", &json!({ "running": {} }));
    let (status, said) = running.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("emco/a: emco-observer:1 -> emco-observer:2, runs after "),
        "{said}"
    );
    assert!(
        said.ends_with("2 upgraded, 0 restarted, 0 as they should be, 1 that need more\n"),
        "{said}"
    );
    let (status, said) = start(&[]).end();
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.ends_with("0 upgraded, 0 restarted, 2 as they should be, 1 that need more\n"),
        "{said}"
    );

    // what does not run is taken back, and nobody else gets it
    write("emco-observer:3");
    let running = start(&[]);
    until("the first is changed", || {
        image(&server, "a") == "emco-observer:3"
    });
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff" } });
    tell(&server, "a", "containerd://2", &waiting);
    let (status, said) = running.end();
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("does not run (ImagePullBackOff); its image emco-observer:2 is put back"),
        "{said}"
    );
    assert_eq!(image(&server, "a"), "emco-observer:2");
    assert_eq!(image(&server, "b"), "emco-observer:2");

    tell(&server, "a", "containerd://2", &json!({ "running": {} }));
    let (status, said) = start(&["--timeout", "1s"]).end();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("it has not started in time"), "{said}");
    assert_eq!(image(&server, "a"), "emco-observer:2");
}

#[test]
fn upgrade_says_what_it_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    server.namespace(THERE, &[("emco-observer.io/inject", "true")]);
    node(&server);
    make(&server, "a", "emco-observer:1");
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({ "metadata": { "name": "reader" }, "rules": [
        { "apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], "verbs": ["get", "list"] } ] });
    server
        .create(&format!("{roles}/clusterroles"), &role)
        .object();
    server.service_account(THERE, "reader");
    let binding = json!({ "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": THERE }] });
    server
        .create(&format!("{roles}/clusterrolebindings"), &binding)
        .object();
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        "injection: { image: \"emco-observer:2\", logs: wrap, sidecar: native }\n",
    )
    .unwrap();
    let kubeconfig = server.kubeconfig_of(THERE, "reader");
    let (status, said) = Upgrade::start(&kubeconfig, &config, &[]).end();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("cannot change pod emco/a: "), "{said}");
    assert_eq!(image(&server, "a"), "emco-observer:1");
    let (status, said) = Upgrade::start(&kubeconfig, &config, &["--dry-run"]).end();
    assert_eq!(status, Some(0), "{said}");
}
