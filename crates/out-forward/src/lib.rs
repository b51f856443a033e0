//! The Fluent forward protocol, version 1, as a destination: `PackedForward` messages with `EventTime`,
//! acknowledged one by one, several in flight on one connection.
//!
//! ```text
//!  Document ─▶ Encoder ─▶ entry entry entry … (one batch)
//!                              │
//!  TCP/TLS ─▶ [HELO PING PONG] ─▶ [tag, bin(entries), {chunk, size}] ─▶ … {ack: chunk} ─▶ Answer
//! ```
//! | module | is |
//! |---|---|
//! | `settings` | what an operator may say |
//! | `encoder` | documents as entries `[EventTime, record]` |
//! | `msgpack` | the little `MessagePack` that is needed, both ways |
//! | `wire` | the protocol's messages as bytes |
//! | `engine` | one connection's state: handshake, chunks in flight; no socket, no clock |
//! | `client` | opens connections |
//! | `task` | moves bytes between engine, socket and lane |
//!
//! An acknowledgement is believed only if it names a chunk that is in flight, byte for byte. Whatever
//! else a receiver says ends the connection, and everything in flight is answered with "retry":
//! sending twice is harmless because documents carry ids, losing is not.
//!
//! It deliberately knows no batching, retry budget or dead letters: those are the lane's.
//!
//! ```
//! use out_forward::{Forward, ForwardSettings, Metrics};
//!
//! let settings = ForwardSettings::new("fluentd.logging:24224".parse()?);
//! let metrics = Metrics::new(&prometheus::Registry::new())?;
//! let output = Forward::new(settings, metrics)?; // a `pipeline::output::Output`
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod encoder;
mod engine;
mod error;
mod keys;
mod metrics;
mod msgpack;
mod settings;
mod task;
mod wire;

pub use encoder::ForwardEncoder;
pub use error::Error;
pub use metrics::Metrics;
pub use settings::{Compression, ForwardSettings};
pub use task::Forward;
