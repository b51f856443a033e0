//! Namespaces, versions and pods, with the rights of a reader of pods and namespaces. What needs more
//! is tried, and does without if it is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as NamespaceObject};
use kube::api::{Api, ListParams};
use kube::{Client, Config, ResourceExt as _};
use serde_json::Value;

use super::Question;
use crate::cluster::{oldest_node, read};
use crate::inject::{INJECT, Namespace, Surroundings};
use crate::watchdog::{ConfigurationSource, PodReport, Spans, Wanted, each_pod, look};

/// No single question takes longer.
const ASK_MAX: Duration = Duration::from_secs(20);

pub(super) async fn client() -> Result<Client> {
    let config = Config::infer().await;
    let mut config = config
        .context("nothing says where the API server is; set KUBECONFIG, or run it in a pod")?;
    config.connect_timeout = Some(ASK_MAX);
    config.read_timeout = Some(ASK_MAX);
    Client::try_from(config).context("cannot set up the client of Kubernetes")
}

/// All pods that are asked for, in order of namespace and name, and why some could not be read.
pub(super) async fn ask(
    client: &Client,
    question: &Question,
) -> Result<(Vec<PodReport>, Vec<String>)> {
    let namespaces = namespaces(client, &question.namespaces).await?;
    let server = client.apiserver_version().await;
    let server = server.context("cannot ask the API server for its version")?;
    // not every reader may see nodes
    let nodes = oldest_node(client).await;
    let mut surroundings = Surroundings {
        server: server.git_version.parse().ok(),
        oldest_node: nodes.as_ref().ok().copied().flatten(),
        ..Surroundings::default()
    };
    let (mut reports, mut unread) = (Vec::new(), Vec::new());
    for (name, namespace) in namespaces {
        surroundings.namespace = namespace;
        let wanted = Wanted {
            settings: &question.settings,
            surroundings: &surroundings,
            image: question.image.as_deref(),
            exact: question.settings_are_known && nodes.is_ok(),
            configuration: None,
        };
        let mut unclear = Vec::new();
        let read = each_pod(client, &name, |pod| {
            let report = look(pod, &wanted);
            let by_config = report
                .as_ref()
                .is_some_and(|one| one.spans == Spans::Unknown);
            match by_config.then(|| ConfigurationSource::find(pod)).flatten() {
                Some(source) => unclear.push((source, pod.clone())),
                None => reports.extend(report),
            }
        });
        unread.extend(read.await.err().map(|error| net::chain(&error)));
        reports.extend(clear_up(client, &name, &wanted, unclear).await);
    }
    reports.sort_by(|one, other| (&one.namespace, &one.pod).cmp(&(&other.namespace, &other.pod)));
    Ok((reports, unread))
}

/// The namespaces that are named, or all whose pods get sidecars.
async fn namespaces(client: &Client, named: &[String]) -> Result<Vec<(String, Namespace)>> {
    let api: Api<NamespaceObject> = Api::all(client.clone());
    let list = async |params: ListParams| {
        let found = api.list_metadata(&params).await;
        let found = found.context("cannot ask the API server for namespaces")?;
        let found = found.iter().map(|found| (found.name_any(), read(found)));
        anyhow::Ok(found.collect::<Vec<_>>())
    };
    if named.is_empty() {
        let selected = ListParams::default().labels(&format!("{INJECT}=true"));
        return list(selected).await;
    }
    let mut found = Vec::new();
    for name in named {
        let this = list(ListParams::default().fields(&format!("metadata.name={name}"))).await?;
        if this.is_empty() {
            bail!("there is no namespace {name}; name another, or see kubectl get namespaces");
        }
        found.extend(this);
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.dedup_by(|(one, _), (other, _)| one == other);
    Ok(found)
}

/// Looks again at pods whose own configuration says where their spans go, as far as it may be read.
async fn clear_up(
    client: &Client,
    namespace: &str,
    wanted: &Wanted<'_>,
    unclear: Vec<(ConfigurationSource, Value)>,
) -> Vec<PodReport> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut known: BTreeMap<ConfigurationSource, Option<Value>> = BTreeMap::new();
    let mut reports = Vec::new();
    for (source, pod) in unclear {
        if !known.contains_key(&source) {
            // not every reader may see them
            let map = maps.get(&source.config_map).await.ok();
            let text = map.and_then(|map| map.data?.remove(&source.key));
            let read = text.and_then(|text| serde_json::from_str(&text).ok());
            known.insert(source.clone(), read);
        }
        let wanted = Wanted {
            configuration: known.get(&source).and_then(Option::as_ref),
            ..*wanted
        };
        reports.extend(look(&pod, &wanted));
    }
    reports
}
