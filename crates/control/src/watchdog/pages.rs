//! Pods of a namespace, a few at a time, so that thousands of them need no more memory than a few.
//!
//! A list from the API server's cache (resource version 0) would be cheaper for it, but has no pages.

use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;

/// Pods read at once: one is some ten kilobytes.
const PODS_AT_ONCE: u32 = 25;
/// No page takes longer.
const PAGE_MAX: Duration = Duration::from_secs(20);

/// Pods that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server says no, or nothing.
    #[error("cannot list the pods of namespace {namespace}")]
    Ask {
        /// Where.
        namespace: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// It takes too long.
    #[error("listing the pods of namespace {namespace} took longer than 20 s")]
    TookTooLong {
        /// Where.
        namespace: String,
    },
    /// Its answer is no list of pods.
    #[error("the answer about the pods of namespace {namespace} is no list of them")]
    NoList {
        /// Where.
        namespace: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Shows `see` each pod of `namespace`.
pub(crate) async fn each_pod(
    client: &Client,
    namespace: &str,
    mut see: impl FnMut(&Value),
) -> Result<(), Error> {
    let pods = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
    let mut params = ListParams::default().limit(PODS_AT_ONCE);
    loop {
        let text = ask(client, &pods, &params).await;
        let text = text.ok_or_else(|| Error::TookTooLong {
            namespace: namespace.to_owned(),
        })?;
        let text = text.map_err(|source| Error::Ask {
            namespace: namespace.to_owned(),
            source,
        })?;
        let next = read(&text, &mut see).map_err(|source| Error::NoList {
            namespace: namespace.to_owned(),
            source,
        })?;
        params.continue_token = next.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}

async fn ask(client: &Client, pods: &Request, params: &ListParams) -> Option<kube::Result<String>> {
    let answer = async {
        let request = pods.list(params).map_err(kube::Error::BuildRequest)?;
        client.request_text(request).await
    };
    timeout(PAGE_MAX, answer).await.ok()
}

/// Shows each pod of a page, one after the other; returns where the next page begins.
fn read(text: &str, see: &mut impl FnMut(&Value)) -> serde_json::Result<Option<String>> {
    let page: Page<'_> = serde_json::from_str(text)?;
    for pod in page.items {
        see(&serde_json::from_str(pod.get())?);
    }
    Ok(page.metadata.next)
}
