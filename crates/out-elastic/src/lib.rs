//! The bulk API of Elasticsearch and OpenSearch as a destination, answered item by item.
//!
//! ```text
//!  Document ─▶ Encoder ─▶ {"create":{"_index":"emco-logs-2026.11.23","_id":"…"}}⏎{…}⏎   (one item)
//!                              │
//!              POST /_bulk ◀───┘        201 ─▶ delivered      409 ─▶ duplicate (done)
//!                                       429, 408, 5xx ─▶ retry    other 4xx ─▶ rejected
//! ```
//! `create` with our own id into an index whose name follows from the document alone makes sending
//! again harmless: the second copy meets the first one and is answered with 409.
//!
//! | module | is |
//! |---|---|
//! | `settings` | what an operator may say |
//! | `encoder` | documents as items |
//! | `json` | the JSON writer behind it |
//! | `wire` | what the answer to a bulk request means |
//! | `client` | one bulk request |
//! | `task` | several of them at a time, for a lane |
//!
//! It deliberately knows no batching, retry budget or dead letters: those are the lane's. It sets up
//! no templates: that is an installation step.
//!
//! ```
//! use out_elastic::{BulkEncoder, Elastic, ElasticSettings, Metrics};
//!
//! let settings = ElasticSettings::new("http://elasticsearch.logging:9200".parse()?);
//! let encoder = BulkEncoder::new(&settings);
//! let metrics = Metrics::new(&prometheus::Registry::new())?;
//! let output = Elastic::new(settings, metrics)?; // a `pipeline::output::Output`
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod encoder;
mod error;
mod json;
mod metrics;
mod settings;
mod task;
mod wire;

pub use encoder::BulkEncoder;
pub use error::Error;
pub use metrics::Metrics;
pub use settings::{Compression, ElasticSettings};
pub use task::Elastic;
