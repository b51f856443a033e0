//! Pods one after the other, asked of the API server.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use json_patch::Patch;
use kube::Client;
use kube::api::PatchParams;
use kube::core::Request;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Order;
use super::plan::{Step, plan};
use super::progress::{Progress, progress};
use crate::cluster::{client, namespaces, versions};
use crate::inject::{Renewal, Surroundings};
use crate::watchdog::{Wanted, each_pod};

/// How often a kubelet's word is asked for.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a new sidecar has to run before the next pod's turn: what cannot run ends at once.
const SETTLE: Duration = Duration::from_secs(3);

/// What became of pods.
#[derive(Debug, Default)]
struct Counts {
    upgraded: usize,
    nothing: usize,
    left: usize,
}

/// What became of one pod.
enum Done {
    Upgraded { whole: bool },
    Nothing,
    Left,
}

/// Upgrades pods, and says so on `out` as it goes.
///
/// # Errors
/// If the API server cannot be asked or does not let us, or if a new sidecar does not run.
pub(crate) fn run(order: &Order, out: &mut impl Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(async {
        let client = client().await?;
        upgrade(&client, order, out).await
    })
}

async fn upgrade(client: &Client, order: &Order, out: &mut impl Write) -> Result<()> {
    let namespaces = namespaces(client, &order.namespaces).await?;
    let (mut surroundings, nodes_are_known) = versions(client).await?;
    if !nodes_are_known {
        bail!(
            "nodes may not be listed, and their versions decide about sidecars; ask as somebody with that right"
        );
    }
    let mut counts = Counts::default();
    for (namespace, labels) in namespaces {
        surroundings.namespace = labels;
        let mut names = Vec::new();
        each_pod(client, &namespace, |pod| {
            let name = pod.pointer("/metadata/name").and_then(Value::as_str);
            names.extend(name.map(str::to_owned));
        })
        .await?;
        names.sort();
        for name in names {
            let pod = Pod {
                client,
                path: format!("/api/v1/namespaces/{namespace}/pods"),
                called: format!("{namespace}/{name}"),
                name,
            };
            match pod.upgrade(order, &surroundings, out).await? {
                Done::Upgraded { whole } => {
                    counts.upgraded += 1;
                    counts.left += usize::from(!whole);
                }
                Done::Nothing => counts.nothing += 1,
                Done::Left => counts.left += 1,
            }
        }
    }
    let Counts {
        upgraded,
        nothing,
        left,
    } = counts;
    let done = if order.dry_run {
        "to upgrade"
    } else {
        "upgraded"
    };
    say(
        out,
        &format!("{upgraded} {done}, {nothing} as they should be, {left} that need more\n"),
    )
}

/// A pod of which only the name is known for sure.
struct Pod<'a> {
    client: &'a Client,
    /// Where pods of its namespace are.
    path: String,
    name: String,
    /// With its namespace, for people.
    called: String,
}

impl Pod<'_> {
    async fn upgrade(
        &self,
        order: &Order,
        surroundings: &Surroundings,
        out: &mut impl Write,
    ) -> Result<Done> {
        let wanted = Wanted {
            settings: &order.settings,
            surroundings,
            image: Some(&order.settings.image),
            exact: true,
            configuration: None,
        };
        let Some(before) = self.get().await? else {
            return Ok(Done::Nothing);
        };
        let renewal = match plan(&before, &wanted) {
            None | Some(Step::Nothing) => return Ok(Done::Nothing),
            Some(Step::Left(next)) => {
                say(out, &format!("{}: {next}\n", self.called))?;
                return Ok(Done::Left);
            }
            Some(Step::InPlace(renewal)) => renewal,
        };
        let Renewal { from, whole, .. } = renewal.as_ref();
        let to = &order.settings.image;
        say(out, &format!("{}: {from} -> {to}", self.called))?;
        if order.dry_run {
            say(out, "\n")?;
        } else {
            let took = self.change(&before, &renewal, order.timeout).await;
            match took {
                Ok(took) => say(out, &format!(", runs after {:.1} s\n", took.as_secs_f64()))?,
                Err(error) => {
                    say(out, "\n")?;
                    return Err(error);
                }
            }
        }
        if !whole {
            let text = "other settings than the image are old, too, and come with a restart";
            say(out, &format!("{}: {text}\n", self.called))?;
        }
        Ok(Done::Upgraded { whole: *whole })
    }

    /// Gives the pod another image and waits until that runs; returns how long that took.
    async fn change(&self, before: &Value, renewal: &Renewal, most: Duration) -> Result<Duration> {
        let begun = Instant::now();
        self.patch(&renewal.patch).await?;
        let Err(reason) = self.wait(before, begun + most).await? else {
            return Ok(begun.elapsed().saturating_sub(SETTLE));
        };
        let name = &self.called;
        let from = &renewal.from;
        let back = self.patch(&renewal.back).await;
        back.with_context(|| {
            format!("the new sidecar in pod {name} does not run ({reason}), and its image {from} cannot be put back")
        })?;
        Err(anyhow!(
            "the new sidecar in pod {name} does not run ({reason}); its image {from} is put back, and no other pod was changed after it"
        ))
    }

    /// Waits until the new sidecar has run for a while; returns why it does not.
    async fn wait(&self, before: &Value, until: Instant) -> Result<Result<(), String>> {
        let mut since: Option<(String, Instant)> = None;
        loop {
            let Some(now) = self.get().await? else {
                return Ok(Ok(()));
            };
            match progress(before, &now) {
                Progress::Over => return Ok(Ok(())),
                Progress::Fails(reason) => return Ok(Err(reason)),
                Progress::Starts => since = None,
                Progress::Runs(id) => match &since {
                    Some((same, since)) if *same == id => {
                        if since.elapsed() >= SETTLE {
                            return Ok(Ok(()));
                        }
                    }
                    _ => since = Some((id, Instant::now())),
                },
            }
            if since.is_none() && Instant::now() >= until {
                return Ok(Err("it has not started in time".to_owned()));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Nothing if it has gone.
    async fn get(&self) -> Result<Option<Value>> {
        let Self { name, .. } = self;
        let request = Request::new(&self.path).get(name, &kube::api::GetParams::default());
        let request = request.context("cannot make a request")?;
        match self.client.request::<Value>(request).await {
            Ok(pod) => Ok(Some(pod)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot ask for pod {}", self.called)),
        }
    }

    async fn patch(&self, patch: &Patch) -> Result<()> {
        let Self { name, .. } = self;
        let patch = kube::api::Patch::Json::<()>(patch.clone());
        let request = Request::new(&self.path).patch(name, &PatchParams::default(), &patch);
        let request = request.context("cannot make a request")?;
        let changed = self.client.request::<Value>(request).await;
        changed.with_context(|| format!("cannot change pod {}", self.called))?;
        Ok(())
    }
}

/// Each word as it is known: waiting takes minutes.
fn say(out: &mut impl Write, text: &str) -> Result<()> {
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.context("cannot write to stdout")
}
