//! The loop: looks at the pods of all injected namespaces each minute, counts and tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::notices::Told;
use super::pages::{Error, each_pod};
use super::report::{Standing, Wanted, look};
use crate::cluster::Cluster;
use crate::inject::{Settings, Surroundings};
use crate::metrics::Metrics;
use crate::webhook::Events;

/// How often pods are looked at.
const EVERY: Duration = Duration::from_mins(1);
/// How long until the cluster is asked for again of which too little is known.
const SOON: Duration = Duration::from_secs(1);

/// How many pods of a namespace stand how, in the order of [`Standing::ALL`].
type Counts = [i64; Standing::ALL.len()];

/// Looks after pods.
pub(crate) struct Watchdog {
    /// To the API server.
    pub(crate) client: Client,
    /// What is known of the cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// How pods get their sidecar.
    pub(crate) settings: Settings,
    /// Tells operators.
    pub(crate) events: Events,
    /// Counts.
    pub(crate) metrics: Metrics,
}

/// What was seen last, and said.
#[derive(Default)]
struct Seen {
    /// Namespaces that cannot be read keep what they had.
    namespaces: HashMap<String, Counts>,
    told: Told,
}

impl Watchdog {
    /// Looks each minute until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let look = async {
            let mut seen = Seen::default();
            loop {
                let known = self.look_at_all(&mut seen).await;
                sleep(if known { EVERY } else { SOON }).await;
            }
        };
        stop.run_until_cancelled(look).await;
    }

    /// Looks once; returns whether enough is known of the cluster for that.
    async fn look_at_all(&self, seen: &mut Seen) -> bool {
        let names = self.cluster.injected_namespaces();
        seen.namespaces.retain(|name, _| names.contains(name));
        let mut known = !names.is_empty();
        for name in names {
            let Some(surroundings) = self.cluster.known_surroundings(&name) else {
                known = false;
                continue;
            };
            let outcome = match self.look_at(&name, &surroundings, &mut seen.told).await {
                Ok(counts) => {
                    seen.namespaces.insert(name, counts);
                    "done"
                }
                Err(error) => {
                    let error = net::chain(&error);
                    tracing::warn!(error, "pods cannot be looked after");
                    "failed"
                }
            };
            self.metrics.pod_reads.with_label_values(&[outcome]).inc();
        }
        for (index, standing) in Standing::ALL.into_iter().enumerate() {
            let counts = seen.namespaces.values();
            let count = counts.filter_map(|counts| counts.get(index)).sum();
            let gauge = self.metrics.pods.with_label_values(&[standing.label()]);
            gauge.set(count);
        }
        known
    }

    async fn look_at(
        &self,
        namespace: &str,
        surroundings: &Surroundings,
        told: &mut Told,
    ) -> Result<Counts, Error> {
        let wanted = Wanted {
            settings: &self.settings,
            surroundings,
            image: Some(&self.settings.image),
            exact: true,
            configuration: None,
        };
        let now = jiff::Timestamp::now().as_second();
        let mut counts = Counts::default();
        each_pod(&self.client, namespace, |pod| {
            let Some(report) = look(pod, &wanted) else {
                return;
            };
            for (count, standing) in counts.iter_mut().zip(Standing::ALL) {
                *count += i64::from(standing == report.standing);
            }
            if let Some(notice) = told.notice(pod, &report, now) {
                self.events.tell(notice);
            }
        })
        .await?;
        Ok(counts)
    }
}
