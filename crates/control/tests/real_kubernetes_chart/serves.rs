//! What the chart installs works: with its settings and no more than its rights, the control plane
//! answers the API server through the chart's own Service.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control::inject::AUDIENCE;
use control::process::End;
use control::serve::{Replica, serve};
use control::settings::Settings;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use net::{ClientSettings, Endpoint, HttpClient, Reply, TlsSettings};
use serde_json::{Value, json};
use testkit::peers::{Kubernetes, free_ports, get, until};
use tokio_util::sync::CancellationToken;

use super::{DESTINATION, HELMS, Helm, chart};

pub(crate) const OURS: &str = "observer";
/// Everything that is waited for is there long before.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Runs the control plane as the chart's Deployment would, until the returned token is cancelled.
pub(crate) fn run(server: &Kubernetes) -> Running {
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
    let [admin, hub] = free_ports();
    settings.admin.listen = admin;
    if let Some(said) = &mut settings.hub {
        said.listen = hub;
    }
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
            serve(settings, replica, config.unwrap(), End::at(stopped))
                .await
                .unwrap();
        });
    };
    Running {
        stop,
        admin,
        hub,
        thread: std::thread::spawn(run),
    }
}

/// A control plane.
pub(crate) struct Running {
    stop: CancellationToken,
    /// Where it says what is wrong.
    admin: SocketAddr,
    /// Where it serves the hub.
    hub: SocketAddr,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    /// Ends it.
    pub(crate) fn end(self) {
        self.stop.cancel();
        self.thread.join().unwrap();
    }

    /// What the hub answers a sidecar in `pod` that has the file of the chart, and what was projected.
    pub(crate) fn asked_by(&self, server: &Kubernetes, pod: &Value, authority: &str) -> StatusCode {
        let map = server.ask("/api/v1/namespaces/emco/configmaps/emco-observer");
        let file = map.object()["data"]["config.yaml"]
            .as_str()
            .unwrap()
            .to_owned();
        let file: Value = serde_saphyr::from_str(&file).unwrap();
        let named: Endpoint = file["hub"]["addresses"][0]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let token = server.issue_token("emco", "default", AUDIENCE, Some(pod));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let ask = Bytes::from_static(br#"{"version":1}"#);
        let reply = self.exchange(named.host(), authority, "/v1/ask", headers, ask);
        reply.unwrap().status
    }

    /// Asks the hub, who has to be `name` to whoever trusts `authority`.
    fn exchange(
        &self,
        name: &str,
        authority: &str,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, net::Error> {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.crt");
        std::fs::write(&ca_file, authority).unwrap();
        let settings = ClientSettings {
            tls: TlsSettings {
                ca_file: Some(ca_file),
                server_name: Some(name.to_owned()),
                ..TlsSettings::default()
            },
            ..ClientSettings::default()
        };
        let address = format!("https://{}", self.hub).parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let client = HttpClient::new(address, settings);
            client.send(Method::POST, path, headers, body).await
        })
    }

    /// Whether the certificate is that of `name`.
    pub(crate) fn is_called(&self, name: &str, authority: &str) -> bool {
        let asked = self.exchange(name, authority, "/health", HeaderMap::new(), Bytes::new());
        match asked {
            Ok(_) => true,
            Err(net::Error::Tls { .. }) => false,
            Err(error) => panic!("{}", net::chain(&error)),
        }
    }
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": "orchestrator", "release": "emco" } },
        "spec": { "containers": [{
            "name": "orchestrator",
            "image": "registry.example.com/emco-orch:latest",
            "command": ["./orchestrator"],
        }] },
    })
}

pub(crate) fn has_sidecar(pod: &Value) -> bool {
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
        let replica = run(&server);
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
        let authority = authority["data"]["ca.crt"].as_str().unwrap();
        assert!(authority.contains("BEGIN CERTIFICATE"));
        let answer = replica.asked_by(&server, &stored, authority);
        assert_eq!(answer, StatusCode::OK, "sidecars use the hub");

        says_who_has_a_sidecar(&server, folder.path());
        goes_on_without_its_secret(&server, helm, &replica);

        // pods start whatever becomes of us
        replica.end();
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

/// As `kubectl exec` into the control plane would.
fn says_who_has_a_sidecar(server: &Kubernetes, folder: &Path) {
    let map = server.ask("/api/v1/namespaces/observer/configmaps/emco-observer-control");
    let map = map.object();
    let config = folder.join("config.yaml");
    std::fs::write(&config, map["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_emco-observer-control"))
        .args(["status", "--output", "json", "--config"])
        .arg(&config)
        .env(
            "KUBECONFIG",
            server.kubeconfig_of(OURS, "emco-observer-control"),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(answer["counts"], json!({ "current": 1 }), "{answer}");
}

/// Its rights do not let it make another one: an upgrade of the chart does.
fn goes_on_without_its_secret(server: &Kubernetes, helm: Helm, replica: &Running) {
    let secret = "/api/v1/namespaces/observer/secrets/emco-observer-control-certificates";
    let health = || {
        let said = get(replica.admin, "/health").expect("it answers");
        String::from_utf8(said).unwrap()
    };
    let is_injected = || {
        let tried = "/api/v1/namespaces/emco/pods?dryRun=All";
        has_sidecar(&server.create(tried, &pod("tried")).object())
    };
    assert!(!health().contains("Secret"), "{}", health());
    server.delete(secret).object();
    until("it says that its Secret is gone", LONG, || {
        assert!(is_injected(), "no pod goes without");
        health().contains("writing Secret").then_some(())
    });
    for _ in 0..50 {
        assert!(is_injected(), "no pod goes without");
    }
    assert_eq!(server.ask(secret).status, 404, "it may make none");
    let chart = chart();
    let release = ["upgrade", "emco-observer", chart.to_str().unwrap()];
    let values = ["--namespace", OURS, "--set", DESTINATION];
    helm(server, &[&release[..], &values].concat()).text();
    until("the Secret is filled", LONG, || {
        let data = server.ask(secret).object()["data"].take();
        data.as_object().filter(|data| !data.is_empty()).map(drop)
    });
    until("pods get their sidecar", LONG, || {
        is_injected().then_some(())
    });
    until("nothing is wrong any more", LONG, || {
        (!health().contains("Secret")).then_some(())
    });
}
