//! What lies between TCP and HTTP on a server's side.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{Error, Identity};

/// How a server's connections begin. A type and not a choice while it runs: a program that serves
/// without TLS does not carry its code.
pub trait Transport: Clone + Send + Sync + 'static {
    /// What is spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Begins one.
    ///
    /// # Errors
    /// If the peer does not do its part.
    fn begin(&self, stream: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Nothing.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;

    async fn begin(&self, stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// TLS.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// As `identity`.
    ///
    /// # Errors
    /// [`Error::TlsSetup`] if TLS cannot be set up at all.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        Ok(Self(identity.config()?))
    }
}

impl Transport for Tls {
    type Stream = TlsStream<TcpStream>;

    async fn begin(&self, stream: TcpStream) -> io::Result<Self::Stream> {
        TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await
    }
}
