use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use net::{ClientSettings, HttpClient, Reply, TlsSettings};

use super::lab::Lab;

const LONG: Duration = Duration::from_secs(30);
const DOCUMENT: &str = "{\"create\":{\"_index\":\"emco-logs\",\"_id\":\"one\"}}\n{\"message\":\"hello\",\"@timestamp\":\"2026-01-01T00:00:00Z\"}\n";

/// A lab that is the hub, one that sidecars send to, and what they know of it.
struct Scene {
    folder: tempfile::TempDir,
    hub: Option<Lab>,
    lab: Lab,
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("token"), "good\n").unwrap();
        certificate(folder.path());
        let hub = hub(folder.path(), "127.0.0.1:0");
        let lab = file("lab");
        std::fs::create_dir(&lab).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let lab = Lab::start_with(
            &lab,
            &[
                "--listen-ingest=127.0.0.1:0",
                &format!("--tls-cert={}", text(file("tls.crt"))),
                &format!("--tls-key={}", text(file("tls.key"))),
                &format!("--token-hub=http://{}", hub.http),
            ],
        );
        Self {
            folder,
            hub: Some(hub),
            lab,
        }
    }

    /// A client that trusts the certificate as it is now.
    fn client(&self) -> HttpClient {
        let address = self.lab.ingest.as_ref().unwrap();
        let tls = TlsSettings {
            ca_file: Some(self.folder.path().join("tls.crt")),
            server_name: Some("lab.test".to_owned()),
            ..TlsSettings::default()
        };
        let settings = ClientSettings {
            tls,
            ..ClientSettings::default()
        };
        HttpClient::new(format!("https://{address}").parse().unwrap(), settings)
    }

    fn documents(&self) -> u64 {
        let answer = self.lab.request("GET", "/api/v1/search", "", b"");
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        answer["total"].as_u64().unwrap()
    }
}

fn hub(folder: &Path, address: &str) -> Lab {
    let data = folder.join("hub");
    std::fs::create_dir_all(&data).unwrap();
    let token = folder.join("token");
    let token = format!("--hub-token={}", token.display());
    // another token, or everybody were the gateway
    std::fs::write(folder.join("gateway"), "gateway").unwrap();
    let gateway = format!("--hub-gateway-token={}", folder.join("gateway").display());
    Lab::start_at(address, &data, &[&token, &gateway])
}

fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["lab.test".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

async fn post(client: &HttpClient, path: &str, token: Option<&str>, body: &'static str) -> Reply {
    send(client, Method::POST, path, token, body).await.unwrap()
}

async fn send(
    client: &HttpClient,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &'static str,
) -> Result<Reply, net::Error> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    if let Some(token) = token {
        let token = format!("Bearer {token}").parse().unwrap();
        headers.insert(header::AUTHORIZATION, token);
    }
    client.send(method, path, headers, Bytes::from(body)).await
}

#[tokio::test]
async fn sidecars_come_in_by_token_and_nobody_else_does() {
    let scene = Scene::start();
    let client = scene.client();
    for token in [None, Some("bad"), Some("")] {
        for path in ["/_bulk", "/v1/traces"] {
            let reply = post(&client, path, token, DOCUMENT).await;
            assert_eq!(reply.status, 401, "{path} with {token:?}");
        }
    }
    assert_eq!(scene.documents(), 0);
    let reply = post(&client, "/_bulk", Some("good"), DOCUMENT).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(scene.documents(), 1);
    let reply = post(
        &client,
        "/v1/traces",
        Some("good"),
        "{\"resourceSpans\":[]}",
    )
    .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    // what is not for sidecars is not there, token or not
    for path in ["/", "/api/v1/search", "/metrics", "/v1/tell", "/request/1"] {
        for method in [Method::GET, Method::POST] {
            let reply = send(&client, method, path, Some("good"), "{}").await;
            assert_eq!(reply.unwrap().status, 404, "{path}");
        }
    }
    let health = send(&client, Method::GET, "/health", None, "").await;
    assert_eq!(health.unwrap().status, 200);
    let metrics = scene.lab.request("GET", "/metrics", "", b"");
    let metrics = String::from_utf8(metrics.body).unwrap();
    let counted = "emco_observer_lab_ingest_refusals_total{reason=\"unauthorized\"} 6";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn without_the_hub_what_is_known_comes_in_and_the_rest_comes_again() {
    let mut scene = Scene::start();
    let client = scene.client();
    let reply = post(&client, "/_bulk", Some("good"), DOCUMENT).await;
    assert_eq!(reply.status, 200);
    let at = scene.hub.take().map(|hub| hub.http.clone()).unwrap();
    let reply = post(&client, "/_bulk", Some("good"), DOCUMENT).await;
    assert_eq!(reply.status, 200, "it was asked about a moment ago");
    let reply = post(&client, "/_bulk", Some("other"), DOCUMENT).await;
    assert_eq!(reply.status, 503);
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    std::fs::write(scene.folder.path().join("token"), "other").unwrap();
    scene.hub = Some(hub(scene.folder.path(), &at));
    let reply = post(&client, "/_bulk", Some("other"), DOCUMENT).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
}

#[tokio::test]
async fn a_certificate_is_replaced_while_it_runs() {
    let scene = Scene::start();
    assert_eq!(
        post(&scene.client(), "/_bulk", Some("good"), DOCUMENT)
            .await
            .status,
        200
    );
    certificate(scene.folder.path());
    let start = Instant::now();
    loop {
        let sent = send(
            &scene.client(),
            Method::POST,
            "/_bulk",
            Some("good"),
            DOCUMENT,
        )
        .await;
        if sent.is_ok_and(|reply| reply.status == 200) {
            break;
        }
        assert!(start.elapsed() < LONG, "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn half_of_what_it_needs_is_said_at_once() {
    let said = Command::new(env!("CARGO_BIN_EXE_emco-lab"))
        .args(["serve", "--listen-ingest", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    for name in ["--tls-cert", "--tls-key", "--token-hub"] {
        assert!(said.contains(name), "{said}");
    }
    let nowhere = Command::new(env!("CARGO_BIN_EXE_emco-lab"))
        .args([
            "serve",
            "--listen-ingest=127.0.0.1:0",
            "--listen-http=127.0.0.1:0",
        ])
        .args([
            "--listen-forward=127.0.0.1:0",
            "--tls-cert=/nowhere/tls.crt",
        ])
        .args([
            "--tls-key=/nowhere/tls.key",
            "--token-hub=http://127.0.0.1:1",
        ])
        .arg("--data")
        .arg(tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(!nowhere.status.success());
    assert!(said.contains("reading /nowhere/tls.crt"), "{said}");
}
