//! What several parts share to speak to the network: endpoints, TCP and TLS clients, an HTTP/1.1
//! client and server, bodies with limits, back-off.
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | `host:port` and `http(s)://host:port/path` as settings write them |
//! | [`connect`] | a TCP or TLS connection with a time limit |
//! | [`tls`] | the client's TLS configuration, read again when its files change |
//! | [`client`] | an HTTP/1.1 client for one endpoint, with limits |
//! | [`secret`] | tokens and passwords in files |
//! | [`identity`] | the certificate that a server shows, replaced while it runs |
//! | [`server`] | an HTTP/1.1 server with limits and an orderly end, with TLS or without |
//! | [`transport`] | what lies between TCP and HTTP on a server's side |
//! | [`body`] | bodies read whole up to a cap, or decoded piece by piece |
//! | [`backoff`] | how long to wait before the next attempt |
//!
//! It deliberately knows no protocol above HTTP, no metrics, and nothing of what is sent. Nothing in
//! it ticks while there is nothing to do: a time limit exists only while something is awaited.
//!
//! ```
//! let endpoint: net::Endpoint = "https://elasticsearch.logging:9200/behind/a/proxy".parse()?;
//! let client = net::HttpClient::new(endpoint, net::ClientSettings::default());
//! assert_eq!(client.endpoint().url("/_bulk"), "https://elasticsearch.logging:9200/behind/a/proxy/_bulk");
//! # Ok::<(), net::Error>(())
//! ```

pub mod backoff;
pub mod body;
pub mod client;
pub mod connect;
pub mod endpoint;
mod error;
pub mod identity;
pub mod secret;
pub mod server;
pub mod tls;
pub mod transport;

pub use backoff::Backoff;
pub use client::{ClientSettings, HttpClient, Reply};
pub use connect::Stream;
pub use endpoint::{Endpoint, Scheme};
pub use error::{Error, chain};
pub use identity::Identity;
pub use server::{Server, ServerSettings};
pub use tls::{TlsClient, TlsSettings};
