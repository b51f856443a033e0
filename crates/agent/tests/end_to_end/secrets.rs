//! What must not leave the pod, in whatever kind of line it stands.

use crate::common::bulk::{Server, Trick};
use crate::common::forward::Receiver;
use crate::common::pod::now;
use crate::common::requests::Request;
use crate::common::sidecar::Setup;

/// Told apart from everything else by this word.
const SECRET: &str = "Qz7hunter2Xw";

#[tokio::test]
async fn secrets_leave_the_pod_neither_in_lines_nor_in_our_own_log() {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address)
        .with("log_level: debug");
    // An answer that repeats what was sent must not end in our own log either.
    elastic.play(&[Trick::Truncated]);
    let mut service = setup.service();
    let jwt = format!("eyJhbGciOiJub25lIn0.{SECRET}.sig");
    let lines = [
        service.logrus_line("stored", "password", SECRET.into()),
        service.logrus_line(&format!("kubeconfig: {SECRET}"), "a", 1.into()),
        service.logrus_line("sent", "body", format!("{{\"token\":\"{SECRET}\"}}").into()),
        service.logrus_line(
            "nested",
            "spec",
            serde_json::json!({"auth": {"apiKey": SECRET}}),
        ),
        format!(r#"{{"level":"info","msg":"stored","password":"{SECRET}"}}"#),
        format!("Authorization: Bearer {SECRET}"),
        format!("2026/11/23 06:00:00 connecting with secret={SECRET}"),
        format!(
            "10.0.0.1 - - [23/Nov/2026:06:00:00 +0000] \"GET /v2?access_token={SECRET} HTTP/1.1\" 200 5"
        ),
        format!("{{\"level\":\"info\",\"msg\":\"cut\",\"password\":\"{SECRET}"),
        format!("token {jwt} and more"),
        // Last: what follows would belong to it.
        format!("panic: api_key: {SECRET}"),
    ];
    let mut ids = Vec::new();
    for line in &lines {
        ids.push(service.record(line.as_bytes()).0);
    }
    let mut proxy = setup.pod.container("istio-proxy");
    let record = Request::new(1, now()).access();
    let record = record.replace("/instantiate", &format!("/instantiate?token={SECRET}"));
    ids.push(proxy.record(record.as_bytes()).0);
    let sidecar = setup.start().await;
    let body = format!("[{{\"password\":\"{SECRET}\"");
    let (status, said) = sidecar.post_spans(body.as_bytes()).await;
    assert_eq!(status, 400);
    assert!(!said.contains(SECRET));
    for store in [&forward.store, &elastic.store] {
        for id in &ids {
            let what = format!("{id} is delivered");
            let document = crate::common::until(&what, async || store.get(id)).await;
            assert!(document.get("emco.redacted").is_some(), "{document}");
        }
    }
    sidecar.is_level().await;
    for store in [&forward.store, &elastic.store] {
        assert!(store.saw("[REDACTED]"));
        assert!(!store.saw(SECRET), "a secret left the pod");
    }
    let log = sidecar.log();
    assert!(log.contains("bulk request failed"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(sidecar.terminate().await.success());
}
