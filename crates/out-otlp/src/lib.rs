//! Traces out: EMCO's spans in the shape that OpenTelemetry's conventions ask for, to any OTLP
//! receiver over HTTP.
//!
//! ```text
//! SpanFacts ─▶ Rules ── noise ─▶ dropped, counted
//!                └─ Span ─▶ Batch (shape) ─▶ Exporter ─▶ opentelemetry-otlp ─▶ POST /v1/traces
//!                                 ▲ Lookup: person, status, route, redaction
//! ```
//!
//! EMCO's exporter speaks Zipkin and loses much on the way; shaping brings it back:
//!
//! | EMCO sends | exported |
//! |---|---|
//! | no kind, name `post /v2/projects/p1` | SERVER, `POST /v2/projects/{project}`, `http.*`, `url.path`, `emco.project` in its own case |
//! | no status | `http.response.status_code` of the access record, the gRPC code, `error`: status and `error.type` by the conventions |
//! | name `installapp/installapp` | `installapp/InstallApp` from `rpc.service` and `rpc.method` |
//! | annotation `message: {…}` | event `message` with its attributes |
//! | `db.statement` with everything in it | masked and shortened |
//! | nobody | `user.id` and `emco.user.source`, where the person is proven |
//! | trace ids of 64 bits | padded on the left |
//!
//! | module | is |
//! |---|---|
//! | `settings` | what an operator may say |
//! | `rules` | which spans are noise |
//! | `lookup` | what only the caller knows |
//! | `shape`, `attributes`, `events` | one span in its new shape |
//! | `moulds` | what spans of one form have in common in their new shape |
//! | `batch` | spans of one service, and what became of the others |
//! | `exporter` | one `opentelemetry-otlp` exporter a service |
//! | `client`, `wire` | its HTTP client: the encoded body is sent until there is an answer that is final |
//!
//! This crate deliberately does not know where spans come from, how long they waited, or what keeps
//! them over a restart: a batch that is not answered is the caller's to make again. It is the only
//! one that names `OpenTelemetry`'s crates, whose API moves often.
//!
//! ```
//! use out_otlp::{Exporter, Metrics, OtlpSettings};
//!
//! let settings = OtlpSettings::new("http://jaeger.tracing:4318".parse()?);
//! let metrics = Metrics::new(&prometheus::Registry::new())?;
//! let exporter = Exporter::new(settings, vec![("k8s.pod.name", "orchestrator-0".to_owned())], metrics)?;
//! # drop(exporter);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attributes;
mod batch;
mod client;
mod error;
mod events;
mod exporter;
mod lookup;
mod metrics;
mod moulds;
mod names;
mod rules;
mod settings;
mod shape;
mod wire;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use error::Error;
pub use exporter::{Exporter, Outcome};
pub use lookup::{Lookup, Request, Route};
pub use metrics::{Dropped, Metrics};
pub use names::Words;
pub use rules::{NoiseSettings, Rate, Rule, Rules};
pub use settings::{Compression, OtlpSettings};
