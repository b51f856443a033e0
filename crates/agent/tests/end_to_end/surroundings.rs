//! In a pod the sidecar stays up whatever it finds there, says why it is not well, and takes what is
//! mended.

use std::fs;

use tokio::net::TcpListener;

use crate::common::bulk::Server;
use crate::common::pod::now;
use crate::common::requests::Request;
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::tls::Front;
use crate::common::{otlp, until};

/// Waits until its health is this.
async fn is(sidecar: &Sidecar, status: &str) -> serde_json::Value {
    until(&format!("its health is {status}"), async || {
        let health = sidecar.health().await;
        (health["status"] == status).then_some(health)
    })
    .await
}

#[tokio::test]
async fn addresses_that_are_taken_are_had_when_they_are_free() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address).in_pod();
    let mut service = setup.service();
    let spans = TcpListener::bind(setup.spans).await.unwrap();
    let admin = TcpListener::bind(setup.admin).await.unwrap();
    let sidecar = setup.spawn();
    for part in ["admin", "spans"] {
        let part = format!("\"part\":\"{part}\"");
        sidecar
            .says(&["listening on", &part, "ddress already in use"])
            .await;
    }
    service.logrus("said while both are taken");
    elastic.store.has_exactly(&service.written).await;
    drop(admin);
    let health = until("the page is shown", async || {
        let (_, body) = crate::common::http::get(setup.admin, "/health").await?;
        Some(body)
    })
    .await;
    assert!(health.contains("\"spans\""), "{health}");
    let degraded = "emco_observer_health_degraded_parts";
    assert_eq!(sidecar.metric(degraded, &[]).await, 1);
    drop(spans);
    is(&sidecar, "ok").await;
    let (status, _) = sidecar.post_spans(&Request::new(1, now()).body()).await;
    assert_eq!(status, 202);
    for part in ["admin", "spans"] {
        let part = format!("\"part\":\"{part}\"");
        sidecar.says(&["works again", &part]).await;
    }
    assert!(sidecar.terminate().await.success());
}

/// EMCO prints a line for every body that nobody takes.
#[tokio::test]
async fn spans_of_a_pod_without_settings_are_taken_and_forgotten() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address).in_pod();
    let spans = setup.spans.to_string();
    let setup = setup
        .variable_admin()
        .variable("EMCO_OBSERVER_SPANS_LISTEN", &spans);
    let config = setup.folder.path().join("later.yaml");
    let sidecar = setup.spawn_with(&["run", "--config", config.to_str().unwrap()]);
    for number in 1..=3 {
        let (status, _) = sidecar
            .post_spans(&Request::new(number, now()).body())
            .await;
        assert_eq!(status, 202);
    }
    let ignored = "emco_observer_idle_ignored_spans_total";
    assert_eq!(sidecar.metric(ignored, &[]).await, 6);
    sidecar
        .says(&["nothing is shipped until this is mended"])
        .await;
    assert_eq!(sidecar.health().await["reasons"][0]["part"], "settings");
    let mut service = setup.service();
    service.logrus("written before there are settings");
    fs::write(&config, setup.yaml()).unwrap();
    elastic.store.has_exactly(&service.written).await;
    is(&sidecar, "ok").await;
    let (status, _) = sidecar.post_spans(&Request::new(4, now()).body()).await;
    assert_eq!(status, 202);
    let taken = "emco_observer_in_spans_bodies_total";
    assert_eq!(sidecar.metric(taken, &["outcome=\"accepted\""]).await, 1);
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn secrets_that_are_missing_are_taken_when_they_come() {
    let elastic = Server::start().await;
    let traces = otlp::Receiver::start().await;
    let front = Front::of(traces.address).await;
    let [hub] = crate::common::sidecar::free_addresses();
    let setup = Setup::new();
    let secrets = setup.folder.path().join("secrets");
    let secret = |name: &str| secrets.join(name).to_str().unwrap().to_owned();
    let mut setup = setup
        .elastic(elastic.address)
        .with_lanes(&format!("    api_key_file: {}\n", secret("key")))
        .with_lanes(&format!(
            "  otlp:\n    url: \"https://{}\"\n    tls: {{ca_file: {}, server_name: {}}}\n",
            front.address,
            secret("ca"),
            crate::common::tls::NAME
        ))
        .with(&format!(
            "hub: {{addresses: [\"http://{hub}\"], token_file: {}}}",
            secret("token")
        ))
        .in_pod();
    setup.wait = "0s";
    let mut service = setup.service();
    service.logrus("nobody may send it yet");
    let sidecar = setup.start().await;
    sidecar
        .says(&["reading the secret in", &secret("key"), "No such file"])
        .await;
    let failures = "emco_observer_elastic_failures_total";
    let reason = ["reason=\"secret_file\""];
    sidecar.counts(failures, &reason, 1).await;
    let (status, _) = sidecar.post_spans(&Request::new(1, now()).body()).await;
    assert_eq!(status, 202);
    sidecar.says(&[&secret("ca"), "No such file"]).await;
    assert_eq!(elastic.store.received() + traces.spans().len(), 0);
    fs::create_dir(&secrets).unwrap();
    fs::write(secret("key"), "c2VjcmV0\n").unwrap();
    fs::write(secret("token"), "of no use\n").unwrap();
    front.write_authority(secret("ca").as_ref());
    elastic.store.contains(&service.written).await;
    until("the spans have arrived", async || {
        (!traces.spans().is_empty()).then_some(())
    })
    .await;
    assert!(sidecar.terminate().await.success());
}

/// What a sidecar cannot start with is tried again, not only when settings change.
#[tokio::test]
async fn a_start_that_fails_is_tried_again() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let state = setup.state_dir();
    fs::create_dir(&state).unwrap();
    for place in ["spans", "verdicts", "dead-letters"] {
        fs::write(
            state.join(place),
            "a file stands where a directory should be",
        )
        .unwrap();
    }
    let mut outside = setup.spawn();
    assert_eq!(outside.ended().await.code(), Some(1));
    let setup = setup.in_pod();
    let mut service = setup.service();
    service.logrus("written before it works");
    let sidecar = setup.start().await;
    for place in ["spans", "verdicts", "dead-letters"] {
        until(&format!("{place} is named"), async || {
            let (_, health) = crate::common::http::get(setup.admin, "/health").await?;
            let named = state.join(place);
            (health.contains("\"start\"") && health.contains(named.to_str()?)).then_some(())
        })
        .await;
        let (status, _) = sidecar.post_spans(b"[]").await;
        assert_eq!(status, 202, "EMCO has nothing to complain of");
        fs::remove_file(state.join(place)).unwrap();
    }
    elastic.store.has_exactly(&service.written).await;
    until("its health is well", async || {
        let (_, health) = crate::common::http::get(setup.admin, "/health").await?;
        health.contains("\"ok\"").then_some(())
    })
    .await;
    assert!(sidecar.terminate().await.success());
}
