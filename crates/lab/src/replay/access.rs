//! Access records of a proxy: in the order in which it would write them, start records included,
//! and those of a pod's own proxy into its container log.
//!
//! A start record is derived from the record of the end: everything that is known only at the end
//! is null or 0, everything else is the same, trace ids included.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use anyhow::Context as _;
use model::ids::TraceId;
use model::time::UnixNanos;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Context;
use super::corpus::Lines;
use super::logs::ContainerLog;
use super::manifest::{Kind, Record, Truth};
use super::pace::now_ns;
use super::pods::Pod;

/// Records are in the order of their ends; one that began earlier than this before the end of one
/// in front of it gets its start record late.
const HORIZON_NS: u64 = 120_000_000_000;
/// A proxy states milliseconds, cut off: this much later it has certainly happened.
const CUT_OFF_NS: u64 = 1_000_000;
const PROXY: &str = "istio-proxy";
/// What nobody knows when a request begins.
const UNKNOWN_AT_START: [&str; 8] = [
    "connection_termination_details",
    "duration",
    "grpc_status",
    "response_code_details",
    "upstream_host",
    "upstream_local_address",
    "upstream_service_time",
    "upstream_transport_failure_reason",
];
const ZERO_AT_START: [&str; 3] = ["bytes_received", "bytes_sent", "response_code"];

/// The members of an access record that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct AccessRecord {
    start_time: String,
    duration: Option<u64>,
    pub(super) request_id: Option<String>,
    b3: Option<String>,
    x_b3_traceid: Option<String>,
    pub(super) x_user_id: Option<String>,
    method: Option<String>,
    path: Option<String>,
}

/// One record at the moment it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    /// Recorded time.
    pub(super) at_ns: u64,
    pub(super) is_start: bool,
    /// The record's place in its file, so that the order of equal times is the file's.
    place: u64,
    pub(super) text: Vec<u8>,
}

/// The events of one access log in the order of their times.
pub(super) struct Events {
    records: Lines,
    with_starts: bool,
    waiting: BinaryHeap<Reverse<Event>>,
    /// Latest end that was read; `None` once everything was.
    read_until_ns: Option<u64>,
    place: u64,
}

impl AccessRecord {
    /// Start and end in nanoseconds.
    pub(super) fn interval_ns(&self) -> (u64, u64) {
        let start = UnixNanos::parse_rfc3339(self.start_time.as_bytes()).unwrap_or_default();
        let duration = UnixNanos::from_millis(self.duration.unwrap_or(0));
        (start.0, start.plus(duration.0).0)
    }

    /// The trace, from whichever header the proxy wrote.
    pub(super) fn trace(&self) -> Option<TraceId> {
        let single = self.b3.as_deref().and_then(|b3| b3.split('-').next());
        let trace = self.x_b3_traceid.as_deref().or(single)?;
        TraceId::parse(trace.as_bytes())
    }
}

impl Events {
    pub(super) fn new(records: Lines, with_starts: bool) -> Self {
        Self {
            records,
            with_starts,
            waiting: BinaryHeap::new(),
            read_until_ns: Some(0),
            place: 0,
        }
    }

    /// The next event; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Event>> {
        self.fill()?;
        Ok(self.waiting.pop().map(|Reverse(event)| event))
    }

    /// When the next event is.
    pub(super) fn next_at_ns(&mut self) -> anyhow::Result<Option<u64>> {
        self.fill()?;
        Ok(self.waiting.peek().map(|Reverse(event)| event.at_ns))
    }

    /// Reads on until no unread record can come before the earliest that waits.
    fn fill(&mut self) -> anyhow::Result<()> {
        let mut line = Vec::new();
        while let Some(read_until) = self.read_until_ns {
            let earliest = self.waiting.peek().map(|Reverse(event)| event.at_ns);
            if earliest.is_some_and(|earliest| earliest.saturating_add(HORIZON_NS) < read_until) {
                return Ok(());
            }
            if !self.records.next(&mut line)? {
                self.read_until_ns = None;
                return Ok(());
            }
            let end = self.add(&line)?;
            self.read_until_ns = Some(read_until.max(end));
        }
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> anyhow::Result<u64> {
        let record: AccessRecord =
            serde_json::from_slice(line).context("reading an access record")?;
        let (start, end) = record.interval_ns();
        self.place += 1;
        let mut push = |at_ns: u64, is_start, text| {
            self.waiting.push(Reverse(Event {
                at_ns: at_ns.saturating_add(CUT_OFF_NS),
                is_start,
                place: self.place,
                text,
            }));
        };
        if self.with_starts {
            push(start, true, start_record(line)?);
            push(end, false, typed(line, "DownstreamEnd"));
        } else {
            push(end, false, line.to_vec());
        }
        Ok(end)
    }
}

/// The record the proxy writes when the request begins.
fn start_record(line: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut record: Map<String, Value> =
        serde_json::from_slice(line).context("reading an access record")?;
    for key in UNKNOWN_AT_START {
        record.entry(key).and_modify(|value| *value = Value::Null);
    }
    for key in ZERO_AT_START {
        record.entry(key).and_modify(|value| *value = 0.into());
    }
    record
        .entry("response_flags")
        .and_modify(|value| *value = "-".into());
    let text = serde_json::to_vec(&record).context("writing an access record")?;
    Ok(typed(&text, "DownstreamStart"))
}

/// The record with its type in front, where Envoy's order of keys puts it.
fn typed(line: &[u8], kind: &str) -> Vec<u8> {
    let mut text = format!("{{\"access_log_type\":\"{kind}\",").into_bytes();
    text.extend_from_slice(line.strip_prefix(b"{").unwrap_or(line));
    text
}

/// Writes the access log of a pod's proxy into its container log.
pub(super) async fn play(context: Arc<Context>, pod: Pod) -> anyhow::Result<()> {
    let name = format!("access/{}.jsonl.gz", pod.service);
    let Some(records) = context.corpus.lines(&name)? else {
        return Ok(());
    };
    let mut events = Events::new(records, !context.args.no_start_records);
    let mut log = ContainerLog::create(&pod, PROXY, context.args.rotate_bytes)?;
    let shift = context.pace.shift();
    let mut last_ns = 0;
    while let Some(mut event) = events.next()? {
        let cri_ns = shift.nanos(event.at_ns).max(last_ns + 1);
        last_ns = cri_ns;
        if !context.pace.wait(cri_ns).await {
            break;
        }
        shift.json(&mut event.text);
        let mut line = Vec::with_capacity(event.text.len() + 48);
        UnixNanos(cri_ns).write_rfc3339(&mut line);
        line.extend_from_slice(b" stdout F ");
        line.extend_from_slice(&event.text);
        let id = log.append(&line).await?;
        let mut record = Record {
            kind: if event.is_start {
                Kind::AccessStart
            } else {
                Kind::Access
            },
            service: pod.service.clone(),
            container: PROXY.to_owned(),
            stream: "stdout",
            id: id.to_string(),
            physical_lines: 1,
            cri_ns,
            written_ns: now_ns(),
            truth: Some(truth(&context, &event.text)?),
            open_requests: context.provenance.open_at(&pod.service, event.at_ns),
            ..Record::default()
        };
        record.state_text(&event.text);
        context
            .manifest
            .record(&record, context.pace.delay_ns(cri_ns))?;
    }
    let rotations = log.finish().await?;
    context.manifest.count(|tally| tally.rotations += rotations);
    Ok(())
}

/// An access record names its own request; its user is proven only if the gateway saw the trace.
fn truth(context: &Context, text: &[u8]) -> anyhow::Result<Truth> {
    let record: AccessRecord = serde_json::from_slice(text).context("reading an access record")?;
    let trace = record.trace();
    let person = trace.and_then(|trace| context.provenance.person(trace));
    Ok(Truth {
        how: "proxy".to_owned(),
        trace: trace.map(|trace| trace.to_string()),
        user: person.map(str::to_owned).or(record.x_user_id),
        request_id: record.request_id,
        operation: record
            .method
            .zip(record.path)
            .map(|(method, path)| format!("{method} {path}")),
        proven: person.is_some(),
    })
}
