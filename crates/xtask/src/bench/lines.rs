//! Recorded lines, repeated, through the whole sidecar into one lane.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use model::time::UnixNanos;

use super::sink::Sink;
use super::statistics::{Samples, from_count};
use super::subject::{Bench, Peers, SERVICE};
use crate::{interrupt, proc};

const RECORDING_BYTES_MAX: u64 = 256 << 20;
const BOUND: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(5);

/// Lines per second of CPU time.
pub(super) fn measure(bench: &Bench<'_>, runs: u32, lines: u64) -> Result<Samples> {
    let recording = recording(bench.corpus)?;
    (0..runs)
        .map(|run| {
            let folder = bench.folder(&format!("lines-{run}"))?;
            let (pod, log) = Bench::pod(&folder)?;
            let written = fill(&log, &recording, lines)?;
            let rate = one(bench, &folder, &pod, written)?;
            // A run leaves hundreds of MiB; the next one makes its own.
            std::fs::remove_dir_all(&folder).context("remove the files of a run")?;
            Ok(rate)
        })
        .collect()
}

fn one(bench: &Bench<'_>, folder: &Path, pod: &Path, written: Written) -> Result<f64> {
    let sink = Sink::start()?;
    let mut sidecar = bench.start(folder, pod, Peers::only(&sink))?;
    let pid = sidecar.id()?;
    interrupt::poll_until(BOUND, PAUSE, || {
        sidecar.check()?;
        Ok((sink.entries() >= written.records).then_some(()))
    })?
    .with_context(|| format!("{} of {} arrived in time", sink.entries(), written.records))?;
    let seconds = proc::cpu_seconds(pid).context("read the CPU time of the sidecar")?;
    sidecar.stop()?;
    Ok(from_count(written.lines) / seconds)
}

fn recording(corpus: &Path) -> Result<Vec<u8>> {
    let path = corpus.join(format!("{SERVICE}.cri.log.gz"));
    let doing = || format!("read {}", path.display());
    let file = File::open(&path).with_context(doing)?;
    let mut text = Vec::new();
    MultiGzDecoder::new(BufReader::new(file))
        .take(RECORDING_BYTES_MAX)
        .read_to_end(&mut text)
        .with_context(doing)?;
    ensure!(text.ends_with(b"\n"), "{} ends in a line", path.display());
    Ok(text)
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    /// Physical lines.
    lines: u64,
    /// Whole records, at least: what must arrive.
    records: u64,
}

/// Repeats the recording until there are `lines`, its times moved on each time so that they go on
/// rising.
fn fill(log: &Path, recording: &[u8], lines: u64) -> Result<Written> {
    let doing = || format!("write {}", log.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(log).with_context(doing)?);
    let written = repeat(recording, lines, &mut out).with_context(doing)?;
    out.flush().with_context(doing)?;
    Ok(written)
}

fn repeat(recording: &[u8], lines: u64, out: &mut impl Write) -> Result<Written> {
    let parsed: Vec<(UnixNanos, &[u8])> = recording
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(split_time)
        .collect();
    let (first, last) = match (parsed.first(), parsed.last()) {
        (Some((first, _)), Some((last, _))) => (*first, *last),
        _ => anyhow::bail!("the recording has no lines"),
    };
    let step = last.0.saturating_sub(first.0) + 1_000_000;
    let mut written = Written::default();
    let mut text = Vec::with_capacity(64);
    for round in 0.. {
        for (time, rest) in &parsed {
            if written.lines == lines {
                return Ok(written);
            }
            text.clear();
            time.plus(step * round).write_rfc3339(&mut text);
            out.write_all(&text)?;
            out.write_all(rest)?;
            written.lines += 1;
            written.records += u64::from(is_record(rest));
        }
    }
    Ok(written)
}

fn split_time(line: &[u8]) -> Option<(UnixNanos, &[u8])> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (time, rest) = line.split_at_checked(space)?;
    Some((UnixNanos::parse_rfc3339(time)?, rest))
}

/// Whether a line surely becomes a document of its own: whole, and the begin of a JSON object or an
/// access line, so that nothing joins it to another.
fn is_record(rest: &[u8]) -> bool {
    rest.starts_with(b" stderr F {") || rest.starts_with(b" stdout F ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_lines_go_on_rising() {
        let recording = b"2026-11-23T04:09:35.5Z stderr F {\"a\":1}\n2026-11-23T04:09:36.5Z stderr F panic: x\n";
        let mut out = Vec::new();
        let written = repeat(recording, 5, &mut out).unwrap();
        assert_eq!((written.lines, written.records), (5, 3));
        let text = String::from_utf8(out).unwrap();
        let times: Vec<_> = text
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(times.len(), 5);
        assert!(times.is_sorted(), "{times:?}");
        assert!(text.ends_with("stderr F {\"a\":1}\n"));
    }

    #[test]
    fn an_empty_recording_is_an_error() {
        assert!(repeat(b"", 5, &mut Vec::new()).is_err());
    }
}
