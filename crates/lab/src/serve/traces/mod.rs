//! OTLP traces in, over HTTP: what Jaeger or a collector would take from a sidecar.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/traces`, `application/x-protobuf` | 200 after the commit; spans without valid ids as `partial_success` |
//! | the same, `application/json` | the same, as JSON |
//! | `Content-Encoding: gzip` | understood |
//! | what cannot be read | 400, too long 413, another content type 415, a store or a relay that does not answer 503 |
//!
//! With `--relay-traces` a request is sent on before it is answered, so that whoever sends it again
//! until it is answered serves both. A span is known by its trace, its own id and its service: sent again it is counted, not kept twice.

mod relay;
mod server;
mod wire;

pub(crate) use self::relay::Relay;
pub(crate) use self::server::Receiver;
