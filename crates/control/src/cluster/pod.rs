//! What commands ask of the API server about one pod.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use http::Request as HttpRequest;
use json_patch::Patch;
use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, PatchParams, PostParams};
use kube::core::Request;
use serde::Serialize;
use serde_json::{Value, json};

use crate::inject::ADMIN_PORT;

/// How often something that is waited for is asked for.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(500);
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;
/// What a budget for disruptions says.
const TOO_MANY_REQUESTS: u16 = 429;

/// A pod of which only the name is known for sure.
pub(crate) struct Pod<'a> {
    client: &'a Client,
    /// Where pods of its namespace are.
    path: String,
    namespace: String,
    name: String,
}

impl<'a> Pod<'a> {
    pub(crate) fn new(client: &'a Client, namespace: &str, name: String) -> Self {
        Self {
            client,
            path: format!("/api/v1/namespaces/{namespace}/pods"),
            namespace: namespace.to_owned(),
            name,
        }
    }

    /// Its name, with its namespace, for people.
    pub(crate) fn called(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Nothing if it has gone.
    pub(crate) async fn get(&self) -> Result<Option<Value>> {
        let request = Request::new(&self.path).get(&self.name, &GetParams::default());
        match self.client.request::<Value>(made(request)?).await {
            Ok(pod) => Ok(Some(pod)),
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot ask for pod {}", self.called()))
            }
        }
    }

    /// All pods of its namespace.
    pub(crate) async fn neighbours(&self) -> Result<Vec<Value>> {
        let request = Request::new(&self.path).list(&ListParams::default());
        let list = self.client.request::<Value>(made(request)?).await;
        let mut list =
            list.with_context(|| format!("cannot list the pods of namespace {}", self.namespace))?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(pods)) => Ok(pods),
            _ => Ok(Vec::new()),
        }
    }

    pub(crate) async fn patch(&self, patch: &Patch) -> Result<()> {
        let patch = kube::api::Patch::Json::<()>(patch.clone());
        let request = Request::new(&self.path).patch(&self.name, &PatchParams::default(), &patch);
        let changed = self.client.request::<Value>(made(request)?).await;
        changed.with_context(|| format!("cannot change pod {}", self.called()))?;
        Ok(())
    }

    /// Makes `pod`, which is called so; as the API server stores it.
    pub(crate) async fn create(&self, pod: &Value) -> Result<Value> {
        let request = Request::new(&self.path).create(&PostParams::default(), bytes(pod)?);
        let stored = self.client.request::<Value>(made(request)?).await;
        stored.with_context(|| format!("cannot make pod {}", self.called()))
    }

    /// Deletes it, if it is there, without a wait for its containers.
    pub(crate) async fn delete(&self) -> Result<()> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        let request = Request::new(&self.path).delete(&self.name, &params);
        match self.client.request_text(made(request)?).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot delete pod {}", self.called()))
            }
        }
    }

    /// What the API server would store of `pod`, which is made in its namespace, but not kept.
    pub(crate) async fn would_be(&self, pod: &Value) -> Result<Value> {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let request = Request::new(&self.path).create(&params, bytes(pod)?);
        let stored = self.client.request::<Value>(made(request)?).await;
        stored.with_context(|| format!("a successor of pod {} is refused", self.called()))
    }

    /// Lets it go, if it is still as it `was`; whether it does. Budgets for disruptions may forbid it.
    pub(crate) async fn evict(&self, was: &Value) -> Result<bool> {
        let of = |key: &str| was.pointer(&format!("/metadata/{key}"));
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "deleteOptions": { "preconditions": {
                "uid": of("uid"), "resourceVersion": of("resourceVersion") } },
        });
        let path = format!("{}/{}/eviction", self.path, self.name);
        let request = HttpRequest::post(path).body(bytes(&eviction)?);
        let request = request.context("cannot make a request")?;
        match self.client.request_text(request).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status))
                if matches!(status.code, NOT_FOUND | CONFLICT | TOO_MANY_REQUESTS) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).with_context(|| format!("cannot evict pod {}", self.called())),
        }
    }

    /// What its sidecar shows to Prometheus.
    pub(crate) async fn metrics(&self) -> Result<String> {
        let path = format!("{}/{}:{ADMIN_PORT}/proxy/metrics", self.path, self.name);
        let request = HttpRequest::get(path).body(Vec::new());
        let request = request.context("cannot make a request")?;
        let text = self.client.request_text(request).await;
        text.with_context(|| format!("cannot ask the sidecar of pod {}", self.called()))
    }
}

fn made(
    request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
) -> Result<HttpRequest<Vec<u8>>> {
    request.map_err(|error| anyhow!(error).context("cannot make a request"))
}

fn bytes(object: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(object).context("cannot write an object")
}
