//! The program itself, killed while pods are made: EMCO never waits for it, and never fails by it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use testkit::peers::{Kubernetes, free_ports};
use tokio::time::{interval, timeout};

use super::serving::{LONG, NAME, OURS, THEIRS, balance, config, configuration, orchestrator};

/// How long the API server waits for an answer, in seconds.
const REVIEW_SECONDS_MAX: u32 = 5;
const EVERY: Duration = Duration::from_millis(50);
/// Pods between one thing that happens and the next.
const PODS: usize = 20;

/// One replica, as long as it is let.
struct Replica {
    file: PathBuf,
    kubeconfig: PathBuf,
    webhook: SocketAddr,
    running: Option<Child>,
}

impl Replica {
    fn new(folder: &Path, server: &Kubernetes, number: usize) -> Self {
        let [admin, webhook] = free_ports();
        let settings = json!({ "admin": { "listen": admin }, "webhook": { "listen": webhook } });
        let file = folder.join(format!("settings-{number}.yaml"));
        std::fs::write(&file, settings.to_string()).unwrap();
        Self {
            file,
            kubeconfig: server.kubeconfig(),
            webhook,
            running: None,
        }
    }

    fn start(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_emco-observer-control"))
            .args(["serve", "--config"])
            .arg(&self.file)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("POD_NAME", NAME)
            .env("POD_NAMESPACE", OURS)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running = Some(child.unwrap());
    }

    /// `SIGKILL`: nothing is said to anybody.
    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes what the replicas need; where the API server calls them.
fn prepare(server: &Kubernetes) -> SocketAddr {
    let [port] = free_ports();
    let port = port.port();
    server.namespace(OURS, &[]);
    server.namespace(THEIRS, &[("emco-observer.io/inject", "true")]);
    let services = format!("/api/v1/namespaces/{OURS}/services");
    let service = json!({
        "metadata": { "name": NAME }, "spec": { "ports": [{ "port": port }] },
    });
    let service = server.create(&services, &service).object();
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let address: Ipv4Addr = address.parse().unwrap();
    let mut webhook = configuration(port);
    webhook["webhooks"][0]["failurePolicy"] = json!("Ignore");
    webhook["webhooks"][0]["timeoutSeconds"] = json!(REVIEW_SECONDS_MAX);
    let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    server.create(configurations, &webhook).object();
    let maps = format!("/api/v1/namespaces/{THEIRS}/configmaps");
    let map = json!({ "metadata": { "name": "emco-observer-ca" } });
    server.create(&maps, &map).object();
    SocketAddr::from((address, port))
}

/// Pods as a Deployment's controller makes them, one after another.
struct Maker {
    pods: Api<k8s_openapi::api::core::v1::Pod>,
}

impl Maker {
    /// Tries one; whether it has a sidecar. A pod that is refused, or made too late, ends the test.
    async fn make(&self) -> bool {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let begun = Instant::now();
        let stored = self.pods.create(&params, &orchestrator("made")).await;
        let stored = stored.expect("EMCO's pods are made whatever becomes of us");
        let most = Duration::from_secs(u64::from(REVIEW_SECONDS_MAX) + 1);
        assert!(begun.elapsed() < most, "a pod waited {:?}", begun.elapsed());
        let annotations = stored.metadata.annotations.unwrap_or_default();
        annotations.contains_key("emco-observer.io/status")
    }

    /// How many of the next have a sidecar.
    async fn make_some(&self) -> usize {
        let (mut ticks, mut with) = (interval(EVERY), 0);
        for _ in 0..PODS {
            ticks.tick().await;
            with += usize::from(self.make().await);
        }
        with
    }

    /// Makes pods until all of some have a sidecar.
    async fn until_injected(&self) {
        let injected = async { while self.make_some().await < PODS {} };
        timeout(LONG, injected).await.expect("pods get sidecars");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_made_while_the_injector_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let Some(server) = tokio::task::block_in_place(|| Kubernetes::start(&path)) else {
        return;
    };
    let address = tokio::task::block_in_place(|| prepare(&server));
    let mut replicas = [0, 1].map(|number| Replica::new(&path, &server, number));
    let webhooks = replicas.iter().map(|replica| replica.webhook).collect();
    let balancer = tokio::spawn(balance(address, webhooks));
    let client = Client::try_from(config(server.kubeconfig()).await).unwrap();
    let maker = Maker {
        pods: Api::namespaced(client, THEIRS),
    };
    replicas.iter_mut().for_each(Replica::start);
    maker.until_injected().await;

    replicas[0].kill();
    let with = maker.make_some().await;
    assert!(with >= PODS / 4, "the other replica answers: {with}");

    replicas[1].kill();
    assert_eq!(maker.make_some().await, 0, "nobody is there");

    replicas.iter_mut().for_each(Replica::start);
    maker.until_injected().await;
    drop(replicas);
    balancer.abort();
    tokio::task::block_in_place(move || drop(server));
}
