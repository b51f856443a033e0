//! The steps.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::time::{Instant, sleep};

use super::pod::{Standing, delivered, pod, sidecar, standing};
use crate::cli::Verify;
use crate::cluster::{ASK_EVERY, Pod, client};
use crate::process::{block_on, end_after, say};

/// Verifies each namespace, and says so on `out` as it goes.
///
/// # Errors
/// If a pod gets no sidecar, does not run, or its line does not arrive.
pub(crate) fn run(order: &Verify, out: &mut impl Write) -> Result<()> {
    block_on(async {
        let stop = end_after(Duration::ZERO)?.stop;
        let client = client().await?;
        for namespace in &order.namespaces {
            // of this moment, so of this run
            let id = format!("{:x}", jiff::Timestamp::now().as_nanosecond());
            let name = format!("emco-observer-verify-{id}");
            let pod = Pod::new(&client, namespace, name.clone());
            let done = stop
                .run_until_cancelled(verify(&pod, &name, order, out))
                .await;
            // whatever has happened
            let deleted = pod.delete().await;
            done.ok_or_else(|| anyhow!("stopped"))??;
            deleted?;
            say(out, &format!("{namespace}: verified\n"))?;
        }
        Ok(())
    })
}

async fn verify(pod: &Pod<'_>, name: &str, order: &Verify, out: &mut impl Write) -> Result<()> {
    let made = self::pod(name, name, &order.image, &order.image_pull_secrets);
    let stored = pod.create(&made).await?;
    let called = pod.called();
    let Some(status) = sidecar(&stored) else {
        bail!(
            "pod {called} got no sidecar: its namespace has no label emco-observer.io/inject=true, or no replica of the control plane is ready; emco-observer-control status says more"
        );
    };
    say(
        out,
        &format!(
            "{called}: made, with the {} sidecar {}, lines by {}\n",
            status.kind, status.image, status.logs
        ),
    )?;
    if status.logs == "none" {
        bail!("the sidecar of pod {called} takes no lines: set injection.logs to auto");
    }
    runs(pod, order).await?;
    say(out, &format!("{called}: runs\n"))?;
    let lanes = arrived(pod, order).await?;
    say(
        out,
        &format!("{called}: its line has arrived, by the sidecar's lane {lanes}\n"),
    )
}

/// Waits until the line is written.
async fn runs(pod: &Pod<'_>, order: &Verify) -> Result<()> {
    let until = Instant::now() + order.timeout;
    loop {
        let seen = pod.get().await?.map(|pod| standing(&pod));
        let why = match seen {
            Some(Standing::Runs) => return Ok(()),
            None | Some(Standing::Over) => bail!("somebody ended pod {}", pod.called()),
            Some(Standing::Starts(why)) => why,
        };
        if Instant::now() >= until {
            bail!("pod {} does not run: {why}", pod.called());
        }
        sleep(ASK_EVERY).await;
    }
}

/// Waits until the line has arrived; returns by which lanes.
async fn arrived(pod: &Pod<'_>, order: &Verify) -> Result<String> {
    let until = Instant::now() + order.timeout;
    loop {
        let why = match pod.metrics().await.map(|text| delivered(&text)) {
            Ok(Some(lanes)) => return Ok(lanes.join(" and ")),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if Instant::now() >= until {
            bail!(
                "the line of pod {} has not arrived{why}; kubectl logs of the sidecar in a pod of EMCO say why",
                pod.called()
            );
        }
        sleep(ASK_EVERY).await;
    }
}
