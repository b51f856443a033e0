//! Another image for the sidecar of one pod.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::progress::{Progress, progress};
use crate::cluster::{ASK_EVERY, Pod};
use crate::inject::Renewal;

/// How long a new sidecar has to run: what cannot run ends at once.
const SETTLE: Duration = Duration::from_secs(3);

/// Gives a pod another image and waits until that runs; returns how long that took.
///
/// # Errors
/// If it does not run. The old image is put back then.
pub(super) async fn change(
    pod: &Pod<'_>,
    before: &Value,
    renewal: &Renewal,
    most: Duration,
) -> Result<Duration> {
    let begun = Instant::now();
    pod.patch(&renewal.patch).await?;
    let Err(reason) = wait(pod, before, begun + most).await? else {
        return Ok(begun.elapsed().saturating_sub(SETTLE));
    };
    let (name, from) = (pod.called(), &renewal.from);
    let back = pod.patch(&renewal.back).await;
    back.with_context(|| {
        format!("the new sidecar in pod {name} does not run ({reason}), and its image {from} cannot be put back")
    })?;
    bail!(
        "the new sidecar in pod {name} does not run ({reason}); its image {from} is put back, and no other pod was changed after it"
    )
}

/// Waits until the new sidecar has run for a while; returns why it does not.
async fn wait(pod: &Pod<'_>, before: &Value, until: Instant) -> Result<Result<(), String>> {
    let mut since: Option<(String, Instant)> = None;
    loop {
        let Some(now) = pod.get().await? else {
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
