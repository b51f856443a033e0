//! Prometheus: scrapes what it is told and answers queries; `promtool` judges expositions.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Process, encoded, free_ports, get, get_json, in_path};

/// What is scraped.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its `job`.
    pub job: String,
    /// Where its `/metrics` is.
    pub address: SocketAddr,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// Pages and API.
    pub http: SocketAddr,
    process: Process,
}

impl Prometheus {
    /// Starts one that scrapes `targets` every second, exemplars included, with its data in `folder`;
    /// `None` if it is not installed.
    ///
    /// # Panics
    /// If it does not start.
    #[expect(clippy::expect_used, reason = "a test panics where it fails")]
    pub fn start(folder: &Path, targets: &[Target]) -> Option<Self> {
        let program = in_path("prometheus")?;
        let [http] = free_ports();
        let settings = folder.join("prometheus.yaml");
        let jobs: Vec<Value> = targets
            .iter()
            .map(|target| {
                json!({
                    "job_name": target.job,
                    "static_configs": [{"targets": [target.address]}],
                })
            })
            .collect();
        let text = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": jobs,
        });
        File::create(&settings)
            .and_then(|mut file| file.write_all(text.to_string().as_bytes()))
            .expect("write the settings of Prometheus");
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let mut command = Command::new(program);
        command
            .arg(option("config.file", &settings))
            .arg(option("storage.tsdb.path", &folder.join("prometheus")))
            .arg(format!("--web.listen-address={http}"))
            .arg("--enable-feature=exemplar-storage");
        let process = Process::start(&mut command, &folder.join("prometheus.log"), || {
            get(http, "/-/ready").is_some()
        });
        Some(Self { http, process })
    }

    /// What its API answers, null if it refuses: `/api/v1/targets`, for example.
    pub fn ask(&self, path: &str) -> Value {
        get_json(self.http, path)
    }

    /// The series that `query` finds now, each with its `metric` and `value`.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query)));
        let series = answer.pointer("/data/result").and_then(Value::as_array);
        series.cloned().unwrap_or_default()
    }

    /// Its process.
    pub const fn process(&self) -> &Process {
        &self.process
    }
}

/// What `promtool test rules` finds wrong, which plays the series of the file `tests` to the rules that it
/// names; empty if nothing, `None` if it is not installed.
///
/// # Panics
/// If it cannot be called.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
pub fn check_rules(tests: &Path) -> Option<String> {
    let output = Command::new(in_path("promtool")?)
        .args(["test", "rules"])
        .arg(tests)
        .output()
        .expect("call promtool");
    if output.status.success() {
        return Some(String::new());
    }
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// What `promtool check metrics` finds wrong in an exposition in the text format; empty if nothing,
/// `None` if it is not installed.
///
/// # Panics
/// If it cannot be called.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
pub fn check_metrics(exposition: &[u8]) -> Option<String> {
    let mut child = Command::new(in_path("promtool")?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(exposition)
        .expect("give promtool its input");
    drop(input);
    let output = child.wait_with_output().expect("wait for promtool");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success() || !said.is_empty(),
        "promtool says why"
    );
    Some(said)
}
