//! A connection to an endpoint, plain or TLS, made within a time limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Endpoint, Error, TlsClient};

/// A connection to a peer.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to `endpoint` by TCP, without delay of small writes; name resolution included, it takes
/// no longer than `limit`.
pub async fn tcp(endpoint: &Endpoint, limit: Duration) -> Result<TcpStream, Error> {
    let peer = endpoint.authority();
    let connected = timeout(
        limit,
        TcpStream::connect((endpoint.host(), endpoint.port())),
    )
    .await;
    let connect = |source| Error::Connect {
        peer: peer.clone(),
        source,
    };
    let stream = connected
        .map_err(|_| Error::Timeout {
            doing: "connecting to",
            peer: peer.clone(),
            limit,
        })?
        .map_err(connect)?;
    stream.set_nodelay(true).map_err(connect)?;
    Ok(stream)
}

/// Connects to `endpoint`, with TLS if `tls` is given; each of the two steps takes no longer than
/// `limit`.
pub async fn stream(
    endpoint: &Endpoint,
    tls: Option<&TlsClient>,
    limit: Duration,
) -> Result<Stream, Error> {
    let Some(tls) = tls else {
        return Ok(Stream::Plain(tcp(endpoint, limit).await?));
    };
    let config = tls.config()?;
    let peer = endpoint.authority();
    let failed = |source| Error::Tls {
        peer: peer.clone(),
        source,
    };
    let expected = tls.settings().server_name.as_deref();
    let name = ServerName::try_from(expected.unwrap_or(endpoint.host()).to_owned())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let plain = tcp(endpoint, limit).await?;
    let handshake = TlsConnector::from(config).connect(name, plain);
    let stream = timeout(limit, handshake)
        .await
        .map_err(|_| Error::Timeout {
            doing: "starting TLS with",
            peer: peer.clone(),
            limit,
        })?
        .map_err(failed)?;
    Ok(Stream::Tls(Box::new(stream)))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
