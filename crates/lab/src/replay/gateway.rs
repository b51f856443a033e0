//! The ingress gateway's access log, posted to the hub in small batches as its records come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use net::{ClientSettings, HttpClient};
use tokio::sync::mpsc;

use super::Context;
use super::access::Events;
use super::provenance::GATEWAY_LOG;

const PATH: &str = "/v1/access-log";
/// Records this close together go in one batch.
const WINDOW_NS: u64 = 20_000_000;
const BATCH_RECORDS_MAX: usize = 64;
const BATCHES_MAX: usize = 256;
/// A gateway keeps a batch for a while when nobody takes it.
const ATTEMPTS_MAX: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    records: u64,
}

/// Posts the gateway's records to `hub`.
pub(super) async fn play(context: Arc<Context>, hub: String) -> anyhow::Result<()> {
    let Some(records) = context.corpus.lines(GATEWAY_LOG)? else {
        return Ok(());
    };
    let client = HttpClient::new(
        hub.parse()?,
        ClientSettings {
            request_timeout: Duration::from_secs(10),
            ..ClientSettings::default()
        },
    );
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let poster = tokio::spawn(post_all(Arc::clone(&context), client, receiver));
    let mut events = Events::new(records, !context.args.no_start_records);
    while let Some((last_ns, batch)) = next_batch(&context, &mut events)? {
        if !context.pace.wait(last_ns).await || sender.send(batch).await.is_err() {
            break;
        }
    }
    drop(sender);
    poster.await?;
    Ok(())
}

/// The records that come within one window, and when the last of them does.
fn next_batch(context: &Context, events: &mut Events) -> anyhow::Result<Option<(u64, Batch)>> {
    let Some(first) = events.next_at_ns()? else {
        return Ok(None);
    };
    let shift = context.pace.shift();
    let (mut batch, mut last) = (Batch::default(), first);
    while batch.records < BATCH_RECORDS_MAX as u64
        && events
            .next_at_ns()?
            .is_some_and(|at| at <= first + WINDOW_NS)
        && let Some(mut event) = events.next()?
    {
        shift.json(&mut event.text);
        last = event.at_ns;
        batch.records += 1;
        batch.body.extend_from_slice(&event.text);
        batch.body.push(b'\n');
    }
    Ok(Some((shift.nanos(last), batch)))
}

async fn post_all(context: Arc<Context>, client: HttpClient, mut batches: mpsc::Receiver<Batch>) {
    let mut headers = HeaderMap::new();
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    headers.insert(header::CONTENT_TYPE, ndjson);
    while let Some(batch) = batches.recv().await {
        let body = Bytes::from(batch.body);
        let mut is_taken = false;
        for attempt in 1..=ATTEMPTS_MAX {
            let sent = client.send(Method::POST, PATH, headers.clone(), body.clone());
            match sent.await {
                Ok(reply) if reply.status.is_success() => {
                    is_taken = true;
                    break;
                }
                Ok(reply) => tracing::debug!(status = %reply.status, attempt, "hub refused"),
                Err(error) => tracing::debug!(attempt, %error, "hub not reached"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                () = context.pace.stopped() => break,
            }
        }
        context.manifest.count(|tally| {
            if is_taken {
                tally.gateway_sent += batch.records;
            } else {
                tally.gateway_dropped += batch.records;
            }
        });
    }
}
