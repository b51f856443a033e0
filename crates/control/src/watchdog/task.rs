//! The loop: looks at the pods of all injected namespaces now and then, counts and tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::notices::Told;
use super::pages::{Error, each_pod};
use super::replace::{self, Waiting};
use super::report::{Standing, Wanted, look};
use super::rollback::{Judge, Sight, Stuck, Waits};
use crate::cluster::Cluster;
use crate::inject::{Settings, SidecarKind, Surroundings};
use crate::metrics::Metrics;
use crate::settings::{self, Rollback};
use crate::webhook::Events;

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
    pub(crate) injection: Settings,
    /// How they are looked after.
    pub(crate) settings: settings::Watchdog,
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
    judge: Judge,
    stuck: Stuck,
}

/// What one look at all pods shows.
#[derive(Default)]
struct Look {
    sight: Sight,
    /// Pods in which EMCO waits for the image of now.
    waiting: Vec<Waiting>,
    /// Pods in which it waits for another.
    stuck: Vec<Waiting>,
}

impl Watchdog {
    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let look = async {
            let mut seen = Seen::default();
            loop {
                let known = self.look_at_all(&mut seen).await;
                sleep(if known { self.settings.interval } else { SOON }).await;
            }
        };
        stop.run_until_cancelled(look).await;
    }

    /// Looks once; returns whether enough is known of the cluster for that.
    async fn look_at_all(&self, seen: &mut Seen) -> bool {
        let names = self.cluster.injected_namespaces();
        seen.namespaces.retain(|name, _| names.contains(name));
        let mut known = !names.is_empty();
        let mut look = Look::default();
        // what is missing of what was there before may be where the sidecar runs
        let mut is_whole = true;
        for name in names {
            let Some(surroundings) = self.cluster.known_surroundings(&name) else {
                known = false;
                continue;
            };
            let outcome = match self
                .look_at(&name, &surroundings, &mut seen.told, &mut look)
                .await
            {
                Ok(counts) => {
                    seen.namespaces.insert(name, counts);
                    "done"
                }
                Err(error) => {
                    let error = net::chain(&error);
                    tracing::warn!(error, "pods cannot be looked after");
                    is_whole &= !seen.namespaces.contains_key(&name);
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
        if known && is_whole {
            let (interval, now) = (self.settings.interval, Instant::now());
            let since = seen.judge.judge(look.sight, interval, now);
            let stuck = &mut look.stuck;
            seen.stuck.keep_old(stuck, Waiting::uid, interval, now);
            // replicas notice within one look of each other, and any may answer for the successor
            let all_know = since.is_some_and(|since| since.elapsed() >= interval);
            self.roll_back(since.is_some());
            if all_know {
                look.stuck.append(&mut look.waiting);
            }
            if self.settings.rollback != Rollback::Never {
                replace::replace(&self.client, &self.events, &look.stuck).await;
            }
        }
        known
    }

    /// Lets new pods have what they should, or less.
    fn roll_back(&self, less: bool) {
        let to = Some(self.settings.rollback).filter(|to| less && *to != Rollback::Never);
        if self.cluster.rollback() == to {
            return;
        }
        self.cluster.roll_back(to);
        self.metrics.rolled_back.set(i64::from(to.is_some()));
        let image = &self.injection.image;
        if let Some(to) = to {
            tracing::warn!(image, ?to, "the sidecar does not run, new pods get less");
        } else {
            tracing::info!(image, "new pods get the sidecar again");
        }
    }

    async fn look_at(
        &self,
        namespace: &str,
        surroundings: &Surroundings,
        told: &mut Told,
        all: &mut Look,
    ) -> Result<Counts, Error> {
        let wanted = Wanted {
            settings: &self.injection,
            surroundings,
            image: Some(&self.injection.image),
            exact: true,
            configuration: None,
        };
        let optional = Settings {
            sidecar: SidecarKind::Optional,
            ..self.injection.clone()
        };
        let rolled_back = (self.cluster.rollback() == Some(Rollback::Optional)).then_some(Wanted {
            settings: &optional,
            ..wanted
        });
        let now = jiff::Timestamp::now().as_second();
        let mut counts = Counts::default();
        each_pod(&self.client, namespace, |pod| {
            let Some(mut report) = look(pod, &wanted) else {
                return;
            };
            // what it got while the sidecar did not run is no old one
            if report.standing == Standing::Outdated
                && let Some(wanted) = &rolled_back
                && let Some(less) =
                    look(pod, wanted).filter(|less| less.standing == Standing::Current)
            {
                report = less;
            }
            match all.sight.see(pod, &self.injection.image) {
                Some(Waits::ForWanted) => all.waiting.extend(Waiting::find(pod)),
                Some(Waits::ForAnother) => all.stuck.extend(Waiting::find(pod)),
                None => {}
            }
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
