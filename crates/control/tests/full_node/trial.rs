//! A node with the chart on it, and what tests ask of both.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::peers::{Node, Process, encoded, get, is_true, until};

/// Whatever is waited for is there before.
pub(crate) const LONG: Duration = Duration::from_mins(2);
/// Where the release is, and its name.
pub(crate) const OWN: &str = "emco-observer";
const PAGE: usize = 1000;
/// Where `kubectl port-forward` listens.
const PAGE_PORT: u16 = 9299;

/// A node and what it keeps.
pub(crate) struct Trial {
    /// `kubectl port-forward` to the embedded backend.
    forward: RefCell<Option<Process>>,
    pub(crate) node: Node,
    // Taken away after the node.
    folder: tempfile::TempDir,
}

impl Trial {
    /// With the images of `cargo xtask dist`.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let images = if std::env::var("EMCO_NODE").is_ok() {
            images()
        } else {
            Vec::new()
        };
        let node = Node::start(folder.path(), &images)?;
        Some(Self {
            forward: RefCell::default(),
            node,
            folder,
        })
    }

    /// Makes a namespace for EMCO, with its label if `is_observed`.
    pub(crate) fn namespace(&self, name: &str, is_observed: bool) {
        let label = [("emco-observer.io/inject", "true")];
        self.node
            .namespace(name, if is_observed { &label } else { &[] });
    }

    /// Installs the chart with the embedded backend and `more` values, and waits for it.
    pub(crate) fn install(&self, more: &[&str]) {
        let chart = chart();
        let mut arguments = vec!["install", OWN, chart.to_str().unwrap(), "--namespace", OWN];
        arguments.extend(["--create-namespace", "--wait", "--set", "backend=embedded"]);
        for value in more {
            arguments.extend(["--set", value]);
        }
        self.node.helm4(&arguments).text();
        self.is_asked();
    }

    /// Waits until the API server asks the webhook: it hears of a new one a moment after the webhook
    /// is ready, and pods that are made meanwhile have no sidecar.
    pub(crate) fn is_asked(&self) {
        let start = Instant::now();
        let pod = tried("tried");
        until("the webhook is asked", LONG, || {
            let pods = "/api/v1/namespaces/emco/pods?dryRun=All";
            let tried = self.node.create(pods, &pod).object();
            (!tried["spec"]["initContainers"].is_null()).then_some(())
        });
        println!("installed and ready, asked {:.1?} later", start.elapsed());
    }

    /// Makes a service as EMCO's charts do, of the image that the node has.
    pub(crate) fn make_service(&self, namespace: &str, service: &str, arguments: &[&str]) {
        self.make_map(namespace, service);
        let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        let deployment = deployment(service, arguments);
        self.node.create(&deployments, &deployment).object();
    }

    fn make_map(&self, namespace: &str, service: &str) {
        let map = json!({
            "metadata": {"name": format!("emco-{service}")},
            "data": {"config.json": r#"{"service-port": "9015", "zipkin-ip": "zipkin", "zipkin-port": "9411"}"#},
        });
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let stored = self.node.create(&maps, &map);
        assert!(stored.is_success() || stored.status == 409, "{stored:?}");
    }

    /// Makes a pod of a service that nobody makes again, and waits until it runs or has run.
    pub(crate) fn pod(&self, service: &str, restart: &str, arguments: &[&str]) -> Value {
        let pod = deployment(service, arguments)["spec"]["template"].clone();
        self.start_pod("emco", service, restart, pod)
    }

    /// The same, with all that the Pod Security level `restricted` asks for.
    pub(crate) fn strict_pod(&self, namespace: &str, service: &str, arguments: &[&str]) -> Value {
        let mut pod = deployment(service, arguments)["spec"]["template"].clone();
        pod["spec"]["containers"][0]["securityContext"] = json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true, "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        self.start_pod(namespace, service, "Always", pod)
    }

    fn start_pod(&self, namespace: &str, service: &str, restart: &str, mut pod: Value) -> Value {
        self.make_map(namespace, service);
        pod["metadata"]["name"] = json!(service);
        pod["spec"]["restartPolicy"] = json!(restart);
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        self.node.create(&pods, &pod).object();
        until(&format!("{service} starts"), LONG, || {
            let pod = self.node.ask(&format!("{pods}/{service}")).object();
            let has_started = !pod["status"]["phase"].as_str()?.eq("Pending");
            has_started.then_some(pod)
        })
    }

    /// The pods of a service that are not about to go.
    pub(crate) fn pods(&self, namespace: &str, service: &str) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{service}");
        let pods = self.node.ask(&path).object()["items"].clone();
        let mut pods = pods.as_array().cloned().unwrap_or_default();
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// The one pod of a service, as soon as it is ready.
    pub(crate) fn running(&self, namespace: &str, service: &str) -> Value {
        until(&format!("{service} is ready"), LONG, || {
            let pods = self.pods(namespace, service);
            let [pod] = pods.as_slice() else { return None };
            is_true(pod, "Ready").then(|| pod.clone())
        })
    }

    /// The one pod of a service, as soon as EMCO's container is ready, whatever ours do.
    pub(crate) fn serving(&self, namespace: &str, service: &str) -> Value {
        until(
            &format!("the container of {service} is ready"),
            LONG,
            || {
                let pods = self.pods(namespace, service);
                let [pod] = pods.as_slice() else { return None };
                (status(pod, service)["ready"] == true).then(|| pod.clone())
            },
        )
    }

    /// Gives a Deployment of the release so many replicas, and waits for them.
    pub(crate) fn scale(&self, name: &str, replicas: u8) {
        let path = format!("/apis/apps/v1/namespaces/{OWN}/deployments/{name}");
        let patch = json!({"spec": {"replicas": replicas}});
        self.node.patch(&path, &patch).object();
        until(&format!("{name} has {replicas} replicas"), LONG, || {
            let status = self.node.ask(&path).object()["status"].clone();
            let ready = status["readyReplicas"].as_u64().unwrap_or_default();
            let all = status["replicas"].as_u64().unwrap_or_default();
            (ready == u64::from(replicas) && all == ready).then_some(())
        });
        let component = name.trim_start_matches("emco-observer-");
        self.others_are_gone(component, usize::from(replicas));
    }

    /// Waits until there are just so many: replicas answer on for a while when they are told to end.
    pub(crate) fn others_are_gone(&self, component: &str, replicas: usize) {
        let label = format!("app.kubernetes.io%2Fcomponent%3D{component}");
        let pods = format!("/api/v1/namespaces/{OWN}/pods?labelSelector={label}");
        until("the others are gone", LONG, || {
            let pods = self.node.ask(&pods).object();
            (pods["items"].as_array()?.len() == replicas).then_some(())
        });
    }

    /// Where the embedded backend's page is seen, as an operator sees it.
    pub(crate) fn lab(&self) -> SocketAddr {
        let page = SocketAddr::from((Ipv4Addr::LOCALHOST, PAGE_PORT));
        let is_seen = || get(page, "/health").is_some();
        if !is_seen() {
            // its pod is another one now
            self.forward.borrow_mut().take();
            let path = format!("/apis/apps/v1/namespaces/{OWN}/deployments/{OWN}-lab");
            let logs = format!("--namespace={OWN}");
            let logs = ["logs", &format!("deployment/{OWN}-lab"), &logs, "--tail=1"];
            until("the embedded backend is ready", LONG, || {
                let lab = self.node.ask(&path).object();
                // a kubelet that has just started knows none of its pods
                let is_known = || self.node.kubectl(&logs).success;
                (lab["status"]["readyReplicas"] == 1 && is_known()).then_some(())
            });
            let (target, ports) = (format!("deployment/{OWN}-lab"), format!("{PAGE_PORT}:9200"));
            let arguments = ["port-forward", "--namespace", OWN, &target, &ports];
            let mut command = self.node.kubectl_command(&arguments);
            let log = self.folder.path().join("port-forward.log");
            let forward = Process::start(&mut command, &log, is_seen);
            *self.forward.borrow_mut() = Some(forward);
        }
        page
    }

    /// How many documents of `service` the backend has.
    pub(crate) fn count(&self, service: &str) -> u64 {
        let path = format!("/api/v1/search?service={}&limit=1", encoded(service));
        let body = get(self.lab(), &path);
        let answer: Value = body.map_or(Value::Null, |body| serde_json::from_slice(&body).unwrap());
        answer["total"].as_u64().unwrap_or_default()
    }

    /// How often the backend has each message of `service`.
    pub(crate) fn messages(&self, service: &str) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let path = format!(
                "/api/v1/search?service={}&limit={PAGE}&cursor={}",
                encoded(service),
                encoded(&cursor)
            );
            let page = get(self.lab(), &path).expect("the backend answers");
            let page: Value = serde_json::from_slice(&page).unwrap();
            for document in page["documents"].as_array().unwrap() {
                let message = document["message"].as_str().unwrap_or_default();
                *found.entry(message.to_owned()).or_default() += 1;
            }
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return found,
            }
        }
    }
}

/// What kubelet says of the container `name` of a pod, whichever kind it is.
pub(crate) fn status(pod: &Value, name: &str) -> Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let all = lists
        .iter()
        .filter_map(|list| pod["status"][list].as_array());
    let found = all.flatten().find(|status| status["name"] == name);
    found.cloned().unwrap_or_default()
}

/// The pod of a service as its Deployment makes it, to be tried.
pub(crate) fn tried(name: &str) -> Value {
    let mut pod = deployment("orchestrator", &[])["spec"]["template"].clone();
    pod["metadata"]["name"] = json!(name);
    pod
}

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/emco-observer")
}

/// The archives of `cargo xtask dist`: beside the folder of the build that this program is of.
fn images() -> Vec<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(3).unwrap().join("images");
    let version = env!("CARGO_PKG_VERSION");
    let found = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".tar") && name.contains(version)
    });
    let folder = folder.display();
    assert!(
        found.len() >= 3,
        "{folder} lacks images: run `cargo xtask dist`"
    );
    found
}

fn deployment(service: &str, arguments: &[&str]) -> Value {
    let labels = json!({"app": service, "release": "emco"});
    let folder = format!("/opt/emco/{service}");
    json!({
        "metadata": {"name": format!("emco-{service}"), "labels": labels},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 20,
                "containers": [{
                    "name": service, "image": Node::APPLICATION, "imagePullPolicy": "IfNotPresent",
                    "command": ["/application"], "args": arguments, "workingDir": folder,
                    "env": [{"name": "POD_NAME", "valueFrom": {
                        "fieldRef": {"fieldPath": "metadata.name"}}}],
                    "ports": [{"containerPort": 9015}],
                    "volumeMounts": [{"name": service, "subPath": "config.json",
                                      "mountPath": format!("{folder}/config.json")}],
                }],
                "volumes": [{"name": service, "configMap": {"name": format!("emco-{service}")}}],
            }},
        },
    })
}
