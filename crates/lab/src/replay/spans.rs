//! EMCO's span bodies, posted to the sidecars as EMCO's exporter posts them: one at a time a
//! service, over a kept connection, dropped without a second attempt when anything goes wrong.
//!
//! The proxies' own spans (`envoy-*`) are left out: proxies do not post to sidecars.

use std::collections::HashMap;
use std::io::{BufRead, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{ClientSettings, HttpClient};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;

use super::Context;
use super::manifest::SpanBody;

const PATH: &str = "/api/v2/spans";
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Bodies that wait for their service's exporter; more are dropped, as by a full queue of spans.
const QUEUE_BODIES: usize = 256;
/// How long an exporter waits for an answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// A line of `spans/headers.jsonl.gz`.
#[derive(Debug, Deserialize)]
struct Header {
    bundle: String,
    offset: u64,
    length: u64,
    arrival_ns: u64,
    spans: u64,
}

/// The bodies of one sender, one after another.
struct Bundle {
    reader: Box<dyn BufRead + Send>,
    offset: u64,
}

struct Body {
    bytes: Vec<u8>,
    place: SpanBody,
}

/// Posts the bodies of every service that has a sidecar.
pub(super) async fn play(context: Arc<Context>) -> anyhow::Result<()> {
    let Some(mut headers) = context.corpus.lines("spans/headers.jsonl.gz")? else {
        return Ok(());
    };
    let mut exporters = JoinSet::new();
    let mut queues: HashMap<String, mpsc::Sender<Body>> = HashMap::new();
    for (service, address) in context.args.sidecars.clone() {
        let (sender, receiver) = mpsc::channel(QUEUE_BODIES);
        queues.insert(service.clone(), sender);
        exporters.spawn(export(Arc::clone(&context), service, address, receiver));
    }
    let mut bundles = HashMap::new();
    let mut line = Vec::new();
    while let Some(header) = headers.next_json::<Header>(&mut line)? {
        let service = header.bundle.split('.').next().unwrap_or_default();
        let Some(queue) = queues.get(service) else {
            continue;
        };
        if !context
            .corpus
            .services()
            .iter()
            .any(|chosen| chosen == service)
        {
            continue;
        }
        let mut bytes = read_body(&context, &mut bundles, &header)?;
        let shift = context.pace.shift();
        shift.zipkin(&mut bytes);
        if !context.pace.wait(shift.nanos(header.arrival_ns)).await {
            break;
        }
        let place = SpanBody {
            service: service.to_owned(),
            bundle: header.bundle.clone(),
            offset: header.offset,
            length: header.length,
            spans: header.spans,
            accepted: false,
        };
        let body = Body { bytes, place };
        if let Err(TrySendError::Full(body) | TrySendError::Closed(body)) = queue.try_send(body) {
            context.manifest.spans(&body.place)?;
        }
    }
    drop(queues);
    while let Some(ended) = exporters.join_next().await {
        ended.context("an exporter panicked")??;
    }
    Ok(())
}

fn read_body(
    context: &Context,
    bundles: &mut HashMap<String, Bundle>,
    header: &Header,
) -> anyhow::Result<Vec<u8>> {
    let name = format!("spans/{}", header.bundle);
    let bundle = match bundles.entry(header.bundle.clone()) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            let Some(reader) = context.corpus.bytes(&name)? else {
                bail!("the recording has no {name}");
            };
            entry.insert(Bundle { reader, offset: 0 })
        }
    };
    let Some(skipped) = header.offset.checked_sub(bundle.offset) else {
        bail!("the bodies of {name} are not in the order of their arrival");
    };
    if header.length > BODY_BYTES_MAX {
        bail!("a body of {name} is longer than {BODY_BYTES_MAX} bytes");
    }
    let reading = || format!("reading {name}");
    std::io::copy(
        &mut (&mut bundle.reader).take(skipped),
        &mut std::io::sink(),
    )
    .with_context(reading)?;
    let mut bytes = Vec::new();
    (&mut bundle.reader)
        .take(header.length)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    if bytes.len() as u64 != header.length {
        bail!("{name} ends in the middle of a body");
    }
    bundle.offset = header.offset + header.length;
    Ok(bytes)
}

/// Posts the bodies of one service until there are no more, or the replay is to end.
async fn export(
    context: Arc<Context>,
    service: String,
    address: SocketAddr,
    mut bodies: mpsc::Receiver<Body>,
) -> anyhow::Result<()> {
    let settings = ClientSettings {
        request_timeout: EXPORT_TIMEOUT,
        idle_connections_max: 1,
        ..ClientSettings::default()
    };
    let client = HttpClient::new(format!("http://{address}").parse()?, settings);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::USER_AGENT, "Go-http-client/1.1"),
        (header::CONTENT_TYPE, "application/json"),
        (header::ACCEPT_ENCODING, "gzip"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    while let Some(Body { bytes, mut place }) = bodies.recv().await {
        let sent = client.send(Method::POST, PATH, headers.clone(), Bytes::from(bytes));
        let reply = tokio::select! {
            reply = sent => reply,
            () = context.pace.stopped() => break,
        };
        match reply {
            Ok(reply) if reply.status == StatusCode::ACCEPTED => place.accepted = true,
            Ok(reply) => tracing::debug!(service, status = %reply.status, "span body refused"),
            Err(error) => tracing::debug!(service, %error, "span body dropped"),
        }
        context.manifest.spans(&place)?;
    }
    Ok(())
}
