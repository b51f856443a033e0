//! Whatever is wrong with us, EMCO's containers are ready.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::peers::{get, until};

use super::trial::{LONG, OWN, Trial, chart, status};

const SECRET: &str = "/api/v1/namespaces/emco-observer/secrets/emco-observer-control-certificates";
const MAP: &str = "/api/v1/namespaces/emco/configmaps/emco-observer";
/// The watchdog does something after three looks.
const LOOKS: &str = "watchdog.interval=3s";
const WRITES: [&str; 4] = ["-lines", "1000000", "-rate", "20"];

#[test]
fn services_are_ready_whatever_is_wrong_with_us() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    trial.namespace("emco", true);
    trial.install(&[LOOKS]);
    for service in ["clm", "dcm", "orchestrator"] {
        trial.make_service("emco", service, &WRITES);
    }
    for service in ["clm", "dcm", "orchestrator"] {
        let pod = trial.running("emco", service);
        assert_eq!(pod["spec"]["initContainers"][1]["name"], OWN, "{pod}");
    }
    backend_and_hub_are_away(&trial);
    certificate_has_expired(&trial);
    disk_is_full(&trial);
    sidecar_is_killed(&trial);
    node_restarts(&mut trial);
    configuration_is_wrong(&trial);
    image_is_missing(&trial);
    image_is_broken(&trial);
}

/// The container of a service is ready and was never started again.
fn is_undisturbed(pod: &Value, service: &str) -> bool {
    let status = status(pod, service);
    status["ready"] == true && status["restartCount"] == 0
}

fn restart(trial: &Trial, service: &str) {
    let deployment = format!("deployment/emco-{service}");
    let restart = ["rollout", "restart", &deployment, "--namespace=emco"];
    trial.node.kubectl(&restart).text();
}

/// Waits until a pod made after `before` serves, and no other is left.
fn replaced(trial: &Trial, service: &str, before: &Value) -> Value {
    until(&format!("a new pod of {service} serves"), LONG, || {
        let pod = trial.serving("emco", service);
        (pod["metadata"]["uid"] != before["metadata"]["uid"]).then_some(pod)
    })
}

fn backend_and_hub_are_away(trial: &Trial) {
    trial.scale("emco-observer-lab", 0);
    trial.scale("emco-observer-control", 0);
    let pod = trial.running("emco", "clm");
    // A pod made now has no sidecar, and starts.
    trial.make_service("emco", "ncm", &WRITES);
    let made = trial.running("emco", "ncm");
    assert_eq!(made["spec"]["initContainers"], Value::Null);
    assert!(is_undisturbed(&pod, "clm"), "{pod}");
    assert_eq!(status(&pod, OWN)["restartCount"], 0, "{pod}");
    trial.scale("emco-observer-lab", 1);
    trial.scale("emco-observer-control", 2);
    until("lines arrive again", LONG, || {
        (trial.count("clm") > 0).then_some(())
    });
}

/// As it happens when no replica has renewed it for long: nobody who checks it takes it.
fn certificate_has_expired(trial: &Trial) {
    trial.scale("emco-observer-control", 0);
    let secret = trial.node.ask(SECRET).object();
    let authority = decoded(&secret["data"]["ca.crt"]);
    let key = decoded(&secret["data"]["ca.key"]);
    let (certificate, key) = expired(&authority, &key);
    let shown = json!({"stringData": {"tls.crt": certificate, "tls.key": key}});
    trial.node.patch(SECRET, &shown).object();
    trial.scale("emco-observer-lab", 0);
    trial.scale("emco-observer-lab", 1);
    let pod = trial.running("emco", "clm");
    until("the sidecar refuses the certificate", LONG, || {
        let page = page(&pod, "/metrics")?;
        let refused = page.lines().find(|line| {
            line.starts_with("emco_observer_elastic_failures_total{reason=\"tls\"}")
        })?;
        (!refused.ends_with(" 0")).then_some(())
    });
    let pod = trial.running("emco", "clm");
    assert!(is_undisturbed(&pod, "clm"), "{pod}");
    assert_eq!(status(&pod, OWN)["restartCount"], 0, "{pod}");
    assert_eq!(trial.count("clm"), 0);
    trial.scale("emco-observer-control", 2);
    until("lines arrive under another certificate", LONG, || {
        (trial.count("clm") > 0).then_some(())
    });
}

/// A certificate of the backend, signed as it should be, that ended an hour ago.
fn expired(authority: &str, key: &str) -> (String, String) {
    let issuer = rcgen::KeyPair::from_pem(key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority, issuer).unwrap();
    let names = [
        format!("{OWN}-lab.{OWN}.svc"),
        format!("{OWN}-hub.{OWN}.svc"),
    ];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let now = time::OffsetDateTime::from_unix_timestamp(now).unwrap();
    params.not_before = now - Duration::from_hours(2);
    params.not_after = now - Duration::from_hours(1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn decoded(value: &Value) -> String {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(value.clone()).unwrap();
    String::from_utf8(bytes.0).unwrap()
}

/// What the sidecar of a pod shows.
fn page(pod: &Value, path: &str) -> Option<String> {
    let address = pod["status"]["podIP"].as_str()?.parse().ok()?;
    let page = get(SocketAddr::new(address, 9464), path)?;
    String::from_utf8(page).ok()
}

/// Neither sidecar nor backend can write; nobody ends for it, and nothing that EMCO wrote is lost.
fn disk_is_full(trial: &Trial) {
    let before = trial.running("emco", "clm");
    trial.node.fill_disk();
    until("the sidecar says that its disk is full", LONG, || {
        let health = page(&before, "/health")?;
        health.contains("\"state\"").then_some(())
    });
    let pod = trial.running("emco", "clm");
    assert!(is_undisturbed(&pod, "clm"), "{pod}");
    for name in ["clm", OWN] {
        let id = |pod: &Value| status(pod, name)["containerID"].clone();
        assert_eq!(id(&pod), id(&before), "{name} goes on: {pod}");
    }
    trial.node.free_disk();
    until("the sidecar is well again", LONG, || {
        let health = page(&before, "/health")?;
        (!health.contains("\"state\"")).then_some(())
    });
    let count = trial.count("clm");
    until("lines arrive", LONG, || {
        (trial.count("clm") > count).then_some(())
    });
    let pod = trial.running("emco", "clm");
    assert!(is_undisturbed(&pod, "clm"), "{pod}");
    assert_eq!(status(&pod, OWN)["restartCount"], 0, "{pod}");
}

fn sidecar_is_killed(trial: &Trial) {
    for times in 1..=3 {
        let pod = until("the sidecar runs", LONG, || {
            let pod = trial.running("emco", "dcm");
            (!status(&pod, OWN)["state"]["running"].is_null()).then_some(pod)
        });
        trial.node.kill_container(&status(&pod, OWN));
        until("the sidecar was started again", LONG, || {
            let pod = trial.serving("emco", "dcm");
            assert!(is_undisturbed(&pod, "dcm"), "{pod}");
            (status(&pod, OWN)["restartCount"] == times).then_some(())
        });
    }
}

fn node_restarts(trial: &mut Trial) {
    let before = trial.running("emco", "orchestrator");
    trial.node.stop_runtime();
    trial.node.start_runtime();
    let count = trial.count("orchestrator");
    let pod = trial.running("emco", "orchestrator");
    assert_eq!(pod["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(is_undisturbed(&pod, "orchestrator"), "{pod}");
    until("lines arrive", LONG, || {
        (trial.count("orchestrator") > count).then_some(())
    });
}

fn configuration_is_wrong(trial: &Trial) {
    let good = trial.node.ask(MAP).object()["data"].clone();
    let bad = json!({"data": {"config.yaml": "lanes: [nonsense"}});
    trial.node.patch(MAP, &bad).object();
    let before = trial.running("emco", "orchestrator");
    restart(trial, "orchestrator");
    let pod = replaced(trial, "orchestrator", &before);
    let pod_status = status(&pod, OWN);
    assert_eq!(pod_status["restartCount"], 0, "{pod}");
    assert!(is_undisturbed(&pod, "orchestrator"), "{pod}");
    trial.node.patch(MAP, &json!({"data": good})).object();
}

/// Upgrades the release so that sidecars get another image.
fn take(trial: &Trial, tag: &str) {
    let chart = chart();
    let tag = format!("sidecar.image.tag={tag}");
    let upgrade = [
        "upgrade",
        OWN,
        chart.to_str().unwrap(),
        "--namespace",
        OWN,
        "--wait",
    ];
    let values = ["--set", "backend=embedded", "--set", LOOKS, "--set", &tag];
    trial.node.helm4(&[&upgrade[..], &values].concat()).text();
    trial.others_are_gone("control", 2);
}

fn image_is_missing(trial: &Trial) {
    take(trial, "none-such");
    let before = trial.running("emco", "clm");
    restart(trial, "clm");
    let pod = replaced(trial, "clm", &before);
    assert!(is_undisturbed(&pod, "clm"), "{pod}");
}

/// An image of the right name that has no such program.
fn image_is_broken(trial: &Trial) {
    trial.node.name_image(
        testkit::peers::Node::APPLICATION,
        "docker.io/library/emco-observer:broken",
    );
    take(trial, "broken");
    let before = trial.running("emco", "dcm");
    restart(trial, "dcm");
    let pod = replaced(trial, "dcm", &before);
    assert!(is_undisturbed(&pod, "dcm"), "{pod}");
}
