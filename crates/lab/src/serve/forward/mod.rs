//! The receiving side of the Fluent forward protocol, version 1.
//!
//! | on the wire | means |
//! |---|---|
//! | `[tag, time, record, option?]` | Message |
//! | `[tag, [[time, record], …], option?]` | Forward |
//! | `[tag, bin, option?]` | `PackedForward`; with `"compressed": "gzip"` in the options compressed |
//! | `nil` | heartbeat |
//! | `{"ack": chunk}` | our answer to a message whose options carry `chunk` |
//!
//! A message is acknowledged after the transaction that holds it is committed, never before. What is
//! no message closes the connection: nothing after it can be trusted. There is no handshake: the lab
//! has no shared key.

mod msgpack;
mod server;
mod wire;

pub(crate) use server::Forward;
