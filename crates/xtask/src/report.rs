//! The tables of `docs/benchmarks.md`: `demo --once` for each recording with truth and for several
//! seeds of the generator, as Markdown on stdout.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::demo::{corpus, floors};
use crate::{child, interrupt, say, workspace};

/// A recording is played at the pace it was made, and then judged.
const RUN_BOUND: Duration = Duration::from_mins(30);

/// What `cargo xtask report` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds of the generator; none if there is no number.
    #[arg(long, value_name = "N,…", value_delimiter = ',', num_args = 0.., default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Only these recordings, by folder name.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Kills of random sidecars in each run.
    #[arg(long, value_name = "N", default_value_t = 0)]
    kill: u32,
    /// How long a line waits for evidence; 20s is the longest, as good as without a limit.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    wait: String,
}

/// Runs everything, one after another, and prints one section a run.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut all_passed = true;
    for (title, arguments) in plan(args)? {
        interrupt::wait(Duration::ZERO)?;
        say::note(format_args!("\n=== {title} ==="));
        let outcome = once(&arguments, args).with_context(|| format!("play {title}"))?;
        all_passed &= outcome.pointer("/passed") == Some(&Value::Bool(true));
        say::result(format_args!("{}", section(&title, &outcome)));
    }
    Ok(if all_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Titles and the demo's arguments.
fn plan(args: &Args) -> Result<Vec<(String, Vec<String>)>> {
    let mut plan = Vec::new();
    if let Some(corpus) = workspace::corpus() {
        for folder in recordings(&corpus.join("truth"))? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if args.only.is_empty() || args.only.iter().any(|only| *only == name) {
                let path = folder.to_string_lossy().into_owned();
                plan.push(run_of(args, &format!("truth/{name}"), ["--corpus", &path]));
            }
        }
    }
    let known = plan.len();
    ensure!(
        args.only.is_empty() || known == args.only.len(),
        "of the recordings named with --only {known} are there"
    );
    for seed in &args.seeds {
        let title = format!("generated, seed {seed}");
        plan.push(run_of(args, &title, ["--seed", &seed.to_string()]));
    }
    Ok(plan)
}

/// Title and arguments of one run.
fn run_of(args: &Args, title: &str, workload: [&str; 2]) -> (String, Vec<String>) {
    let mut arguments = workload.map(str::to_owned).to_vec();
    let [kind, what] = workload;
    let corpus = (kind == "--corpus").then(|| Path::new(what));
    let origin = corpus::choose(corpus, Some(0), None);
    if floors::of(&origin, &args.wait, args.kill > 0).is_some() {
        arguments.push("--floors".to_owned());
    }
    let title = match args.wait.as_str() {
        "2s" => title.to_owned(),
        wait => format!("{title}, wait {wait}"),
    };
    (title, arguments)
}

fn recordings(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("list {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One run's result; a run that failed has one, too.
fn once(arguments: &[String], args: &Args) -> Result<Value> {
    let program = std::env::current_exe().context("find the program that runs")?;
    let mut command = Command::new(program);
    command
        .args(["demo", "--once", "--output", "json", "--kill"])
        .arg(args.kill.to_string())
        .args(["--wait", &args.wait])
        .args(arguments);
    let (_, text) = child::captured("demo --once", &mut command, RUN_BOUND)?;
    serde_json::from_str(&text).context("understand the result of the demo")
}

/// One run as Markdown.
fn section(title: &str, outcome: &Value) -> String {
    let number = |path: &str| {
        let value = outcome.pointer(path);
        value.and_then(Value::as_f64).unwrap_or(f64::NAN)
    };
    let mut text = format!(
        "## {title}\n\n\
         {} lines written; lost {}, stored twice {}, wrong {}; {} kills; latency p50 {:.0} ms, \
         p99 {:.0} ms; {} spans\n\n\
         | service | request lines | exact | with person | ambiguous | none | wrong | background | marked | wrong |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        number("/lines/written"),
        number("/lines/lost"),
        number("/lines/stored_twice"),
        wrong(outcome),
        number("/kills"),
        number("/latency_ms/p50"),
        number("/latency_ms/p99"),
        number("/spans/received"),
    );
    let services = outcome.pointer("/attribution/by_service");
    for (service, score) in services.and_then(Value::as_object).into_iter().flatten() {
        text += &row(service, score);
        let bins = score
            .pointer("/by_open_requests")
            .and_then(Value::as_object);
        for (bin, score) in bins.into_iter().flatten() {
            let has_lines = ["request_lines", "background_lines"].iter().any(|lines| {
                let total = score.get(lines).and_then(|lines| lines.get("total"));
                total.and_then(Value::as_u64).unwrap_or(0) > 0
            });
            if has_lines {
                text += &row(&format!("– {bin} open"), score);
            }
        }
    }
    let missed = outcome.pointer("/floors_missed").and_then(Value::as_array);
    for floor in missed.into_iter().flatten().filter_map(Value::as_str) {
        text.extend(["\nFloor missed: ", floor, "\n"]);
    }
    text += "\n| sidecar | CPU s | lines | spans | peak RSS KiB | first read ms |\n|---|---|---|---|---|---|\n";
    let sidecars = outcome.pointer("/sidecars").and_then(Value::as_array);
    for sidecar in sidecars.into_iter().flatten() {
        let number = |key: &str| sidecar.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        text += &format_args!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.0} | {:.1} |\n",
            sidecar
                .get("service")
                .and_then(Value::as_str)
                .unwrap_or("?"),
            number("cpu_seconds"),
            number("cpu_seconds_lines"),
            number("cpu_seconds_spans"),
            number("peak_rss_bytes") / 1024.0,
            number("start_to_first_read_ms"),
        )
        .to_string();
    }
    text
}

/// Wrong lines of all kinds.
fn wrong(outcome: &Value) -> f64 {
    let groups = ["", "/access_lines"];
    let kinds = ["request_lines", "background_lines"];
    groups
        .iter()
        .flat_map(|group| kinds.map(|kind| format!("/attribution{group}/{kind}/wrong")))
        .filter_map(|path| outcome.pointer(&path).and_then(Value::as_f64))
        .sum()
}

fn row(name: &str, score: &Value) -> String {
    let number = |path: &str| score.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let share = |part: f64, total: f64| {
        if total > 0.0 {
            format!("{:.1} %", part * 100.0 / total)
        } else {
            "–".to_owned()
        }
    };
    let total = number("/request_lines/total");
    let background = number("/background_lines/total");
    format!(
        "| {name} | {total} | {} | {} | {} | {} | {} | {background} | {} | {} |\n",
        share(number("/request_lines/exact"), total),
        share(number("/request_lines/user_exact"), total),
        number("/request_lines/ambiguous"),
        number("/request_lines/none"),
        number("/request_lines/wrong"),
        share(number("/background_lines/marked"), background),
        number("/background_lines/wrong"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args(wait: &str, kill: u32) -> Args {
        Args {
            seeds: Vec::new(),
            only: Vec::new(),
            kill,
            wait: wait.to_owned(),
        }
    }

    #[test]
    fn what_has_floors_is_held_to_them() {
        let has = |args: &Args, workload| {
            let (_, arguments) = run_of(args, "a", workload);
            arguments.contains(&"--floors".to_owned())
        };
        assert!(has(&args("2s", 0), ["--seed", "3"]));
        assert!(has(&args("2s", 0), ["--corpus", "a/truth/traced"]));
        assert!(!has(&args("2s", 0), ["--corpus", "a/truth/calm"]));
        assert!(has(&args("2s", 20), ["--corpus", "a/truth/traced"]));
        assert_eq!(run_of(&args("2s", 0), "a", ["--seed", "3"]).0, "a");
        assert_eq!(
            run_of(&args("20s", 0), "a", ["--seed", "3"]).0,
            "a, wait 20s"
        );
    }

    #[test]
    fn a_recording_that_is_not_there_is_said() {
        let mut args = args("2s", 0);
        args.only = vec!["no such recording".to_owned()];
        assert!(plan(&args).is_err());
    }

    #[test]
    fn a_section_shows_totals_services_and_bins() {
        let group = json!({
            "request_lines": { "total": 200, "exact": 150, "user_exact": 100, "ambiguous": 49,
                "none": 0, "wrong": 1 },
            "background_lines": { "total": 0, "marked": 0, "wrong": 0 },
        });
        let mut score = group.clone();
        let empty = json!({ "request_lines": { "total": 0 }, "background_lines": { "total": 0 } });
        score["by_open_requests"] = json!({ "1-5": group, "6-10": empty });
        let outcome = json!({
            "passed": false, "kills": 2, "floors_missed": ["clm: too few"],
            "lines": { "written": 200, "lost": 0, "stored_twice": 0 },
            "latency_ms": { "p50": 2300.4, "p99": 2600.0 },
            "spans": { "received": 7 },
            "attribution": { "request_lines": { "wrong": 1 }, "access_lines": { "request_lines":
                { "wrong": 2 } }, "by_service": { "clm": score } },
            "sidecars": [{ "service": "clm", "cpu_seconds": 0.125, "cpu_seconds_lines": 0.1,
                "cpu_seconds_spans": 0.02, "peak_rss_bytes": 1_048_576,
                "start_to_first_read_ms": 0.25 }],
        });
        let text = section("truth/calm", &outcome);
        assert!(
            text.contains("stored twice 0, wrong 3; 2 kills; latency p50 2300 ms"),
            "{text}"
        );
        assert!(
            text.contains("| clm | 200 | 75.0 % | 50.0 % | 49 | 0 | 1 | 0 | – | 0 |"),
            "{text}"
        );
        assert!(text.contains("| – 1-5 open | 200 |"), "{text}");
        assert!(!text.contains("6-10"), "{text}");
        assert!(text.contains("\nFloor missed: clm: too few\n"), "{text}");
        assert!(
            text.contains("| clm | 0.12 | 0.10 | 0.02 | 1024 | 0.2 |"),
            "{text}"
        );
    }
}
