//! From the chart before this one, which had no hub unless asked for and an embedded backend without
//! TLS, to this one, while the control plane runs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::peers::{Kubernetes, until};

use super::serves::{LONG, OURS, Running, has_sidecar, pod, run};
use super::{DESTINATION, HELMS, Helm, chart};

const PODS: &str = "/api/v1/namespaces/emco/pods";
const SECRET: &str = "/api/v1/namespaces/observer/secrets/emco-observer-control-certificates";

/// The chart as it was; `helm package` made it.
fn before() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/charts/emco-observer-0.0.9.tgz")
}

#[test]
fn the_chart_before_is_upgraded_and_its_hub_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        return;
    };
    server.namespace(OURS, &[]);
    server.namespace("emco", &[("emco-observer.io/inject", "true")]);
    for helm in HELMS {
        let values = ["--set", DESTINATION, "--set", "hub.enabled=false"];
        release(&server, helm, "install", &before(), &values);
        let mut replica = run(&server);
        until("pods get a sidecar", LONG, || {
            has_sidecar(&tried(&server)).then_some(())
        });
        let kept = server.create(PODS, &pod("kept")).object();
        assert!(has_sidecar(&kept), "{kept}");
        let authority = server.ask(SECRET).object()["data"]["ca.crt"].clone();

        let values = ["--set", "backend=embedded", "--set", "hub.enabled=true"];
        release(&server, helm, "upgrade", &chart(), &values);
        for _ in 0..50 {
            assert!(has_sidecar(&tried(&server)), "the replica before goes on");
        }
        replica = successor(&server, replica);
        let made = server.create(PODS, &pod("made")).object();
        assert!(has_sidecar(&made), "{made}");
        assert_eq!(server.ask(SECRET).object()["data"]["ca.crt"], authority);
        is_asked_by_sidecars_of_both(&server, &replica, &[&kept, &made]);

        // and back again, as `helm rollback` does after a failed upgrade
        helm(
            &server,
            &["rollback", "emco-observer", "1", "--namespace", OURS],
        )
        .text();
        replica = successor(&server, replica);
        assert_eq!(server.ask(SECRET).object()["data"]["ca.crt"], authority);
        replica.end();
        helm(
            &server,
            &["uninstall", "emco-observer", "--namespace", OURS],
        )
        .text();
        for name in ["kept", "made"] {
            server.delete(&format!("{PODS}/{name}")).object();
        }
    }
}

fn release(server: &Kubernetes, helm: Helm, verb: &str, chart: &Path, values: &[&str]) {
    let chart = chart.to_str().unwrap();
    let release = [verb, "emco-observer", chart, "--namespace", OURS];
    helm(server, &[&release[..], values].concat()).text();
}

fn tried(server: &Kubernetes) -> Value {
    let path = format!("{PODS}?dryRun=All");
    server.create(&path, &pod("tried")).object()
}

/// A replica with the settings of now, as a rollout makes it.
fn successor(server: &Kubernetes, before: Running) -> Running {
    before.end();
    // a pod that starts between them starts without
    let alone = tried(server);
    assert_eq!(alone["spec"]["containers"].as_array().unwrap().len(), 1);
    let replica = run(server);
    until("pods get a sidecar again", LONG, || {
        has_sidecar(&tried(server)).then_some(())
    });
    replica
}

/// The hub has a name in the certificate now, and so has the backend.
fn is_asked_by_sidecars_of_both(server: &Kubernetes, replica: &Running, pods: &[&Value]) {
    let authority = server.ask("/api/v1/namespaces/emco/configmaps/emco-observer-ca");
    let authority = authority.object();
    let authority = authority["data"]["ca.crt"].as_str().unwrap();
    for pod in pods {
        let answer = replica.asked_by(server, pod, authority);
        assert_eq!(answer, 200, "{}", pod["metadata"]["name"]);
    }
    let map = server.ask("/api/v1/namespaces/observer/configmaps/emco-observer-control");
    let map: Value =
        serde_saphyr::from_str(map.object()["data"]["config.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(
        map["certificates"]["more_services"],
        json!(["emco-observer-lab"])
    );
    let is_called = |service: &str| {
        let name = format!("emco-observer-{service}.{OURS}.svc");
        replica.is_called(&name, authority)
    };
    for service in ["hub", "lab", "control"] {
        until(service, LONG, || is_called(service).then_some(()));
    }
    assert!(!is_called("another"));
}
