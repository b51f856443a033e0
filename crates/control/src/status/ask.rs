//! Namespaces, versions and pods, with the rights of a reader of pods and namespaces. What needs more
//! is tried, and does without if it is refused.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use serde_json::Value;

use super::Question;
use crate::cluster::{namespaces, versions};
use crate::watchdog::{ConfigurationSource, PodReport, Spans, Wanted, each_pod, look};

/// All pods that are asked for, in order of namespace and name, and why some could not be read.
pub(super) async fn ask(
    client: &Client,
    question: &Question,
) -> Result<(Vec<PodReport>, Vec<String>)> {
    let namespaces = namespaces(client, &question.namespaces).await?;
    let (mut surroundings, nodes_are_known) = versions(client).await?;
    let (mut reports, mut unread) = (Vec::new(), Vec::new());
    for (name, namespace) in namespaces {
        surroundings.namespace = namespace;
        let wanted = Wanted {
            settings: &question.settings,
            surroundings: &surroundings,
            image: question.image.as_deref(),
            exact: question.settings_are_known && nodes_are_known,
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
