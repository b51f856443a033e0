//! Pods one after the other.

use std::io::Write;

use anyhow::{Result, bail};
use kube::Client;
use serde_json::Value;

use super::Order;
use super::place::change;
use super::plan::{Step, plan};
use super::restart::{Restarted, restart};
use crate::cluster::{Pod, client, namespaces, versions};
use crate::inject::{Renewal, Surroundings};
use crate::process::{block_on, say};
use crate::watchdog::{Wanted, each_pod};

/// What became of pods.
#[derive(Debug, Default)]
struct Counts {
    upgraded: usize,
    restarted: usize,
    nothing: usize,
    left: usize,
}

/// Upgrades pods, and says so on `out` as it goes.
///
/// # Errors
/// If the API server cannot be asked or does not let us, if a new sidecar does not run, or if a pod
/// that was restarted has no successor that is ready.
pub(crate) fn run(order: &Order, out: &mut impl Write) -> Result<()> {
    block_on(async {
        let client = client().await?;
        all(&client, order, out).await
    })
}

async fn all(client: &Client, order: &Order, out: &mut impl Write) -> Result<()> {
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
            let pod = Pod::new(client, &namespace, name);
            one(&pod, order, &surroundings, &mut counts, out).await?;
        }
    }
    say(out, &format!("{}\n", counts.to_text(order.dry_run)))
}

/// Does what is to be done with one pod.
async fn one(
    pod: &Pod<'_>,
    order: &Order,
    surroundings: &Surroundings,
    counts: &mut Counts,
    out: &mut impl Write,
) -> Result<()> {
    let wanted = Wanted {
        settings: &order.settings,
        surroundings,
        image: Some(&order.settings.image),
        exact: true,
        configuration: None,
    };
    let Some(before) = pod.get().await? else {
        return Ok(());
    };
    let called = pod.called();
    match plan(&before, &wanted, order.restart) {
        None => {}
        Some(Step::Nothing) => counts.nothing += 1,
        Some(Step::Restart(_)) if order.restart => {
            say(out, &format!("{called}: restart"))?;
            if order.dry_run {
                counts.restarted += 1;
                return say(out, "\n");
            }
            let done = restart(pod, order, surroundings).await;
            match said(done, out)? {
                Restarted::Done(took) => {
                    counts.restarted += 1;
                    say(out, &format!(", ready after {:.1} s\n", took.as_secs_f64()))?;
                }
                Restarted::Not(why) => {
                    counts.left += 1;
                    say(out, &format!(", not yet: {why}\n"))?;
                }
            }
        }
        Some(Step::Restart(next) | Step::Left(next)) => {
            counts.left += 1;
            say(out, &format!("{called}: {next}\n"))?;
        }
        Some(Step::InPlace(renewal)) => {
            let Renewal { from, whole, .. } = renewal.as_ref();
            say(
                out,
                &format!("{called}: {from} -> {}", order.settings.image),
            )?;
            if order.dry_run {
                say(out, "\n")?;
            } else {
                let took = change(pod, &before, &renewal, order.timeout).await;
                let took = said(took, out)?.as_secs_f64();
                say(out, &format!(", runs after {took:.1} s\n"))?;
            }
            counts.upgraded += 1;
            if !whole {
                counts.left += 1;
                let more = "other settings than the image are old, too; --restart helps";
                say(out, &format!("{called}: {more}\n"))?;
            }
        }
    }
    Ok(())
}

impl Counts {
    fn to_text(&self, dry_run: bool) -> String {
        let Self {
            upgraded,
            restarted,
            nothing,
            left,
        } = self;
        let to = if dry_run { "to be " } else { "" };
        format!(
            "{upgraded} {to}upgraded, {restarted} {to}restarted, {nothing} as they should be, {left} that need more"
        )
    }
}

/// Ends the line if that is all.
fn said<T>(done: Result<T>, out: &mut impl Write) -> Result<T> {
    if done.is_err() {
        say(out, "\n")?;
    }
    done
}
