//! What was written: one JSON object a line, in the order of writing.
//!
//! | `entry` | when | holds |
//! |---|---|---|
//! | `pod` | first, before anything is written | [`Pod`]: where a service's logs are |
//! | `record` | after each record (all parts of a `P`…`F` record together) | [`Record`] |
//! | `spans` | after each body of spans | [`SpanBody`]: where it stands in the recording, and whether it was taken |
//! | `summary` | last; missing if the writer was stopped | [`Summary`]: totals of what was sent besides |
//!
//! The writer states `text` at most [`TEXT_MAX`] bytes long, but hashes all of it.

use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Longest text a manifest quotes, in bytes; longer ones are cut at a character border.
pub const TEXT_MAX: usize = 256 << 10;

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A pod exists from now on.
    Pod(Pod),
    /// A record was written.
    Record(Record),
    /// A body of spans was posted, or could not be.
    Spans(SpanBody),
    /// Everything was written.
    Summary(Summary),
}

/// Where the logs of one service are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Service name, also the name of its container.
    pub service: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Directory `<namespace>_<pod>_<uid>` with one folder a container.
    pub directory: String,
}

/// Whether a record is EMCO's or its proxy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line of EMCO.
    #[default]
    Line,
    /// An access line of the pod's proxy, written when the request ended.
    Access,
    /// The same, written when the request began.
    AccessStart,
}

/// One record that was written to a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// EMCO's or its proxy's.
    pub kind: Kind,
    /// Service whose pod it is.
    pub service: String,
    /// Container of the pod.
    pub container: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Document id, computed independently of the product: `<file key>-<offset>` in hex.
    pub id: String,
    /// Physical lines in the file: more than one if the runtime split the record.
    pub physical_lines: u32,
    /// Time in the prefix of its first physical line, nanoseconds since the epoch.
    pub cri_ns: u64,
    /// When the last of its bytes had been written, nanoseconds since the epoch.
    pub written_ns: u64,
    /// Its text without the runtime's framing, cut after [`TEXT_MAX`] bytes.
    pub text: String,
    /// [`digest`] of the whole text; empty if unknown.
    pub text_digest: String,
    /// [`digest`] of its `msg`, where the text is a JSON object that has one.
    pub message_digest: Option<String>,
    /// What really caused it, where the recording knows.
    pub truth: Option<Truth>,
    /// Requests open in that service at its time.
    pub open_requests: u32,
}

/// How a line came to be printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By the handler of a request.
    Http,
    /// By the server side of a call made for a request.
    Grpc,
    /// By a worker, for the request that queued its event.
    Event,
    /// By a status update, for the request that queued the last event.
    Status,
    /// By a delayed function of a request.
    Timer,
    /// By no request.
    Background,
    /// Past the logger; counts as background.
    #[default]
    Unmarked,
    /// By the proxy.
    Proxy,
}

/// What really caused a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Truth {
    /// How it came to be.
    pub how: How,
    /// Trace of the request, 32 hex digits.
    pub trace: Option<String>,
    /// Person, proven or not.
    pub user: Option<String>,
    /// Request id as the service received it.
    pub request_id: Option<String>,
    /// Method and path of the request that started it all.
    pub operation: Option<String>,
    /// Whether the request came through the gateway, which proves its user.
    pub proven: bool,
}

/// A body of spans that EMCO's exporter sent, by its place in the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpanBody {
    /// Service whose sidecar should have got it.
    pub service: String,
    /// File in the recording's folder of spans.
    pub bundle: String,
    /// Where it begins in that file, unpacked.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// How many spans it has.
    pub spans: u64,
    /// Whether the sidecar answered that it took it. One that did not answer may have taken it.
    pub accepted: bool,
}

/// Totals of a finished run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Records of EMCO.
    pub lines: u64,
    /// Access records in the pods' logs, start records included.
    pub access: u64,
    /// Log files that were rotated.
    pub rotations: u64,
    /// Span bodies accepted by the sidecars.
    pub bodies_sent: u64,
    /// Span bodies that the sidecars refused or that met no sidecar: dropped, as EMCO drops them.
    pub bodies_dropped: u64,
    /// Spans in accepted bodies.
    pub spans_sent: u64,
    /// Spans in dropped bodies.
    pub spans_dropped: u64,
    /// Span bodies dropped, by service.
    pub bodies_dropped_by_service: std::collections::BTreeMap<String, u64>,
    /// Gateway records the hub took.
    pub gateway_sent: u64,
    /// Gateway records that could not be given to the hub.
    pub gateway_dropped: u64,
    /// Greatest delay of a write behind its own time, nanoseconds.
    pub worst_delay_ns: u64,
    /// Seconds that were added to every time stamp.
    pub shift_seconds: i64,
    /// Whether the recording was played to its end.
    pub complete: bool,
}

/// Everything that was written, in order, ready to be compared with what was stored.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    records: Vec<Record>,
    pods: Vec<Pod>,
    bodies: Vec<SpanBody>,
    summary: Option<Summary>,
}

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed.
    #[error("reading the manifest")]
    Read(#[source] io::Error),
    /// A line is no manifest entry.
    #[error("line {line} of the manifest is no entry")]
    Entry {
        /// Counted from 1.
        line: usize,
        /// What was wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Expected {
    /// Reads a whole manifest. A last line that was cut (the writer was killed) is left out.
    ///
    /// # Errors
    /// [`Error`] if the source fails or a line that is not the last is no entry.
    pub fn read(mut source: impl BufRead) -> Result<Self, Error> {
        let mut expected = Self::default();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if source.read_until(b'\n', &mut text).map_err(Error::Read)? == 0 {
                break;
            }
            match serde_json::from_slice(&text) {
                Ok(entry) => expected.add(entry),
                Err(_) if text.last() != Some(&b'\n') => break,
                Err(source) => return Err(Error::Entry { line, source }),
            }
        }
        Ok(expected)
    }

    /// Adds one entry.
    pub fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Pod(pod) => self.pods.push(pod),
            Entry::Record(record) => self.push(record),
            Entry::Spans(body) => self.bodies.push(body),
            Entry::Summary(summary) => self.summary = Some(summary),
        }
    }

    /// Adds one record.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Keeps only the records that `keep` says.
    pub fn retain(&mut self, keep: impl FnMut(&Record) -> bool) {
        self.records.retain(keep);
    }

    /// The records, in the order of writing.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The pods.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The bodies of spans, in the order of the answers.
    pub fn bodies(&self) -> &[SpanBody] {
        &self.bodies
    }

    /// The totals; `None` if the writer was stopped.
    pub const fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }
}

impl Truth {
    /// Whether no request caused the line.
    pub const fn is_background(&self) -> bool {
        matches!(self.how, How::Background | How::Unmarked)
    }
}

/// The hash manifests state of a text: xxh3-64 with seed 0, 16 hex digits.
#[must_use]
pub fn digest(text: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(text))
}
