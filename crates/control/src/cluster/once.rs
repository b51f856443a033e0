//! What a command asks the API server once: whom to ask, versions, namespaces.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::api::{Api, ListParams};
use kube::{Client, Config, ResourceExt as _};

use super::{oldest_node, read};
use crate::inject::{INJECT, Namespace, Surroundings};

/// No single question takes longer.
const ASK_MAX: Duration = Duration::from_secs(20);

/// To the API server that kubeconfig, or the pod around us, names.
pub(crate) async fn client() -> Result<Client> {
    let config = Config::infer().await;
    let mut config = config
        .context("nothing says where the API server is; set KUBECONFIG, or run it in a pod")?;
    config.connect_timeout = Some(ASK_MAX);
    config.read_timeout = Some(ASK_MAX);
    Client::try_from(config).context("cannot set up the client of Kubernetes")
}

/// The versions of the cluster, and whether those of nodes are known: not every reader may see them.
pub(crate) async fn versions(client: &Client) -> Result<(Surroundings, bool)> {
    let server = client.apiserver_version().await;
    let server = server.context("cannot ask the API server for its version")?;
    let nodes = oldest_node(client).await;
    let surroundings = Surroundings {
        server: server.git_version.parse().ok(),
        oldest_node: nodes.as_ref().ok().copied().flatten(),
        ..Surroundings::default()
    };
    Ok((surroundings, nodes.is_ok()))
}

/// The namespaces that are named, or all whose pods get sidecars.
pub(crate) async fn namespaces(
    client: &Client,
    named: &[String],
) -> Result<Vec<(String, Namespace)>> {
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
