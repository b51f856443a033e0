//! The command `verify` before a real API server and the control plane: what it says where there is no
//! sidecar and no node, and that nothing of it stays. That a line arrives takes a kubelet.

use std::process::{Command, Output};

use control::settings::Certificates;
use serde_json::Value;
use testkit::peers::{self, Kubernetes};

use super::pods;
use super::serving::{LONG, Scene, THEIRS};

fn verify(server: &Kubernetes, namespace: &str, timeout: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emco-observer-control"));
    command
        .args(["verify", "--image", "emco-observer-control:1"])
        .args(["--namespace", namespace, "--timeout", timeout])
        .env("KUBECONFIG", server.kubeconfig());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn found(server: &Kubernetes, namespace: &str) -> Vec<Value> {
    let list = server.ask(&pods(namespace)).object();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_says_what_is_wrong_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let server = tokio::task::spawn_blocking(move || Kubernetes::start(&path)).await;
    let Some(server) = server.unwrap() else {
        return;
    };
    let scene = Scene::start(server, 1, Certificates::default()).await;
    scene.ready().await;
    let scene = tokio::task::spawn_blocking(move || {
        verifies(&scene.server);
        scene
    });
    scene.await.unwrap().end().await;
}

fn verifies(server: &Kubernetes) {
    server.namespace("bare", &[]);
    let done = verify(server, "bare", "1s").output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(
        said(&done).contains(" got no sidecar: its namespace has no label"),
        "{}",
        said(&done)
    );
    assert!(found(server, "bare").is_empty());

    let done = verify(server, "nowhere", "1s").output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(
        said(&done).contains("cannot make pod nowhere/"),
        "{}",
        said(&done)
    );

    let done = verify(server, THEIRS, "1s").output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let text = said(&done);
    assert!(
        text.contains(": made, with the plain sidecar emco-observer:"),
        "{text}"
    );
    assert!(
        text.contains(" does not run: no kubelet has said anything"),
        "{text}"
    );
    assert!(found(server, THEIRS).is_empty());

    // who stops it leaves nothing, either
    let mut running = verify(server, THEIRS, "2m").spawn().unwrap();
    let pod = peers::until("its pod", LONG, || found(server, THEIRS).pop());
    assert_eq!(pod["metadata"]["labels"]["app"], "emco-observer-verify");
    let id = i32::try_from(running.id()).unwrap();
    let told = Command::new("kill").arg(id.to_string()).status().unwrap();
    assert!(told.success());
    assert_eq!(running.wait().unwrap().code(), Some(1));
    assert!(found(server, THEIRS).is_empty());
}
