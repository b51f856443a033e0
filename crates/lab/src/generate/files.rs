//! Writes a recording in the layout of real ones.
//!
//! | file | content |
//! |---|---|
//! | `<service>.cri.log.gz` | both streams as a container runtime frames them, in order of arrival |
//! | `<service>.stderr.jsonl.gz`, `<service>.stdout.log.gz` | the streams as printed |
//! | `<service>.truth.jsonl.gz` | one object a CRI record: what really caused it |
//! | `spans/<service>.emco.bodies.gz`, `spans/headers.jsonl.gz` | bodies as the exporter posts them |
//! | `access/<service>.jsonl.gz`, `access/istio-ingressgateway.jsonl.gz` | the proxies' access logs |
//! | `client.jsonl.gz` | what the callers did |
//! | `rootspans.truth.jsonl.gz` | whose each parentless span is |
//! | `stats.json` | counts |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use model::time::UnixNanos;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::recording::{Line, Recording, RootSpan, SERVICES, Span};

/// The exporter posts what ended since it last did.
const EXPORT_EVERY_NS: u64 = 200_000_000;

/// A file of the recording, compressed without name and time, so that equal content is equal bytes.
struct Output {
    path: PathBuf,
    encoder: GzEncoder<BufWriter<File>>,
}

#[derive(Serialize)]
struct TruthLine<'a> {
    stream: &'a str,
    line: usize,
    cri_line: usize,
    cri_lines: usize,
    t_ns: u64,
    #[serde(rename = "_true_trace")]
    trace: Option<&'a str>,
    #[serde(rename = "_true_user")]
    user: Option<&'a str>,
    #[serde(rename = "_true_request_id")]
    request_id: Option<&'a str>,
    #[serde(rename = "_true_op")]
    operation: Option<&'a str>,
    how: super::recording::How,
}

/// Writes everything into `dir`, which is made; answers what is in it.
pub(super) fn write(dir: &Path, mut recording: Recording, seed: u64) -> anyhow::Result<Value> {
    for folder in ["spans", "access"] {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    let mut stats = Map::new();
    for service in SERVICES {
        let lines = recording.lines.remove(service).unwrap_or_default();
        stats.insert(service.to_owned(), write_lines(dir, service, lines, seed)?);
    }
    stats.insert("_spans".to_owned(), write_spans(dir, &recording.spans)?);
    let mut counts = Map::new();
    for (proxy, mut records) in recording.access {
        records.sort_by_key(|access| access.end_ns);
        let mut output = Output::create(dir.join(format!("access/{proxy}.jsonl.gz")))?;
        for access in &records {
            output.json(&access.record)?;
        }
        output.finish()?;
        counts.insert(proxy.to_owned(), records.len().into());
    }
    stats.insert("_access".to_owned(), counts.into());
    recording.calls.sort_by_key(|call| call.end_ns);
    let mut output = Output::create(dir.join("client.jsonl.gz"))?;
    for call in &recording.calls {
        output.json(call)?;
    }
    output.finish()?;
    stats.insert(
        "_client".to_owned(),
        json!({"requests": recording.calls.len()}),
    );
    stats.insert("_rootspans".to_owned(), write_roots(dir, recording.roots)?);
    let path = dir.join("stats.json");
    let stats = Value::Object(stats);
    let text = serde_json::to_vec_pretty(&stats).context("writing the counts")?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(stats)
}

fn write_lines(dir: &Path, service: &str, lines: Vec<Line>, seed: u64) -> anyhow::Result<Value> {
    let create = |name: &str| Output::create(dir.join(format!("{service}.{name}.gz")));
    let (mut cri, mut truth) = (create("cri.log")?, create("truth.jsonl")?);
    let mut streams = [create("stderr.jsonl")?, create("stdout.log")?];
    let (mut written, mut how) = ([0_usize; 2], BTreeMap::<String, u64>::new());
    let mut last_ns = 0;
    for (number, (arrival_ns, line)) in arrivals(lines, seed).into_iter().enumerate() {
        let time_ns = arrival_ns.max(last_ns + 1);
        last_ns = time_ns;
        let stream = if line.is_stdout { "stdout" } else { "stderr" };
        let text = format!("{} {stream} F {}", UnixNanos(time_ns), line.text);
        cri.line(text.as_bytes())?;
        let which = usize::from(line.is_stdout);
        if let (Some(output), Some(count)) = (streams.get_mut(which), written.get_mut(which)) {
            output.line(line.text.as_bytes())?;
            *count += 1;
        }
        let origin = line.origin.as_deref();
        truth.json(&TruthLine {
            stream,
            line: written.get(which).copied().unwrap_or_default(),
            cri_line: number + 1,
            cri_lines: 1,
            t_ns: time_ns,
            trace: origin.map(|origin| origin.trace.as_str()),
            user: origin.and_then(|origin| origin.user.as_deref()),
            request_id: origin.and_then(|origin| origin.request_id.as_deref()),
            operation: origin.map(|origin| origin.operation.as_str()),
            how: line.how,
        })?;
        *how.entry(format!("{:?}", line.how).to_lowercase())
            .or_default() += 1;
    }
    cri.finish()?;
    truth.finish()?;
    for output in streams {
        output.finish()?;
    }
    let [stderr_lines, stdout_lines] = written;
    Ok(json!({
        "cri_lines": stderr_lines + stdout_lines, "how": how,
        "stderr_lines": stderr_lines, "stdout_lines": stdout_lines,
    }))
}

/// The lines in the order in which the container runtime read them: a little after they were
/// printed, now and then so late that they overtake each other.
fn arrivals(mut lines: Vec<Line>, seed: u64) -> Vec<(u64, Line)> {
    let mut random = fastrand::Rng::with_seed(seed);
    lines.sort_by_key(|line| line.at_ns);
    let mut arrivals: Vec<(u64, Line)> = lines
        .into_iter()
        .map(|line| {
            let late = if random.u8(0..100) == 0 { 2_000_000 } else { 0 };
            (line.at_ns + random.u64(100_000..160_000) + late, line)
        })
        .collect();
    arrivals.sort_by_key(|(arrival_ns, _)| *arrival_ns);
    arrivals
}

fn write_spans(dir: &Path, spans: &BTreeMap<&'static str, Vec<Span>>) -> anyhow::Result<Value> {
    let mut headers = Vec::new();
    let mut total = 0;
    for (number, (service, spans)) in spans.iter().enumerate() {
        let mut batches: BTreeMap<u64, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            let end_ns = (span.timestamp + span.duration) * 1000;
            // Exporters of different processes do not tick together.
            let phase = number as u64 * 13_000_000;
            let tick =
                (end_ns + EXPORT_EVERY_NS - phase) / EXPORT_EVERY_NS * EXPORT_EVERY_NS + phase;
            batches.entry(tick).or_default().push(span);
        }
        let bundle = format!("{service}.emco.bodies.gz");
        let mut output = Output::create(dir.join("spans").join(&bundle))?;
        let mut offset = 0;
        for (tick, mut batch) in batches {
            batch.sort_by_key(|span| span.timestamp + span.duration);
            let body = serde_json::to_vec(&batch).context("writing spans")?;
            output.bytes(&body)?;
            total += batch.len();
            headers.push((
                tick + 3_000_000,
                bundle.clone(),
                offset,
                body.len(),
                batch.len(),
            ));
            offset += body.len();
        }
        output.finish()?;
    }
    headers.sort();
    let mut output = Output::create(dir.join("spans/headers.jsonl.gz"))?;
    for (number, (arrival_ns, bundle, offset, length, spans)) in headers.iter().enumerate() {
        output.json(&json!({
            "n": number + 1, "bundle": bundle, "offset": offset, "length": length,
            "arrival_ns": arrival_ns, "request": "POST /api/v2/spans HTTP/1.1",
            "headers": [["Content-Type", "application/json"]], "spans": spans,
        }))?;
    }
    output.finish()?;
    Ok(json!({"bodies": headers.len(), "spans": total}))
}

fn write_roots(dir: &Path, mut roots: Vec<RootSpan>) -> anyhow::Result<Value> {
    roots.sort_by_key(|root| root.start_us);
    let mut output = Output::create(dir.join("rootspans.truth.jsonl.gz"))?;
    for root in &roots {
        let mut value = json!({
            "name": root.name, "service": root.service, "span": root.span,
            "start_us": root.start_us, "trace": root.trace,
        });
        if let (Some(members), Some(origin)) = (value.as_object_mut(), &root.origin) {
            members.insert("_true_op".to_owned(), origin.operation.as_str().into());
            members.insert("_true_trace".to_owned(), origin.trace.as_str().into());
            members.insert("_true_user".to_owned(), origin.user.as_deref().into());
            members.insert(
                "_true_request_id".to_owned(),
                origin.request_id.as_deref().into(),
            );
            members.insert("links".to_owned(), root.links.clone().into());
        }
        output.json(&value)?;
    }
    output.finish()?;
    let with_owner = roots.iter().filter(|root| root.origin.is_some()).count();
    Ok(json!({"roots": roots.len(), "with_owner": with_owner}))
}

impl Output {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let encoder = GzEncoder::new(BufWriter::new(file), Compression::default());
        Ok(Self { path, encoder })
    }

    fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.encoder.write_all(bytes);
        written.with_context(|| format!("writing {}", self.path.display()))
    }

    fn line(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.bytes(text)?;
        self.bytes(b"\n")
    }

    fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_vec(value);
        self.line(&text.with_context(|| format!("writing {}", self.path.display()))?)
    }

    fn finish(self) -> anyhow::Result<()> {
        let flushed = self
            .encoder
            .finish()
            .and_then(|writer| writer.into_inner().map_err(std::io::Error::from));
        flushed.with_context(|| format!("writing {}", self.path.display()))?;
        Ok(())
    }
}
