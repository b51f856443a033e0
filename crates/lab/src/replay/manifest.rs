//! What was written, with the truth about it: NDJSON, one entry a line.
//!
//! | `entry` | when |
//! |---|---|
//! | `pod` | before anything is written |
//! | `record` | after each record; its `id` is made here, without the product's code |
//! | `spans` | after each body of spans: where it stands in the recording, and whether it was taken |
//! | `summary` | at the end |

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::pace::Pace;
use super::pods::Pod;

/// Longest text that is quoted, in bytes.
const TEXT_MAX: usize = 256 << 10;
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(super) enum Entry<'a> {
    Pod(PodEntry<'a>),
    Record(&'a Record),
    Spans(&'a SpanBody),
    Summary(&'a Tally),
}

#[derive(Debug, Serialize)]
pub(super) struct PodEntry<'a> {
    pub(super) service: &'a str,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: &'a str,
    pub(super) directory: Cow<'a, str>,
}

/// Whose line a record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    #[default]
    Line,
    Access,
    AccessStart,
}

/// One record that was written.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) service: String,
    pub(super) container: String,
    pub(super) stream: &'static str,
    pub(super) id: String,
    pub(super) physical_lines: usize,
    pub(super) cri_ns: u64,
    pub(super) written_ns: u64,
    pub(super) text: String,
    pub(super) text_digest: String,
    pub(super) message_digest: Option<String>,
    pub(super) truth: Option<Truth>,
    pub(super) open_requests: u32,
}

/// What really caused a line.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Truth {
    pub(super) how: String,
    pub(super) trace: Option<String>,
    pub(super) user: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) proven: bool,
}

/// A body of spans that was posted, or could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct SpanBody {
    pub(super) service: String,
    /// File of the recording, and where the body stands in it when it is unpacked.
    pub(super) bundle: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) spans: u64,
    /// Whether the sidecar answered that it took it.
    pub(super) accepted: bool,
}

/// What was sent so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) lines: u64,
    pub(super) access: u64,
    pub(super) rotations: u64,
    pub(super) bodies_sent: u64,
    pub(super) bodies_dropped: u64,
    pub(super) spans_sent: u64,
    pub(super) spans_dropped: u64,
    pub(super) bodies_dropped_by_service: BTreeMap<String, u64>,
    pub(super) gateway_sent: u64,
    pub(super) gateway_dropped: u64,
    pub(super) worst_delay_ns: u64,
    pub(super) shift_seconds: i64,
    pub(super) complete: bool,
}

/// The file, shared by all sources.
#[derive(Debug)]
pub(super) struct Manifest {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Option<BufWriter<File>>,
    flushed: Instant,
    tally: Tally,
}

/// The members of EMCO's own lines that matter here.
#[derive(Debug, Default, Deserialize)]
struct Own {
    msg: Option<String>,
    time: Option<String>,
}

impl Manifest {
    /// Begins a manifest, if one is wanted, with the pods there will be.
    pub(super) fn create(path: Option<&Path>, pods: &[Pod]) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = File::create(path);
            file.with_context(|| format!("making the manifest {}", path.display()))
        };
        let file = path.map(open).transpose()?.map(BufWriter::new);
        let mut inner = Inner {
            file,
            flushed: Instant::now(),
            tally: Tally::default(),
        };
        for pod in pods {
            inner.write(&pod.entry())?;
        }
        inner.flush()?;
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    /// Notes a record that was written.
    pub(super) fn record(&self, record: &Record, delay_ns: u64) -> anyhow::Result<()> {
        let mut inner = self.lock();
        match record.kind {
            Kind::Line => inner.tally.lines += 1,
            Kind::Access | Kind::AccessStart => inner.tally.access += 1,
        }
        inner.tally.worst_delay_ns = inner.tally.worst_delay_ns.max(delay_ns);
        inner.write(&Entry::Record(record))?;
        if inner.flushed.elapsed() > FLUSH_EVERY {
            inner.flush()?;
        }
        Ok(())
    }

    /// Notes a body of spans and what became of it.
    pub(super) fn spans(&self, body: &SpanBody) -> anyhow::Result<()> {
        let mut inner = self.lock();
        let tally = &mut inner.tally;
        if body.accepted {
            tally.bodies_sent += 1;
            tally.spans_sent += body.spans;
        } else {
            tally.bodies_dropped += 1;
            tally.spans_dropped += body.spans;
            let service = body.service.clone();
            *tally.bodies_dropped_by_service.entry(service).or_default() += 1;
        }
        inner.write(&Entry::Spans(body))
    }

    /// Changes the totals.
    pub(super) fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.lock().tally);
    }

    pub(super) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Writes the totals and closes the file.
    pub(super) fn finish(&self, pace: &Pace) -> anyhow::Result<Tally> {
        let mut inner = self.lock();
        inner.tally.shift_seconds = pace.shift().seconds();
        inner.tally.complete = !pace.is_stopped();
        let tally = inner.tally.clone();
        inner.write(&Entry::Summary(&tally))?;
        inner.flush()?;
        Ok(tally)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, entry: &Entry<'_>) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        serde_json::to_writer(&mut *file, entry).context("writing to the manifest")?;
        file.write_all(b"\n").context("writing to the manifest")
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.flushed = Instant::now();
        match &mut self.file {
            Some(file) => file.flush().context("writing to the manifest"),
            None => Ok(()),
        }
    }
}

impl Record {
    /// States `text`; answers the line's own time, where it has one that is worth having.
    pub(super) fn state_text(&mut self, text: &[u8]) -> Option<u64> {
        self.text = String::from_utf8_lossy(cut(text)).into_owned();
        self.text_digest = digest(text);
        if text.first() != Some(&b'{') {
            return None;
        }
        let own: Own = serde_json::from_slice(text).unwrap_or_default();
        self.message_digest = own.msg.map(|message| digest(message.as_bytes()));
        let time = own.time?;
        Some(model::time::UnixNanos::parse_rfc3339(time.as_bytes())?.0)
    }
}

/// At most [`TEXT_MAX`] bytes of `text`, not ending inside a character.
fn cut(text: &[u8]) -> &[u8] {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut end = text.len().min(TEXT_MAX);
    while end > 0 && end < text.len() && is_inside(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn digest(text: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(text))
}
