//! Measures the product: the shipped binary, from outside, several times.
//!
//! | figure | how |
//! |---|---|
//! | `full_job_lines_per_core_second` | recorded lines repeated in one file, one forward lane, a counting sink; CPU of the process until the sink has all of them |
//! | `evidence_spans_per_core_second` | recorded bodies repeated with new ids and times; CPU of the process until the last answer |
//! | `otlp_spans_per_core_second` | the same, exported to a receiver that counts; CPU of the process until it has all of them |
//! | `otlp_noise_spans_per_core_second` | the same, with nine of ten spans dropped by the noise rules |
//! | `otlp_cpu_us_per_span`, `collector_cpu_us_per_span`, `collector_cpu_ratio`, and each's `_peak_rss_bytes` | recorded bodies in turn through the sidecar and the OpenTelemetry Collector to a receiver that counts; where `cargo xtask peers collector` was run |
//! | `idle_rss_bytes`, `idle_wakeups_per_second` | hub and all lanes connected, nothing to do, 30 s |
//! | `large_body_added_bytes` | how far one body of 30 MiB raises the peak of the memory |
//! | `after_burst_rss_bytes` | 10 s after the last of 50 MB of spans |
//! | `wrap_added_p50_us`, `wrap_added_p99_us` | how much later a line is at the end of the pipe with `wrap` than without, a line each ms, in turn; `pipe_p99_us` is the pipe alone |
//! | `wrap_rss_bytes`, `wrap_busy_rss_bytes`, `wrap_cpu_us_per_line` | `wrap` at that pace, and at a million lines as fast as they come |
//! | `start_ms` | from the start of the process to its first read of a log that is there |
//! | `binary_bytes` | size of what ships |
//!
//! CPU time is the kernel's (`/proc/<pid>/stat`, 10 ms steps), memory is `VmRSS`, a wake-up is a
//! voluntary context switch of any thread.

mod burst;
mod collector;
mod compared;
mod idle;
mod lines;
mod sink;
mod spans;
mod statistics;
mod subject;
mod traces;
mod wrap;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::demo::build;
use crate::demo::corpus::{self, Corpus, Origin};
use crate::folder::Folder;
use crate::{dist, say};
use statistics::Samples;
use subject::Bench;
use traces::Noise;

/// What `cargo xtask bench` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum Subject {
    /// The sidecar, alone.
    #[command(name = "self")]
    Sidecar(SidecarArgs),
    /// What is wrapped when `wrap` is measured.
    #[command(hide = true)]
    Pulse(wrap::PulseArgs),
}

#[derive(Debug, clap::Args)]
struct SidecarArgs {
    /// How to print the result.
    #[arg(long, value_name = "FORM", default_value = "table")]
    output: Output,
    /// How often each figure is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Lines of one run.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    lines: u64,
    /// Spans of one run.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    spans: u64,
    /// Measure this binary instead of building what ships.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Measure only these figures.
    #[arg(long, value_name = "FIGURE,…", value_delimiter = ',')]
    only: Vec<Figure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Figure {
    Lines,
    Spans,
    Otlp,
    Collector,
    Idle,
    Burst,
    Start,
    Wrap,
}

/// Measures what was asked for.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let args = match &args.subject {
        Subject::Sidecar(args) => args,
        Subject::Pulse(args) => {
            wrap::pulse(args)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let figures = measure(args)?;
    print(&figures, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// A figure with its name.
type Measured = (&'static str, Samples);

fn measure(args: &SidecarArgs) -> Result<Vec<Measured>> {
    let wants = |figure| args.only.is_empty() || args.only.contains(&figure);
    let built = match &args.program {
        Some(program) => dist::given(program)?,
        None => dist::sidecar()?,
    };
    let folder = Folder::create(None)?;
    let corpus = match corpus::choose_here(None, None) {
        Origin::Recorded(path) => Corpus::open(&path)?,
        Origin::Generated(seed) => {
            let path = folder.path().join("corpus");
            build::generate(&build::lab()?, &path, seed)?;
            Corpus::open(&path)?
        }
    };
    let bench = Bench::new(&built.path, &corpus.folder, folder.path());
    let mut figures = Vec::new();
    if wants(Figure::Start) {
        say::note(format_args!("measuring the start"));
        figures.push(("start_ms", idle::starts(&bench, args.runs)?));
    }
    if wants(Figure::Idle) {
        say::note(format_args!("measuring rest"));
        let (memory, wakeups) = idle::rest(&bench, &build::lab()?.lab, args.runs)?;
        figures.push(("idle_rss_bytes", memory));
        figures.push(("idle_wakeups_per_second", wakeups));
    }
    if wants(Figure::Burst) {
        say::note(format_args!("measuring bursts"));
        let (added, after) = burst::measure(&bench, args.runs)?;
        figures.push(("large_body_added_bytes", added));
        figures.push(("after_burst_rss_bytes", after));
    }
    if wants(Figure::Wrap) {
        say::note(format_args!("measuring wrap"));
        let wrap = wrap::measure(&bench, args.runs)?;
        figures.extend([
            ("wrap_added_p50_us", wrap.added_half),
            ("wrap_added_p99_us", wrap.added_most),
            ("pipe_p99_us", wrap.pipe_most),
            ("wrap_rss_bytes", wrap.memory),
            ("wrap_busy_rss_bytes", wrap.memory_after),
            ("wrap_cpu_us_per_line", wrap.cpu),
        ]);
    }
    if wants(Figure::Lines) {
        say::note(format_args!("measuring {} lines", args.lines));
        let samples = lines::measure(&bench, args.runs, args.lines)?;
        figures.push(("full_job_lines_per_core_second", samples));
    }
    if wants(Figure::Spans) {
        say::note(format_args!("measuring {} spans", args.spans));
        let samples = spans::measure(&bench, args.runs, args.spans)?;
        figures.push(("evidence_spans_per_core_second", samples));
    }
    if wants(Figure::Otlp) {
        say::note(format_args!("measuring {} spans exported", args.spans));
        let all = traces::measure(&bench, args.runs, args.spans, Noise::Kept)?;
        figures.push(("otlp_spans_per_core_second", all));
        say::note(format_args!("measuring {} spans, mostly noise", args.spans));
        let few = traces::measure(&bench, args.runs, args.spans, Noise::Dropped)?;
        figures.push(("otlp_noise_spans_per_core_second", few));
    }
    if wants(Figure::Collector) {
        say::note(format_args!(
            "measuring {} spans beside the Collector",
            args.spans
        ));
        figures.extend(compared::measure(&bench, args.runs, args.spans)?);
    }
    figures.push((
        "binary_bytes",
        Samples::one(statistics::from_count(built.bytes)),
    ));
    folder.discard();
    Ok(figures)
}

fn print(figures: &[Measured], output: Output) -> Result<()> {
    match output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&to_json(figures)).context("render")?;
            say::result(format_args!("{text}"));
        }
        Output::Table => {
            let name = "median of runs";
            say::result(format_args!(
                "{name:<34}{:>14}{:>14}{:>14}{:>6}",
                "median", "min", "max", "runs"
            ));
            for (name, samples) in figures {
                say::result(format_args!(
                    "{name:<34}{:>14.2}{:>14.2}{:>14.2}{:>6}",
                    samples.median(),
                    samples.min(),
                    samples.max(),
                    samples.count()
                ));
            }
        }
    }
    Ok(())
}

/// The medians by name, and the spread of each under `spread`.
fn to_json(figures: &[Measured]) -> Value {
    let mut all = Map::new();
    let mut spread = Map::new();
    for (name, samples) in figures {
        all.insert((*name).to_owned(), json!(samples.median()));
        spread.insert(
            (*name).to_owned(),
            json!({ "min": samples.min(), "max": samples.max(), "runs": samples.count() }),
        );
    }
    all.insert("spread".to_owned(), Value::Object(spread));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_stand_at_the_top_and_spreads_below() {
        let samples: Samples = [3.0, 1.0, 2.0].into_iter().collect();
        let json = to_json(&[("start_ms", samples)]);
        assert!((json["start_ms"].as_f64().unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(
            json["spread"]["start_ms"],
            json!({ "min": 1.0, "max": 3.0, "runs": 3 })
        );
    }
}
