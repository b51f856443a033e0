//! The hub of the control plane, with tokens that a real API server issues and checks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control::inject::AUDIENCE;
use control::settings::Certificates;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hub::{ClientMetrics, ClientSettings, HubClient, HubHandle, Learned};
use kube::api::PostParams;
use model::fact::{Fact, Operation};
use model::ids::TraceId;
use model::time::UnixNanos;
use net::{HttpClient, TlsSettings};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::serving::{GATEWAY, LONG, OURS, Scene, THEIRS, bundle, orchestrator, scene};

/// A sidecar as far as the hub knows it.
struct Sidecar {
    handle: HubHandle,
    learned: mpsc::Receiver<Learned>,
    registry: Registry,
    _stop: DropGuard,
}

impl Sidecar {
    fn start(scene: &Scene, tls: TlsSettings, token: PathBuf) -> Self {
        let stop = CancellationToken::new();
        let registry = Registry::new();
        let metrics = ClientMetrics::new(&registry).unwrap();
        let address = |hub: &std::net::SocketAddr| format!("https://{hub}");
        let settings = ClientSettings {
            addresses: scene.hubs.iter().map(address).collect(),
            token_file: Some(token),
            tls,
            ..ClientSettings::default()
        };
        let (handle, learned) = HubClient::spawn(settings, metrics, stop.clone()).unwrap();
        Self {
            handle,
            learned,
            registry,
            _stop: stop.drop_guard(),
        }
    }

    /// How often the hub could not be used.
    fn failures(&self) -> f64 {
        let families = self.registry.gather();
        let failures = families
            .iter()
            .find(|family| family.name() == "emco_observer_hub_client_failures_total");
        let metrics = failures.map_or(&[][..], |family| family.get_metric());
        metrics
            .iter()
            .map(|metric| metric.get_counter().get_value())
            .sum()
    }

    async fn next(&mut self) -> Learned {
        timeout(LONG, self.learned.recv())
            .await
            .expect("news")
            .unwrap()
    }
}

struct Token {
    file: PathBuf,
    text: String,
}

/// What the injector puts into a pod: whom to trust, and who it is.
struct Projected(tempfile::TempDir);

impl Projected {
    async fn new(scene: &Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), bundle(&scene.client).await).unwrap();
        Self(folder)
    }

    fn tls(&self) -> TlsSettings {
        TlsSettings {
            ca_file: Some(self.0.path().join("ca.crt")),
            server_name: Some(format!("emco-observer-hub.{OURS}.svc")),
            ..TlsSettings::default()
        }
    }

    fn token(&self, name: &str, text: &str) -> Token {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).unwrap();
        Token {
            file,
            text: text.to_owned(),
        }
    }
}

async fn pod(scene: &Scene, name: &str) -> Value {
    let pod = orchestrator(name);
    let stored = scene.pods().create(&PostParams::default(), &pod).await;
    serde_json::to_value(stored.unwrap()).unwrap()
}

async fn post(hub: &str, tls: TlsSettings, token: &Token, path: &str, body: &Value) -> StatusCode {
    let settings = net::ClientSettings {
        tls,
        ..net::ClientSettings::default()
    };
    let client = HttpClient::new(format!("https://{hub}").parse().unwrap(), settings);
    let mut headers = HeaderMap::new();
    let bearer = HeaderValue::from_str(&format!("Bearer {}", token.text)).unwrap();
    headers.insert(header::AUTHORIZATION, bearer);
    let body = Bytes::from(body.to_string());
    let reply = client.send(Method::POST, path, headers, body).await;
    reply.unwrap().status
}

fn operation(trace: TraceId) -> Operation {
    Operation {
        trace,
        app_context: Arc::from("7213"),
        action: Arc::from("installapp/InstallApp"),
        service: Arc::from("orchestrator"),
        at: UnixNanos(5),
    }
}

fn access(trace: TraceId) -> Value {
    json!({
        "access_log_type": "DownstreamEnd", "start_time": "2026-11-23T08:00:00.000Z",
        "duration": 5, "response_code": 201, "method": "POST", "path": "/v2/projects",
        "x_b3_traceid": trace.to_string(), "x_b3_spanid": &trace.to_string()[16..],
        "user_jwt": "alice", "user_verified": true,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_tell_and_ask_with_the_tokens_of_their_pods() {
    let Some((_folder, scene)) = scene(2, Certificates::default()).await else {
        return;
    };
    scene.ready().await;
    let projected = Projected::new(&scene).await;
    let pods = [pod(&scene, "teller").await, pod(&scene, "asker").await];
    let (reporter, account) = GATEWAY.split_once('/').unwrap();
    let [teller, asker, stranger, gateway] = tokio::task::block_in_place(|| {
        let server = &scene.server;
        server.service_account(reporter, account);
        server.namespace("strangers", &[]);
        let bound = |pod| server.issue_token(THEIRS, "default", AUDIENCE, Some(pod));
        [
            projected.token("teller", &bound(&pods[0])),
            projected.token("asker", &bound(&pods[1])),
            projected.token(
                "stranger",
                &server.issue_token("strangers", "default", AUDIENCE, None),
            ),
            projected.token(
                "gateway",
                &server.issue_token(reporter, account, AUDIENCE, None),
            ),
        ]
    });

    let trace = TraceId([7; 16]);
    let told = Sidecar::start(&scene, projected.tls(), teller.file.clone());
    told.handle.tell(Fact::Operation(operation(trace)));
    let mut asks = Sidecar::start(&scene, projected.tls(), asker.file);
    asks.handle.ask_app_context("7213");
    let Learned::Operation(learned) = asks.next().await else {
        panic!("an operation was asked for");
    };
    assert_eq!(learned, operation(trace));

    // Who sent a request is said by the gateway's reporter only, to each replica.
    for hub in &scene.hubs {
        let (hub, record) = (hub.to_string(), access(trace));
        for (token, status) in [
            (&teller, StatusCode::FORBIDDEN),
            (&stranger, StatusCode::UNAUTHORIZED),
            (&gateway, StatusCode::OK),
        ] {
            let tls = projected.tls();
            assert_eq!(
                post(&hub, tls, token, "/v1/access-log", &record).await,
                status
            );
        }
    }
    asks.handle.ask_trace(trace);
    let Learned::Made(made) = asks.next().await else {
        panic!("a person was asked for");
    };
    assert_eq!(&*made.user.id, "alice");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_sidecar_is_turned_away() {
    let Some((_folder, scene)) = scene(1, Certificates::default()).await else {
        return;
    };
    scene.ready().await;
    let projected = Projected::new(&scene).await;
    let (hub, ask) = (scene.hubs[0].to_string(), json!({ "version": 1 }));
    let pod = pod(&scene, "gone").await;
    let [bound, elsewhere, unbound] = tokio::task::block_in_place(|| {
        let server = &scene.server;
        [
            projected.token(
                "bound",
                &server.issue_token(THEIRS, "default", AUDIENCE, Some(&pod)),
            ),
            // as pods have it for the API server
            projected.token(
                "elsewhere",
                &server.issue_token(
                    THEIRS,
                    "default",
                    testkit::peers::Kubernetes::AUDIENCE,
                    Some(&pod),
                ),
            ),
            projected.token(
                "unbound",
                &server.issue_token(THEIRS, "default", AUDIENCE, None),
            ),
        ]
    });
    let nonsense = projected.token("nonsense", "e30.e30.e30");
    for (token, status) in [
        (&bound, StatusCode::OK),
        (&elsewhere, StatusCode::UNAUTHORIZED),
        (&unbound, StatusCode::UNAUTHORIZED),
        (&nonsense, StatusCode::UNAUTHORIZED),
    ] {
        let tls = projected.tls();
        assert_eq!(
            post(&hub, tls, token, "/v1/ask", &ask).await,
            status,
            "{:?}",
            token.file
        );
    }
    // A sidecar that is turned away says so and goes on trying.
    let refused = Sidecar::start(&scene, projected.tls(), unbound.file);
    refused
        .handle
        .tell(Fact::Operation(operation(TraceId([1; 16]))));
    let tried = async {
        while refused.failures() < 2.0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, tried).await.expect("it tries again");
    scene.end().await;
}
