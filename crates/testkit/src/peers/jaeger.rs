//! Jaeger with its store in a folder: spans in, queries as its pages send them.
//!
//! Its store in memory finds nothing for `error=true` (2.13): it takes the text of the query for no
//! boolean, and looks for spans whose status is OK. The one on disk, as those of real installations,
//! indexes the tag that Jaeger makes of the status.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Process, free_ports, get, get_json, installed};

/// A running Jaeger.
#[derive(Debug)]
pub struct Jaeger {
    /// Takes OTLP over HTTP (`/v1/traces`).
    pub otlp: SocketAddr,
    /// Takes OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// Takes Zipkin v2 (`/api/v2/spans`).
    pub zipkin: SocketAddr,
    /// Answers queries (`/api/…`, `/api/v3/…`).
    pub query: SocketAddr,
    process: Process,
}

impl Jaeger {
    /// Starts one with its settings and its log in `folder`; `None` if it is not installed.
    ///
    /// # Panics
    /// If it does not start.
    #[expect(clippy::expect_used, reason = "a test panics where it fails")]
    pub fn start(folder: &Path) -> Option<Self> {
        let program = installed("jaeger")?;
        let [otlp, otlp_grpc, zipkin, query, query_grpc] = free_ports();
        let settings = folder.join("jaeger.yaml");
        let store = folder.join("jaeger-store");
        // it begins empty
        if let Err(error) = fs::remove_dir_all(&store) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{}", store.display());
        }
        let text = json!({
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": {"traces": {
                    "receivers": ["otlp", "zipkin"], "exporters": ["jaeger_storage_exporter"],
                }},
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": {
                "jaeger_storage": {"backends": {"store": {"badger": {
                    "ephemeral": false, "consistency": false,
                    "directories": {"keys": store.join("keys"), "values": store.join("values")},
                }}}},
                "jaeger_query": {
                    "storage": {"traces": "store"},
                    "http": {"endpoint": query}, "grpc": {"endpoint": query_grpc},
                },
            },
            "receivers": {
                "otlp": {"protocols": {
                    "http": {"endpoint": otlp}, "grpc": {"endpoint": otlp_grpc},
                }},
                "zipkin": {"endpoint": zipkin},
            },
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "store"}},
        });
        // JSON is a part of YAML.
        File::create(&settings)
            .and_then(|mut file| file.write_all(text.to_string().as_bytes()))
            .expect("write the settings of Jaeger");
        let mut command = Command::new(program);
        command.arg("--config").arg(&settings);
        let process = Process::start(&mut command, &folder.join("jaeger.log"), || {
            get(query, "/api/services").is_some()
        });
        Some(Self {
            otlp,
            otlp_grpc,
            zipkin,
            query,
            process,
        })
    }

    /// What a query answers, null if it refuses: `/api/traces?service=…&tags=…`, for example, with
    /// values [`encoded`](super::encoded).
    pub fn ask(&self, path: &str) -> Value {
        get_json(self.query, path)
    }

    /// Its process.
    pub const fn process(&self) -> &Process {
        &self.process
    }
}
