//! What becomes of EMCO while the sidecar's image cannot be had: nodes that say so, before a real API
//! server and the whole control plane.

use std::time::Duration;

use control::inject::{LogMode, Settings as Injection, SidecarKind};
use control::settings::{Rollback, Settings, Watchdog};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::peers::Kubernetes;
use tokio::time::{sleep, timeout};

use super::serving::{LONG, Scene, create, orchestrator};

const SIDECAR: &str = "emco-observer";

async fn scene(rollback: Rollback) -> Option<(tempfile::TempDir, Scene)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let server = tokio::task::spawn_blocking(move || {
        let server = Kubernetes::start(&path)?;
        node(&server);
        Some(server)
    })
    .await;
    let settings = Settings {
        injection: Injection {
            sidecar: SidecarKind::Native,
            logs: LogMode::None,
            overlay: false,
            ..Injection::default()
        },
        watchdog: Watchdog {
            interval: Duration::from_secs(1),
            rollback,
        },
        ..Settings::default()
    };
    let scene = Scene::start_with(server.unwrap()?, 2, settings).await;
    scene.ready().await;
    Some((folder, scene))
}

/// Old kubelets, and none, get no native sidecars.
pub(super) fn node(server: &Kubernetes) {
    let node = json!({ "metadata": { "name": "node" } });
    server.create("/api/v1/nodes", &node).object();
    let node = json!({ "status": { "nodeInfo": {
        "kubeletVersion": "v1.34.4", "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "",
        "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux",
        "osImage": "", "systemUUID": "" } } });
    server.patch("/api/v1/nodes/node/status", &node).object();
}

/// A pod that its owner would make again.
fn owned(name: &str) -> Pod {
    let mut pod = orchestrator(name);
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orchestrator",
        "uid": "00000000-0000-0000-0000-000000000001", "controller": true }]);
    pod.metadata.owner_references = serde_json::from_value(owner).unwrap();
    pod
}

/// As a kubelet says it of a native sidecar.
async fn tell(pods: &Api<Pod>, name: &str, state: &Value, started: bool) {
    let initialized = if started { "True" } else { "False" };
    let id = if started { "sha256:1" } else { "" };
    let status = json!({ "status": {
        "conditions": [{ "type": "Initialized", "status": initialized }],
        "initContainerStatuses": [{ "name": SIDECAR, "image": SIDECAR, "imageID": id, "ready": started,
            "restartCount": 0, "lastState": {}, "started": started, "state": state }],
    } });
    let params = PatchParams::default();
    pods.patch_status(name, &params, &Patch::Merge(&status))
        .await
        .unwrap();
}

/// Whether a pod that is only tried now gets a sidecar: `native`, `plain` or none.
async fn given(scene: &Scene) -> Option<&'static str> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = scene.pods().create(&params, &orchestrator("tried")).await;
    let spec = pod.unwrap().spec?;
    let is_ours = |containers: &[k8s_openapi::api::core::v1::Container]| {
        containers.iter().any(|one| one.name == SIDECAR)
    };
    if is_ours(&spec.init_containers.unwrap_or_default()) {
        return Some("native");
    }
    is_ours(&spec.containers).then_some("plain")
}

/// Waits until every answer of the last moments, by either replica, is this.
async fn all_give(scene: &Scene, wanted: Option<&str>) {
    let asked = async {
        let mut in_a_row = 0;
        while in_a_row < 8 {
            let same = given(scene).await == wanted;
            in_a_row = if same { in_a_row + 1 } else { 0 };
            sleep(Duration::from_millis(20)).await;
        }
    };
    let done = timeout(LONG, asked).await;
    assert!(done.is_ok(), "not all give {wanted:?}");
}

async fn is_there(pods: &Api<Pod>, name: &str) -> bool {
    let found = pods.get_metadata_opt(name).await.unwrap();
    found.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emco_starts_without_an_image_that_cannot_be_had() {
    let Some((_folder, scene)) = scene(Rollback::Without).await else {
        return;
    };
    let pods = scene.pods();
    all_give(&scene, Some("native")).await;
    for pod in [owned("waits"), owned("is-made"), orchestrator("alone")] {
        create(&pods, &pod, false).await.unwrap();
    }
    let no_image = json!({ "waiting": { "reason": "ImagePullBackOff" } });
    for name in ["waits", "alone"] {
        tell(&pods, name, &no_image, false).await;
    }
    all_give(&scene, None).await;
    let replaced = async {
        while is_there(&pods, "waits").await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, replaced).await.expect("it is deleted");
    // kubelet has not looked at one, and nobody would make the other again
    assert!(is_there(&pods, "is-made").await && is_there(&pods, "alone").await);

    // the image is there again
    pods.delete("alone", &DeleteParams::default())
        .await
        .unwrap();
    tell(&pods, "is-made", &json!({ "running": {} }), true).await;
    all_give(&scene, Some("native")).await;
    assert!(is_there(&pods, "is-made").await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_image_of_before_gets_a_successor() {
    let Some((_folder, scene)) = scene(Rollback::Without).await else {
        return;
    };
    let pods = scene.pods();
    all_give(&scene, Some("native")).await;
    for name in ["waits", "waits-too", "runs"] {
        create(&pods, &owned(name), false).await.unwrap();
    }
    // as a replica that had other settings left them
    let another = json!({ "spec": { "initContainers": [
        { "name": SIDECAR, "image": "emco-observer:none-such" }] } });
    for name in ["waits", "waits-too"] {
        let patch = Patch::Strategic(&another);
        pods.patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    tell(&pods, "runs", &json!({ "running": {} }), true).await;
    let no_image = json!({ "waiting": { "reason": "ImagePullBackOff" } });
    tell(&pods, "waits", &no_image, false).await;
    let replaced = async {
        while is_there(&pods, "waits").await {
            assert_eq!(given(&scene).await, Some("native"), "the image of now runs");
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, replaced).await.expect("it is deleted");
    assert!(
        is_there(&pods, "waits-too").await,
        "no kubelet has said anything"
    );
    assert!(is_there(&pods, "runs").await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emco_does_not_wait_for_what_ends_again_and_again() {
    let Some((_folder, scene)) = scene(Rollback::Without).await else {
        return;
    };
    let pods = scene.pods();
    create(&pods, &owned("waits"), false).await.unwrap();
    let ends = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    tell(&pods, "waits", &ends, false).await;
    all_give(&scene, None).await;
    let replaced = async {
        while is_there(&pods, "waits").await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, replaced).await.expect("it is deleted");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_ends_again_and_again_is_made_optional() {
    let Some((_folder, scene)) = scene(Rollback::Optional).await else {
        return;
    };
    let pods = scene.pods();
    create(&pods, &owned("ends"), false).await.unwrap();
    let ends = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    tell(&pods, "ends", &ends, true).await;
    all_give(&scene, Some("plain")).await;
    assert!(is_there(&pods, "ends").await, "EMCO runs in it");
    scene.end().await;
}
