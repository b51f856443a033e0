//! The API as a client without any library calls it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::peers::{ANSWER_BYTES_MAX, ASK_BOUND, split_answer};

/// What the API server answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of HTTP; 0 if there was no answer.
    pub status: u16,
    /// The object, list or `Status`; a string if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether the request was done.
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// The object.
    ///
    /// # Panics
    /// If the request was refused; says why.
    #[track_caller]
    pub fn object(self) -> Value {
        assert!(self.is_success(), "refused: {} {}", self.status, self.body);
        self.body
    }

    /// Why the request was refused.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    pub fn refusal(&self) -> &str {
        assert!(!self.is_success(), "not refused: {}", self.body);
        let message = self.body.get("message").and_then(Value::as_str);
        message.or(self.body.as_str()).unwrap_or_default()
    }
}

/// Calls one API server with TLS.
#[derive(Debug)]
pub(super) struct Api {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Api {
    /// For the server at `address`, whose certificate `authority` has signed.
    #[expect(clippy::expect_used, reason = "what was just made is in order")]
    pub(super) fn new(address: SocketAddr, authority: &CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).expect("trust the authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions of the provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address,
            config: Arc::new(config),
        }
    }

    /// Sends one request as whom `token` proves.
    pub(super) fn send(&self, token: &str, method: &str, path: &str, body: &Body<'_>) -> Answer {
        match self.exchange(token, method, path, body) {
            Ok((status, body)) => Answer {
                status,
                body: serde_json::from_slice(&body)
                    .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()),
            },
            Err(error) => Answer {
                status: 0,
                body: error.to_string().into(),
            },
        }
    }

    fn exchange(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &Body<'_>,
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let stream = TcpStream::connect_timeout(&self.address, ASK_BOUND)?;
        stream.set_read_timeout(Some(ASK_BOUND))?;
        stream.set_write_timeout(Some(ASK_BOUND))?;
        // Request after request: none waits for a small packet's acknowledgement.
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let session =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        let Body { kind, text } = body;
        // HTTP/1.0: the answer ends with the connection and has no chunks.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Accept: application/json\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            text.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        split_answer(answer)
    }
}

/// What a request brings.
pub(super) struct Body<'a> {
    /// Its media type.
    pub(super) kind: &'static str,
    /// Itself.
    pub(super) text: &'a str,
}

impl Body<'static> {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        kind: "application/json",
        text: "",
    };
}
