//! The OpenTelemetry Collector: a second opinion on OTLP, and the program to compare our cost with.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Process, free_ports, installed};

/// Largest file that is read back, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A running Collector.
#[derive(Debug)]
pub struct Collector {
    /// Takes OTLP over HTTP (`/v1/traces`).
    pub otlp: SocketAddr,
    /// Takes OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// Takes Zipkin v2 (`/api/v2/spans`).
    pub zipkin: SocketAddr,
    /// The file that it writes, if it does: one request as OTLP JSON a line.
    pub traces: PathBuf,
    settings: PathBuf,
    process: Process,
}

impl Collector {
    /// One that writes what it receives into a file in `folder`, where its settings and log are, too;
    /// `None` if it is not installed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn to_file(folder: &Path) -> Option<Self> {
        let traces = folder.join("traces.jsonl");
        let exporter = json!({"file": {"path": traces, "flush_interval": "100ms", "append": true}});
        Self::start(folder, traces, "file", &exporter)
    }

    /// One that batches what it receives and sends it on to the OTLP receiver at `address`, as
    /// installations do, but not compressed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn onward(folder: &Path, address: SocketAddr) -> Option<Self> {
        let endpoint = format!("http://{address}");
        let exporter = json!({"otlphttp": {"endpoint": endpoint, "compression": "none"}});
        Self::start(folder, PathBuf::new(), "otlphttp", &exporter)
    }

    #[expect(clippy::expect_used, reason = "a test panics where it fails")]
    fn start(folder: &Path, traces: PathBuf, exporter: &str, exporters: &Value) -> Option<Self> {
        let program = installed("collector")?;
        let [otlp, otlp_grpc, zipkin] = free_ports();
        let settings = folder.join("collector.yaml");
        let processors: &[&str] = if exporter == "file" { &[] } else { &["batch"] };
        let text = json!({
            "receivers": {
                "otlp": {"protocols": {
                    "http": {"endpoint": otlp}, "grpc": {"endpoint": otlp_grpc},
                }},
                // its own default closes every connection after one body
                "zipkin": {"endpoint": zipkin, "keep_alives_enabled": true},
            },
            "processors": {"batch": {}},
            "exporters": exporters,
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {
                    "receivers": ["otlp", "zipkin"],
                    "processors": processors,
                    "exporters": [exporter],
                }},
            },
        });
        File::create(&settings)
            .and_then(|mut file| file.write_all(text.to_string().as_bytes()))
            .expect("write the settings of the Collector");
        let process = run(&program, &settings, [otlp, otlp_grpc, zipkin]);
        Some(Self {
            otlp,
            otlp_grpc,
            zipkin,
            traces,
            settings,
            process,
        })
    }

    /// Ends it: what it took is written, and nobody listens any more.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again where it was, with its file as it is.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        if let Some(program) = installed("collector") {
            let listens = [self.otlp, self.otlp_grpc, self.zipkin];
            self.process = run(&program, &self.settings, listens);
        }
    }

    /// The spans it has written so far, each with its `resource` and `scope` beside its own fields.
    ///
    /// # Panics
    /// If the file cannot be read or has something else in it.
    #[expect(clippy::expect_used, reason = "a test panics where it fails")]
    pub fn spans(&self) -> Vec<Value> {
        let file = File::open(&self.traces).expect("open the file of the Collector");
        let reader = BufReader::new(file.take(FILE_BYTES_MAX));
        let mut spans = Vec::new();
        for line in reader.lines() {
            let line = line.expect("read the file of the Collector");
            // A line may be written in parts; the next reading has it whole.
            let Ok(request) = serde_json::from_str::<Value>(&line) else {
                break;
            };
            for of_resource in list(&request, "resourceSpans") {
                for of_scope in list(of_resource, "scopeSpans") {
                    for span in list(of_scope, "spans") {
                        let mut span = span.clone();
                        for (key, value) in [
                            ("resource", of_resource.get("resource")),
                            ("scope", of_scope.get("scope")),
                        ] {
                            if let (Some(span), Some(value)) = (span.as_object_mut(), value) {
                                span.insert(key.to_owned(), value.clone());
                            }
                        }
                        spans.push(span);
                    }
                }
            }
        }
        spans
    }

    /// Its process.
    pub const fn process(&self) -> &Process {
        &self.process
    }
}

fn run(program: &Path, settings: &Path, listens: [SocketAddr; 3]) -> Process {
    let mut command = Command::new(program);
    command.arg("--config").arg(settings);
    Process::start(&mut command, &settings.with_extension("log"), || {
        listens
            .iter()
            .all(|address| TcpStream::connect(address).is_ok())
    })
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
