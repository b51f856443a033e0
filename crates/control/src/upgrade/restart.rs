//! A restart that somebody asked for: of one pod, while it has nothing to do and its successor is known
//! to get a sidecar.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Order;
use super::successor::{in_flight, is_injected, ready, successor};
use crate::cluster::{ASK_EVERY, Pod};
use crate::inject::Surroundings;

/// What became of it.
pub(super) enum Restarted {
    /// Its successor is ready, after this time.
    Done(Duration),
    /// It is as it was; why.
    Not(String),
}

/// Restarts `pod`.
///
/// # Errors
/// If new pods get no sidecar, or no successor becomes ready: nobody else should be restarted then.
pub(super) async fn restart(
    pod: &Pod<'_>,
    order: &Order,
    surroundings: &Surroundings,
) -> Result<Restarted> {
    let begun = Instant::now();
    let (before, was_ready) = match let_go(pod, order, surroundings).await? {
        Ok(gone) => gone,
        Err(why) => return Ok(Restarted::Not(why)),
    };
    let until = Instant::now() + order.timeout;
    while ready(&pod.neighbours().await?, &before) < was_ready {
        if Instant::now() >= until {
            bail!(
                "no successor of pod {} has become ready in time, so that no other pod is restarted",
                pod.called()
            );
        }
        sleep(ASK_EVERY).await;
    }
    Ok(Restarted::Done(begun.elapsed()))
}

/// Evicts `pod` once it has nothing to do; the pod as it was and how many of its owner's were ready,
/// or why it is still there.
async fn let_go(
    pod: &Pod<'_>,
    order: &Order,
    surroundings: &Surroundings,
) -> Result<Result<(Value, usize), String>> {
    let until = Instant::now() + order.timeout;
    loop {
        let Some(before) = pod.get().await? else {
            return Ok(Err("it has gone by itself".to_owned()));
        };
        let Some(next) = successor(&before) else {
            return Ok(Err("nobody would make another".to_owned()));
        };
        let stored = pod.would_be(&next).await?;
        if !is_injected(&stored, &order.settings, surroundings) {
            bail!(
                "new pods do not get the sidecar that these settings say, so that no pod is restarted; see whether the control plane is ready and has these settings"
            );
        }
        let was_ready = ready(&pod.neighbours().await?, &before).max(1);
        let asked = pod.metrics().await;
        let asked = asked.and_then(|text| in_flight(&text).map_err(anyhow::Error::msg));
        let why = match asked {
            Ok(0) if pod.evict(&before).await? => return Ok(Ok((before, was_ready))),
            Ok(0) => "a budget for disruptions forbids it, or it changes all the time".to_owned(),
            Ok(requests) => format!("{requests} requests are in flight"),
            Err(error) => format!("whether it has anything to do cannot be asked: {error:#}"),
        };
        if Instant::now() >= until {
            return Ok(Err(why));
        }
        sleep(ASK_EVERY).await;
    }
}
