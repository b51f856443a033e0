//! Keeps the Secret, publishes its authorities, shows its certificate.
//!
//! Order is everything: the webhook's configuration is read before the Secret, and written only if
//! nobody wrote it since. So whoever publishes has seen a Secret that is at least as new as what was
//! published before, and nothing that is in use is ever taken back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use net::Identity;
use serde_json::{Value, json};
use telemetry::health::Health;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::authority::Unusable;
use super::chain::{Chain, Policy};
use super::secret::{AUTHORITIES, decode, encode, is_foreign};
use crate::cluster::{Cluster, Watch};
use crate::metrics::Metrics;

/// Whatever happens, one looks again after so long.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// After a failure one looks again after so long, then after twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Our name where the API server keeps who wrote what.
const MANAGER: &str = "emco-observer-control";
/// The part of our health that stands for certificates.
const PART: &str = "certificates";
/// The part that stands for what sidecars know of them.
const SIDECARS: &str = "sidecar_trust";

/// What is kept where.
#[derive(Clone, Debug)]
pub struct Names {
    /// Our own namespace.
    pub namespace: String,
    /// The Secret with the chain, in our namespace.
    pub secret: String,
    /// The `MutatingWebhookConfiguration` whose webhooks are ours.
    pub configuration: String,
    /// The `ConfigMap` with the authorities, in every namespace with sidecars.
    pub config_map: String,
    /// Names under which we are called.
    pub servers: Vec<String>,
}

/// Looks after the chain as long as it runs.
pub struct Keeper {
    /// To the API server.
    pub client: Client,
    /// What is kept where.
    pub names: Names,
    /// When what is renewed.
    pub policy: Policy,
    /// Where the certificate is shown.
    pub identity: Identity,
    /// Which namespaces have sidecars.
    pub cluster: Arc<Cluster>,
    /// Says what is wrong.
    pub health: Health,
    /// Counts.
    pub metrics: Metrics,
}

/// Why the chain could not be looked after.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{doing} {name}")]
    Api {
        doing: &'static str,
        name: String,
        source: kube::Error,
    },
    #[error(
        "Secret {name} has a key and not that of an authority (ca.key), so it is somebody else's and left alone; name an empty Secret, or delete the data of this one"
    )]
    Foreign { name: String },
    #[error(transparent)]
    Certificate(#[from] Unusable),
    #[error(transparent)]
    Show(#[from] net::Error),
}

impl Error {
    /// Somebody else wrote in between: what is there now has to be read.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 409)
    }
}

impl Keeper {
    /// Looks after the chain until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let secrets = Api::namespaced(self.client.clone(), &self.names.namespace);
        let secrets = Watch::of::<Secret>(secrets, &self.names.secret);
        let configurations = Api::all(self.client.clone());
        let configurations =
            Watch::of::<MutatingWebhookConfiguration>(configurations, &self.names.configuration);
        let mut watches = (secrets, configurations);
        let keep = async {
            let mut retry = RETRY_FIRST;
            loop {
                let pause = match self.look_after().await {
                    Ok(due) => {
                        retry = RETRY_FIRST;
                        self.health.clear(PART);
                        due.clamp(Duration::ZERO, LOOK_EVERY)
                    }
                    Err(error) => {
                        if !error.is_conflict() {
                            let reason = net::chain(&error);
                            tracing::warn!(reason, "certificates could not be looked after");
                            self.health.set(PART, reason);
                        }
                        retry = (retry * 2).min(LOOK_EVERY);
                        retry
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = watches.0.changed() => {}
                    () = watches.1.changed() => {}
                    () = self.cluster.namespaces_changed() => {}
                }
            }
        };
        stop.run_until_cancelled(keep).await;
    }

    /// Looks once; answers after what time there is something to do again.
    async fn look_after(&self) -> Result<Duration, Error> {
        let configuration = self.configuration().await?;
        let published = published(&configuration);
        let (stored, mut chain) = self.stored().await?;
        let now = Timestamp::now();
        let next = chain.next(&published, &self.names.servers, &self.policy, now)?;
        if let Some(next) = next {
            self.store(stored, &next).await?;
            self.metrics.certificate_renewals.inc();
            chain = next;
        }
        let trusted = chain.trusted();
        self.publish(&configuration, &trusted).await?;
        self.show(&chain)?;
        self.publish_to_sidecars(&trusted).await;
        let due = chain.due(&self.policy).unwrap_or(Timestamp::MAX);
        let wait = due.duration_since(Timestamp::now());
        Ok(Duration::try_from(wait).unwrap_or_default())
    }

    async fn configuration(&self) -> Result<MutatingWebhookConfiguration, Error> {
        let name = &self.names.configuration;
        let read = self.configurations().get(name).await;
        read.map_err(api("reading the webhook configuration", name))
    }

    /// The Secret, if there is one, and what it keeps; nothing of use is an empty chain. One that others
    /// fill is never written: their key would be gone, and they would write again.
    async fn stored(&self) -> Result<(Option<Secret>, Chain), Error> {
        let name = &self.names.secret;
        let read = self.secrets().get_opt(name).await;
        let secret = read.map_err(api("reading Secret", name))?;
        let data = secret.iter().flat_map(|secret| &secret.data).flatten();
        let data: BTreeMap<_, _> = data
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let chain = match decode(&data) {
            Ok(chain) => chain,
            // charts make it empty, so that nobody needs the right to make any
            Err(_) if data.is_empty() => Chain::default(),
            Err(_) if is_foreign(&data) => {
                let name = name.clone();
                return Err(Error::Foreign { name });
            }
            Err(error) => {
                let error = net::chain(&error);
                tracing::warn!(name, error, "the Secret is of no use and is filled anew");
                Chain::default()
            }
        };
        Ok((secret, chain))
    }

    /// Writes the chain over what was read, if nobody wrote since; labels and whatever else is in the
    /// Secret stay.
    async fn store(&self, read: Option<Secret>, chain: &Chain) -> Result<(), Error> {
        let name = &self.names.secret;
        let (exists, mut secret) = (read.is_some(), read.unwrap_or_default());
        secret.metadata.name = Some(name.clone());
        secret.string_data = Some(encode(chain));
        let (secrets, params) = (self.secrets(), PostParams::default());
        let stored = if exists {
            secrets.replace(name, &params, &secret).await
        } else {
            secrets.create(&params, &secret).await
        };
        stored.map_err(api("writing Secret", name))?;
        tracing::info!(
            authorities = chain.authorities.len(),
            "certificates renewed"
        );
        Ok(())
    }

    /// Lets the API server trust all authorities, if nobody wrote since `configuration` was read.
    async fn publish(
        &self,
        configuration: &MutatingWebhookConfiguration,
        trusted: &str,
    ) -> Result<(), Error> {
        let name = &self.names.configuration;
        let bundle = ByteString(trusted.as_bytes().to_vec());
        let webhooks = configuration.webhooks.iter().flatten().enumerate();
        let others = webhooks
            .filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
        let mut operations: Vec<Value> = others
            .map(|(index, _)| {
                let path = format!("/webhooks/{index}/clientConfig/caBundle");
                json!({ "op": "add", "path": path, "value": bundle })
            })
            .collect();
        if operations.is_empty() {
            return Ok(());
        }
        let version = configuration.resource_version();
        let version =
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version });
        operations.push(version);
        let cannot = api("publishing authorities in the webhook configuration", name);
        let patch = serde_json::from_value(Value::Array(operations));
        let patch = patch.map_err(kube::Error::SerdeError).map_err(&cannot)?;
        let patch = Patch::Json::<()>(patch);
        let patched = self.configurations().patch(name, &params(), &patch).await;
        patched.map_err(cannot)?;
        Ok(())
    }

    /// Lets sidecars trust all authorities: kubelet mounts the `ConfigMap` into their pods. One that
    /// cannot be written is said, and keeps nothing else from its work.
    async fn publish_to_sidecars(&self, trusted: &str) {
        let name = &self.names.config_map;
        let data = Patch::Merge(json!({ "data": { AUTHORITIES: trusted } }));
        let mut missing = Vec::new();
        for namespace in self.cluster.injected_namespaces() {
            let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
            if let Err(error) = maps.patch(name, &params(), &data).await {
                missing.push(format!("{namespace}/{name}: {}", net::chain(&error)));
            }
        }
        if missing.is_empty() {
            self.health.clear(SIDECARS);
        } else {
            let missing = missing.join("; ");
            self.health.set(
                SIDECARS,
                format!("sidecars cannot learn whom to trust; list their namespaces in the chart's `namespaces`: {missing}"),
            );
        }
    }

    fn show(&self, chain: &Chain) -> Result<(), Error> {
        if let (Some(shown), Some(expires)) = (&chain.shown, chain.expires()) {
            let (certificate, key) = (shown.certificate.as_bytes(), shown.key.as_bytes());
            self.identity.set(certificate, key)?;
            self.metrics.certificate_expiry.set(expires.as_second());
        }
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.names.namespace)
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }
}

/// The authorities that every webhook of the configuration trusts.
fn published(configuration: &MutatingWebhookConfiguration) -> String {
    let webhooks = configuration.webhooks.iter().flatten();
    let bundles = webhooks.map(|webhook| {
        let bundle = webhook.client_config.ca_bundle.as_ref();
        bundle.map_or(&[][..], |bundle| bundle.0.as_slice())
    });
    let shortest = bundles
        .min_by_key(|bundle| bundle.len())
        .unwrap_or_default();
    String::from_utf8_lossy(shortest).into_owned()
}

fn text(value: &ByteString) -> String {
    String::from_utf8_lossy(&value.0).into_owned()
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn api(doing: &'static str, name: &str) -> impl Fn(kube::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Api {
        doing,
        name: name.clone(),
        source,
    }
}
