//! A restart that somebody asked for, before a real API server with its controllers and the whole
//! control plane. What a kubelet would say is told by the test, and the sidecar that is asked whether
//! it has anything to do answers through the API server, as it would from a node.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use control::inject::{Evidence, LogMode, Settings as Injection, SidecarKind};
use control::settings::Settings;
use serde_json::{Value, json};
use testkit::peers::{self, Kubernetes};

use super::common::{applied, cluster, fixture, injected};
use super::pods;
use super::rolling_back::node;
use super::serving::{LONG, Scene};

const LATE: &str = "late";
const SETS: &str = "/apis/apps/v1/namespaces/late/replicasets";
/// Where sidecars show metrics.
const PORT: u16 = 9464;

/// An address of this machine to which the API server connects for others: it refuses loopback ones.
/// Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Shows that so many requests are in flight, to whoever asks, until the test ends.
fn sidecar(address: IpAddr) -> Arc<AtomicU64> {
    let listener = TcpListener::bind((address, PORT)).unwrap();
    let requests = Arc::new(AtomicU64::new(1));
    let shown = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            if stream.read(&mut head).unwrap_or(0) == 0 {
                continue;
            }
            let text = format!(
                "emco_observer_build_info{{revision=\"\",version=\"0.1.0\"}} 1\nemco_requests_in_flight{{service=\"orchestrator\"}} {}\n",
                shown.load(Ordering::SeqCst)
            );
            let length = text.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + &text).as_bytes()).unwrap();
        }
    });
    requests
}

fn settings(evidence: Evidence) -> Injection {
    Injection {
        evidence,
        image: "emco-observer:1".to_owned(),
        logs: LogMode::Wrap,
        sidecar: SidecarKind::Native,
        ..Injection::default()
    }
}

/// A pod with old settings and what makes another if it goes.
fn prepare(server: &Kubernetes) {
    server.namespace(LATE, &[]);
    let accounts = format!("/api/v1/namespaces/{LATE}/serviceaccounts/default");
    peers::until("the namespace has its account", LONG, || {
        server.ask(&accounts).is_success().then_some(())
    });
    let bare = fixture("orchestrator.yaml");
    let old = settings(Evidence::Limited);
    // put in offline once; the webhook replaces it
    let template = applied(&bare, &injected(&bare, &old, &cluster(34)));
    let set = json!({
        "metadata": { "name": "set" },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": template["metadata"]["labels"] },
            "template": template,
        },
    });
    server.create(SETS, &set).object();
    peers::until("a pod", LONG, || (names(server).len() == 1).then_some(()));
    let label = json!({ "metadata": { "labels": { "emco-observer.io/inject": "true" } } });
    let namespace = format!("/api/v1/namespaces/{LATE}");
    server.patch(&namespace, &label).object();
}

fn tell_ready(server: &Kubernetes, name: &str, address: IpAddr) {
    let status = json!({ "status": {
        "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [
            { "type": "Initialized", "status": "True" },
            { "type": "Ready", "status": "True" },
        ],
    } });
    server
        .patch(&format!("{}/{name}/status", pods(LATE)), &status)
        .object();
}

fn names(server: &Kubernetes) -> Vec<String> {
    let list = server.ask(&pods(LATE)).object();
    let names = list["items"].as_array().unwrap().iter();
    names
        .map(|pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn upgrade(server: &Kubernetes, evidence: &str, timeout: &str) -> Command {
    let config = server.kubeconfig().with_file_name("control.yaml");
    let text = format!(
        "injection: {{ image: \"emco-observer:1\", evidence: {evidence}, logs: wrap, sidecar: native }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_emco-observer-control"));
    command
        .args([
            "upgrade",
            "--namespace",
            LATE,
            "--timeout",
            timeout,
            "--config",
        ])
        .arg(config)
        .env("KUBECONFIG", server.kubeconfig());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_restarted_while_it_has_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let server = tokio::task::spawn_blocking(move || {
        let mut server = Kubernetes::start(&path)?;
        server.start_controllers();
        node(&server);
        prepare(&server);
        Some(server)
    });
    let Some(server) = server.await.unwrap() else {
        return;
    };
    let settings = Settings {
        injection: settings(Evidence::Full),
        ..Settings::default()
    };
    let scene = Scene::start_with(server, 1, settings).await;
    scene.ready().await;
    let address = own_address().expect("an address that is not loopback");
    let scene = tokio::task::spawn_blocking(move || {
        restarts(&scene.server, address);
        scene
    });
    scene.await.unwrap().end().await;
}

fn restarts(server: &Kubernetes, address: IpAddr) {
    let requests = sidecar(address);
    let [old] = names(server).try_into().unwrap();
    tell_ready(server, &old, address);

    // not asked for
    let done = upgrade(server, "full", "1s").output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains(&format!(
        "late/{old}: the sidecar was put in with other settings"
    )));
    let done = upgrade(server, "full", "1s")
        .args(["--restart", "--dry-run"])
        .output()
        .unwrap();
    assert!(
        said(&done).ends_with(
            "0 to be upgraded, 1 to be restarted, 0 as they should be, 0 that need more\n"
        )
    );

    // the control plane has other settings than these
    let done = upgrade(server, "as-sampled", "1s")
        .arg("--restart")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(
        said(&done).contains("new pods do not get the sidecar that these settings say"),
        "{}",
        said(&done)
    );

    // it has something to do
    let done = upgrade(server, "full", "1s")
        .arg("--restart")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        said(&done).contains(&format!(
            "late/{old}: restart, not yet: 1 requests are in flight"
        )),
        "{}",
        said(&done)
    );
    assert_eq!(names(server), [old.as_str()]);

    // it ends while we wait
    let running = upgrade(server, "full", "30s")
        .arg("--restart")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    requests.store(0, Ordering::SeqCst);
    let new = peers::until("a successor", LONG, || {
        names(server).into_iter().find(|name| *name != old)
    });
    tell_ready(server, &new, address);
    let done = running.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        said(&done).contains(&format!("late/{old}: restart, ready after ")),
        "{}",
        said(&done)
    );
    assert_eq!(names(server), [new]);

    let done = upgrade(server, "full", "1s")
        .arg("--restart")
        .output()
        .unwrap();
    assert!(
        said(&done).ends_with("0 upgraded, 0 restarted, 1 as they should be, 0 that need more\n"),
        "{}",
        said(&done)
    );
}
