//! The control plane as it runs, before a real API server that calls its webhook through a Service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::process::End;
use control::serve::{Replica, serve};
use control::settings::{Certificates, Hub, Settings};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use testkit::peers::{Kubernetes, free_ports};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::common::{as_pod, fixture};

pub(super) const OURS: &str = "observer";
pub(super) const THEIRS: &str = "emco";
/// Reports the gateway's access log.
pub(super) const GATEWAY: &str = "observer/reporter";
pub(super) const NAME: &str = "emco-observer";
/// Everything that is waited for is there long before.
pub(super) const LONG: Duration = Duration::from_secs(30);

/// A cluster whose API server calls the webhook of every replica in turn.
pub(super) struct Scene {
    pub(super) server: Kubernetes,
    pub(super) client: Client,
    /// Where each replica serves the hub.
    pub(super) hubs: Vec<SocketAddr>,
    stop: CancellationToken,
    replicas: JoinSet<()>,
    /// Where replicas show their metrics.
    pub(super) pages: Vec<SocketAddr>,
}

impl Scene {
    pub(super) async fn start(
        server: Kubernetes,
        replicas: usize,
        certificates: Certificates,
    ) -> Self {
        let settings = Settings {
            certificates,
            ..Settings::default()
        };
        Self::start_with(server, replicas, settings).await
    }

    pub(super) async fn start_with(
        server: Kubernetes,
        replicas: usize,
        settings: Settings,
    ) -> Self {
        let (server, port) = tokio::task::spawn_blocking(|| {
            let [port] = free_ports();
            server.namespace(OURS, &[]);
            server.namespace(THEIRS, &[("emco-observer.io/inject", "true")]);
            let services = format!("/api/v1/namespaces/{OURS}/services");
            let service = json!({
                "metadata": { "name": NAME },
                "spec": { "ports": [{ "port": port.port() }] },
            });
            let service = server.create(&services, &service).object();
            let address: Ipv4Addr = service["spec"]["clusterIP"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            let configurations =
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
            server
                .create(configurations, &configuration(port.port()))
                .object();
            let maps = format!("/api/v1/namespaces/{THEIRS}/configmaps");
            let map = json!({ "metadata": { "name": "emco-observer-ca" } });
            server.create(&maps, &map).object();
            (server, SocketAddr::from((address, port.port())))
        })
        .await
        .unwrap();
        let config = config(server.kubeconfig()).await;
        let mut scene = Self {
            client: Client::try_from(config.clone()).unwrap(),
            server,
            hubs: Vec::new(),
            stop: CancellationToken::new(),
            replicas: JoinSet::new(),
            pages: Vec::new(),
        };
        let webhooks = scene.replicas(replicas, &settings, &config);
        scene.replicas.spawn(balance(port, webhooks));
        scene
    }

    fn replicas(&mut self, count: usize, settings: &Settings, config: &Config) -> Vec<SocketAddr> {
        let start = |number| {
            let [admin, webhook, hub] = free_ports();
            let mut settings = settings.clone();
            settings.admin.listen = admin;
            self.pages.push(admin);
            settings.webhook.listen = webhook;
            settings.hub = Some(Hub {
                listen: hub,
                gateways: vec![GATEWAY.to_owned()],
                ..Hub::default()
            });
            self.hubs.push(hub);
            let replica = Replica {
                name: format!("{NAME}-{number}"),
                namespace: OURS.to_owned(),
            };
            let (config, stop) = (config.clone(), self.stop.clone());
            self.replicas.spawn(async move {
                serve(settings, replica, config, End::at(stop))
                    .await
                    .unwrap();
            });
            webhook
        };
        (0..count).map(start).collect()
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), THEIRS)
    }

    /// Waits until the API server gets its answers from the webhook.
    pub(super) async fn ready(&self) {
        let pod = orchestrator("first");
        let asked = async {
            while create(&self.pods(), &pod, true).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, asked).await.expect("the webhook answers");
    }

    pub(super) async fn end(mut self) {
        self.stop.cancel();
        // the balancer ends with the set
        while let Ok(Some(ended)) = timeout(Duration::from_secs(1), self.replicas.join_next()).await
        {
            ended.unwrap();
        }
        tokio::task::spawn_blocking(move || drop(self.server))
            .await
            .unwrap();
    }
}

pub(super) async fn config(kubeconfig: PathBuf) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap()
}

/// A webhook that must not fail: otherwise a pod without a sidecar would not be noticed.
pub(super) fn configuration(port: u16) -> Value {
    json!({
        "metadata": { "name": NAME },
        "webhooks": [{
            "name": "pods.emco-observer.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": { "name": NAME, "namespace": OURS, "path": "/mutate", "port": port },
            },
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchLabels": { "emco-observer.io/inject": "true" } },
            "rules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }],
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    })
}

/// What a Service does: each connection goes to the next replica.
pub(super) async fn balance(address: SocketAddr, replicas: Vec<SocketAddr>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let next = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    while let Ok((mut outside, _)) = listener.accept().await {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let replica = replicas[number % replicas.len()];
        connections.spawn(async move {
            let Ok(mut inside) = TcpStream::connect(replica).await else {
                return;
            };
            tokio::io::copy_bidirectional(&mut outside, &mut inside)
                .await
                .ok();
        });
    }
}

pub(super) fn orchestrator(name: &str) -> Pod {
    serde_json::from_value(as_pod(&fixture("orchestrator.yaml"), name)).unwrap()
}

/// Creates a pod and looks whether it has a sidecar.
pub(super) async fn create(pods: &Api<Pod>, pod: &Pod, dry_run: bool) -> kube::Result<()> {
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    let stored = pods.create(&params, pod).await?;
    let annotations = stored.metadata.annotations.unwrap_or_default();
    assert!(
        annotations.contains_key("emco-observer.io/status"),
        "{annotations:?}"
    );
    Ok(())
}

/// Starts a cluster with replicas; nothing if there is none to be had.
pub(super) async fn scene(
    replicas: usize,
    certificates: Certificates,
) -> Option<(tempfile::TempDir, Scene)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let server = tokio::task::spawn_blocking(move || Kubernetes::start(&path));
    let server = server.await.unwrap()?;
    Some((folder, Scene::start(server, replicas, certificates).await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_their_sidecar_and_operators_hear_of_those_that_do_not() {
    let Some((_folder, scene)) = scene(2, Certificates::default()).await else {
        return;
    };
    scene.ready().await;
    create(&scene.pods(), &orchestrator("kept"), false)
        .await
        .unwrap();

    let mut refused = orchestrator("on-the-node");
    refused.spec.as_mut().unwrap().host_network = Some(true);
    let events: Api<k8s_openapi::api::events::v1::Event> =
        Api::namespaced(scene.client.clone(), THEIRS);
    for dry_run in [true, false] {
        let params = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let stored = scene.pods().create(&params, &refused).await.unwrap();
        assert_eq!(stored.spec.unwrap().containers.len(), 1);
    }
    let found = timeout(LONG, async {
        loop {
            let found = events.list(&ListParams::default()).await.unwrap().items;
            if !found.is_empty() {
                break found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let found = found.await.expect("an event comes");
    let [event] = found.as_slice() else {
        panic!("what is only tried leaves no trace: {found:?}");
    };
    assert_eq!(event.reason.as_deref(), Some("SidecarSkipped"));
    assert!(
        event.note.as_deref().unwrap().contains("hostNetwork"),
        "{event:?}"
    );
    assert_eq!(
        event.regarding.as_ref().unwrap().name.as_deref(),
        Some("on-the-node")
    );

    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::namespaced(scene.client.clone(), THEIRS);
    let map = maps.get("emco-observer-ca").await.unwrap();
    let bundle = bundle(&scene.client).await;
    assert_eq!(
        map.data.unwrap()["ca.crt"],
        bundle,
        "sidecars trust whom the API server trusts"
    );
    scene.end().await;
}

pub(super) async fn bundle(client: &Client) -> String {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let webhooks = configurations.get(NAME).await.unwrap().webhooks.unwrap();
    let bundle = webhooks[0].client_config.ca_bundle.clone();
    String::from_utf8(bundle.unwrap().0).unwrap()
}

/// The certificate and its authority are renewed each second, by two replicas that know nothing of
/// each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_everything_is_renewed() {
    const A_SECOND: u32 = 50;
    // `cargo xtask test --full` asks for more
    let runs = std::env::var("EMCO_ROTATION_SECONDS").map_or(30, |text| text.parse().unwrap());
    let runs = Duration::from_secs(runs);
    let renewed = Certificates {
        authority_renewal: Duration::from_secs(1),
        certificate_renewal: Duration::from_secs(1),
        settle: Duration::from_secs(3),
        ..Certificates::default()
    };
    let Some((_folder, scene)) = scene(2, renewed).await else {
        return;
    };
    scene.ready().await;
    let (first, pods) = (bundle(&scene.client).await, scene.pods());
    let mut ticks = interval(Duration::from_secs(1) / A_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (begun, mut calls) = (Instant::now(), JoinSet::new());
    let pod = Arc::new(orchestrator("again"));
    while begun.elapsed() < runs {
        ticks.tick().await;
        let (pods, pod) = (pods.clone(), Arc::clone(&pod));
        calls.spawn(async move { create(&pods, &pod, true).await });
    }
    let (mut good, mut bad) = (0_u32, Vec::new());
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            Ok(()) => good += 1,
            Err(error) => bad.push(error.to_string()),
        }
    }
    assert!(
        bad.is_empty(),
        "{} of {good} calls failed: {:?}",
        bad.len(),
        bad.first()
    );
    assert!(good > 500, "{good} calls are not enough to tell");
    println!("{good} calls in {runs:?}, none failed");
    let last = bundle(&scene.client).await;
    let old = first.split_inclusive("-----END CERTIFICATE-----");
    let kept = old.filter(|one| last.contains(one.trim()) && !one.trim().is_empty());
    assert_eq!(kept.count(), 0, "the first authorities are gone");
    scene.end().await;
}
