//! The Secret with the certificates is lost while replicas run: another one takes its place, and from
//! then on no call fails.

use std::time::Duration;

use control::settings::Certificates;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::serving::{LONG, OURS, Scene, bundle, create, orchestrator, scene};
use super::watching::shown;

const SECRET: &str = "emco-observer-certificates";
const PAUSE: Duration = Duration::from_millis(20);
/// So many calls in a row that do not fail are enough to tell.
const CALLS: u32 = 100;

fn secrets(scene: &Scene) -> Api<Secret> {
    Api::namespaced(scene.client.clone(), OURS)
}

/// Waits until the Secret has been filled anew, the API server trusts what is in it and every replica
/// shows it; answers what is trusted then.
async fn made_good(scene: &Scene, before: &str) -> String {
    let good = async {
        loop {
            let trusted = bundle(&scene.client).await;
            let secret = secrets(scene).get_opt(SECRET).await.unwrap();
            let is_full =
                secret.is_some_and(|secret| secret.data.is_some_and(|data| !data.is_empty()));
            if is_full && trusted != before && in_a_row(scene, 10).await == 10 {
                break trusted;
            }
            sleep(PAUSE).await;
        }
    };
    let trusted = timeout(LONG, good).await.expect("it is made good again");
    assert!(
        !trusted.contains(before.trim()),
        "what was lost is not trusted"
    );
    assert_eq!(in_a_row(scene, CALLS).await, CALLS);
    trusted
}

/// How many of so many calls come before the first one that fails; both replicas are asked in turn.
async fn in_a_row(scene: &Scene, calls: u32) -> u32 {
    let (pods, pod) = (scene.pods(), orchestrator("tried"));
    for done in 0..calls {
        if create(&pods, &pod, true).await.is_err() {
            return done;
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_emptied_or_deleted_is_made_good_again() {
    let Some((_folder, scene)) = scene(2, Certificates::default()).await else {
        return;
    };
    scene.ready().await;
    let first = bundle(&scene.client).await;
    let empty = Patch::Merge(json!({ "data": null }));
    secrets(&scene)
        .patch(SECRET, &PatchParams::default(), &empty)
        .await
        .unwrap();
    let second = made_good(&scene, &first).await;
    secrets(&scene)
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    made_good(&scene, &second).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_somebody_else_fills_is_left_alone() {
    let Some((_folder, scene)) = scene(2, Certificates::default()).await else {
        return;
    };
    scene.ready().await;
    let first = bundle(&scene.client).await;
    let data = json!({ "tls.crt": "dGhlaXJz", "tls.key": "dGhlaXJz", "ca.crt": "dGhlaXJz", "ca.key": null });
    let params = PatchParams::default();
    let theirs = secrets(&scene)
        .patch(SECRET, &params, &Patch::Merge(json!({ "data": data })))
        .await
        .unwrap();
    let refused = async {
        for page in &scene.pages {
            while !shown(*page, "/health").await.contains("somebody else's") {
                sleep(PAUSE).await;
            }
        }
    };
    timeout(LONG, refused).await.expect("both say so");
    // they go on with what they have
    assert_eq!(in_a_row(&scene, CALLS).await, CALLS);
    assert_eq!(bundle(&scene.client).await, first);
    let now = secrets(&scene).get(SECRET).await.unwrap();
    assert_eq!(now.data, theirs.data);
    assert_eq!(
        now.metadata.resource_version,
        theirs.metadata.resource_version
    );

    let empty = Patch::Merge(json!({ "data": null }));
    secrets(&scene)
        .patch(SECRET, &params, &empty)
        .await
        .unwrap();
    made_good(&scene, &first).await;
    scene.end().await;
}
