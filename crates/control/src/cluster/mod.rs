//! What is known of the cluster, kept current by watching it: a review must not wait for the API server.

mod once;
mod pod;
mod watch;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Node};
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_all};
use kube::{Client, ResourceExt as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use once::{client, namespaces, versions};
pub(crate) use pod::{ASK_EVERY, Pod};
pub use watch::Watch;

use crate::inject::{KubernetesVersion, Namespace, Surroundings};
use crate::settings::Rollback;

/// Nodes come and go, and are upgraded, in hours.
const NODES_EVERY: Duration = Duration::from_mins(5);
/// Nodes read at once: one is some ten kilobytes.
const NODES_AT_ONCE: u32 = 50;
/// A namespace that is not known yet is asked for, but not for long: the API server waits.
const ASK_MAX: Duration = Duration::from_secs(1);

/// What is known of the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    known: Mutex<Known>,
    namespaces_changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    server: Option<KubernetesVersion>,
    oldest_node: Option<KubernetesVersion>,
    namespaces: HashMap<String, Namespace>,
    /// Whether the versions were read at least once.
    versions_read: bool,
    /// What new pods get instead, as the sidecar does not run.
    rollback: Option<Rollback>,
}

impl Cluster {
    /// Where a pod of `namespace` will run.
    pub async fn surroundings(&self, client: &Client, namespace: &str) -> Surroundings {
        if let Some(known) = self.known(namespace) {
            return known;
        }
        let namespaces: Api<NamespaceObject> = Api::all(client.clone());
        // the right to list is needed anyway, the right to get is not
        let this = ListParams::default().fields(&format!("metadata.name={namespace}"));
        match timeout(ASK_MAX, namespaces.list_metadata(&this)).await {
            Ok(Ok(found)) => found.iter().for_each(|found| self.learn(found)),
            Ok(Err(error)) => {
                tracing::warn!(
                    namespace,
                    error = net::chain(&error),
                    "cannot ask for a namespace"
                );
            }
            Err(_) => tracing::warn!(namespace, "asking for a namespace took too long"),
        }
        self.known(namespace).unwrap_or_default()
    }

    /// Whether pods of this namespace get sidecars.
    pub fn is_injected(&self, namespace: &str) -> bool {
        let known = self.lock();
        let namespace = known.namespaces.get(namespace);
        namespace.is_some_and(|namespace| namespace.inject == Some(true))
    }

    /// Where a pod of `namespace` runs, if all of it is known already; nobody is asked.
    pub fn known_surroundings(&self, namespace: &str) -> Option<Surroundings> {
        let read = self.lock().versions_read;
        read.then(|| self.known(namespace)).flatten()
    }

    /// What new pods get instead of what settings say; nothing while the sidecar runs.
    pub fn rollback(&self) -> Option<Rollback> {
        self.lock().rollback
    }

    /// Says what new pods get from now on.
    pub(crate) fn roll_back(&self, to: Option<Rollback>) {
        self.lock().rollback = to;
    }

    /// Namespaces whose pods get sidecars, in order.
    pub fn injected_namespaces(&self) -> Vec<String> {
        let known = self.lock();
        let injected = known.namespaces.iter();
        let injected = injected.filter(|(_, namespace)| namespace.inject == Some(true));
        let mut names: Vec<String> = injected.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Waits until a namespace came, went or says something else.
    pub async fn namespaces_changed(&self) {
        self.namespaces_changed.notified().await;
    }

    /// Watches the cluster until `stop`.
    pub async fn watch(&self, client: Client, stop: CancellationToken) {
        let watch = async {
            tokio::join!(self.watch_versions(&client), self.watch_namespaces(&client));
        };
        stop.run_until_cancelled(watch).await;
    }

    async fn watch_versions(&self, client: &Client) {
        loop {
            if let Err(error) = self.read_versions(client).await {
                // what was known is more likely than nothing
                tracing::warn!(
                    error = net::chain(&error),
                    "cannot read the versions of the cluster"
                );
            }
            sleep(NODES_EVERY).await;
        }
    }

    async fn read_versions(&self, client: &Client) -> kube::Result<()> {
        let server = client.apiserver_version().await?.git_version.parse().ok();
        self.lock().server = server;
        let oldest_node = oldest_node(client).await?;
        let mut known = self.lock();
        known.oldest_node = oldest_node;
        known.versions_read = true;
        Ok(())
    }

    async fn watch_namespaces(&self, client: &Client) {
        let namespaces: Api<PartialObjectMeta<NamespaceObject>> = Api::all(client.clone());
        let events = watch_all(namespaces, Config::default()).default_backoff();
        let mut events = pin!(events);
        let mut found = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => found.clear(),
                Ok(Event::InitApply(namespace)) => {
                    found.insert(namespace.name_any(), read(&namespace));
                }
                Ok(Event::InitDone) => {
                    self.lock().namespaces = std::mem::take(&mut found);
                    self.namespaces_changed.notify_one();
                }
                Ok(Event::Apply(namespace)) => self.learn(&namespace),
                Ok(Event::Delete(namespace)) => self.forget(&namespace.name_any()),
                Err(error) => {
                    tracing::warn!(
                        error = net::chain(&error),
                        "watching namespaces was interrupted"
                    );
                }
            }
        }
    }

    fn learn(&self, namespace: &PartialObjectMeta<NamespaceObject>) {
        let (name, says) = (namespace.name_any(), read(namespace));
        let before = self.lock().namespaces.insert(name, says);
        if before != Some(says) {
            self.namespaces_changed.notify_one();
        }
    }

    fn forget(&self, namespace: &str) {
        self.lock().namespaces.remove(namespace);
    }

    fn known(&self, namespace: &str) -> Option<Surroundings> {
        let known = self.lock();
        Some(Surroundings {
            server: known.server,
            oldest_node: known.oldest_node,
            namespace: *known.namespaces.get(namespace)?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of the oldest kubelet; nothing if there is no node.
pub(crate) async fn oldest_node(client: &Client) -> kube::Result<Option<KubernetesVersion>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().limit(NODES_AT_ONCE);
    let mut oldest: Option<KubernetesVersion> = None;
    loop {
        let page = nodes.list(&params).await?;
        let versions = page.items.into_iter().filter_map(|node| {
            let info = node.status?.node_info?;
            info.kubelet_version.parse().ok()
        });
        oldest = oldest.into_iter().chain(versions).min();
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(oldest);
        }
    }
}

/// What the labels of a namespace say.
pub(crate) fn read(namespace: &PartialObjectMeta<NamespaceObject>) -> Namespace {
    let labels = namespace.labels().iter();
    Namespace::from_labels(labels.map(|(name, value)| (name.as_str(), value.as_str())))
}
