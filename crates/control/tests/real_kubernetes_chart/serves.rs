//! What the chart installs works: with its settings and no more than its rights, the control plane
//! answers the API server through the chart's own Service.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use control::serve::{Replica, serve};
use control::settings::Settings;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use testkit::peers::{Kubernetes, free_ports};
use tokio_util::sync::CancellationToken;

use super::{DESTINATION, HELMS, chart};

const OURS: &str = "observer";
/// Everything that is waited for is there long before.
const LONG: Duration = Duration::from_secs(30);

/// Runs the control plane as the chart's Deployment would, until the returned token is cancelled.
fn run(server: &Kubernetes) -> (CancellationToken, std::thread::JoinHandle<()>) {
    let map = server.ask("/api/v1/namespaces/observer/configmaps/emco-observer-control");
    let settings = map.object()["data"]["config.yaml"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut settings: Settings = serde_saphyr::from_str(&settings).unwrap();
    let service = server.ask("/api/v1/namespaces/observer/services/emco-observer-control");
    let service = service.object();
    let address: IpAddr = service["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    // nobody maps the Service's port to the pod's here
    settings.webhook.listen = SocketAddr::new(address, 443);
    [settings.admin.listen] = free_ports();
    let kubeconfig = server.kubeconfig_of(OURS, "emco-observer-control");
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let replica = Replica {
        name: "emco-observer-control-0".to_owned(),
        namespace: OURS.to_owned(),
    };
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            serve(settings, replica, config.unwrap(), stopped)
                .await
                .unwrap();
        });
    };
    (stop, std::thread::spawn(run))
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": "orchestrator", "release": "emco" } },
        "spec": { "containers": [{
            "name": "orchestrator",
            "image": "registry.example.com/emco-orch:latest",
            "command": ["./orchestrator"],
        }] },
    })
}

fn has_sidecar(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations/emco-observer.io~1status")
        .is_some()
}

#[test]
fn what_is_installed_injects_with_the_rights_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    server.namespace(OURS, &[]);
    server.namespace("emco", &[("emco-observer.io/inject", "true")]);
    let chart = chart();
    let chart = chart.to_str().unwrap();
    for helm in HELMS {
        let install = [
            "install",
            "emco-observer",
            chart,
            "--namespace",
            OURS,
            "--set",
            DESTINATION,
        ];
        helm(&server, &install).text();
        let (stop, replica) = run(&server);
        let begun = Instant::now();
        let pods = "/api/v1/namespaces/emco/pods";
        while !has_sidecar(
            &server
                .create(&format!("{pods}?dryRun=All"), &pod("tried"))
                .object(),
        ) {
            assert!(begun.elapsed() < LONG, "no pod gets a sidecar");
        }
        let stored = server.create(pods, &pod("kept")).object();
        assert!(has_sidecar(&stored), "{stored}");
        let authority = server.ask("/api/v1/namespaces/emco/configmaps/emco-observer-ca");
        let authority = authority.object();
        assert!(
            authority["data"]["ca.crt"]
                .as_str()
                .unwrap()
                .contains("BEGIN CERTIFICATE")
        );

        // pods start whatever becomes of us
        stop.cancel();
        replica.join().unwrap();
        let bare = server.create(pods, &pod("bare")).object();
        assert!(!has_sidecar(&bare));
        helm(
            &server,
            &["uninstall", "emco-observer", "--namespace", OURS],
        )
        .text();
        for name in ["kept", "bare"] {
            server.delete(&format!("{pods}/{name}")).object();
        }
    }
}
