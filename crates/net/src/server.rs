//! An HTTP/1.1 server: a listener, a limit on connections, a limit on the time a request head may
//! take, and an orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::transport::{Plain, Tls, Transport};
use crate::{Error, Identity};

/// Most that is read of a connection at once, and so the longest head of a request. No power of two:
/// what lives long is often that large, and would keep the pages of an allocator that these lie in.
const BUFFER_BYTES_MAX: usize = 24 << 10;
/// How long the server waits after the system refused to accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Connections at one time; further ones wait in the listener's queue.
    pub connections_max: usize,
    /// Longest time a request head may take; an idle connection is closed after as long.
    pub header_timeout: Duration,
    /// Longest wait, after the stop, for requests that are being answered.
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            connections_max: 128,
            header_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Who sent a request; an extension of every request the server hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A bound listener that is not served yet.
#[derive(Debug)]
pub struct Server<T = Plain> {
    listener: TcpListener,
    settings: ServerSettings,
    transport: T,
}

impl Server {
    /// Binds `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Listen`] if the address cannot be bound.
    pub async fn bind(address: SocketAddr, settings: ServerSettings) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen {
                address: address.to_string(),
                source,
            })?;
        Ok(Self {
            listener,
            settings,
            transport: Plain,
        })
    }

    /// Speaks TLS, as `identity`.
    ///
    /// # Errors
    /// [`Error::TlsSetup`] if TLS cannot be set up at all.
    pub fn with_tls(self, identity: &Identity) -> Result<Server<Tls>, Error> {
        Ok(Server {
            listener: self.listener,
            settings: self.settings,
            transport: Tls::new(identity)?,
        })
    }
}

impl<T: Transport> Server<T> {
    /// Where it listens.
    ///
    /// # Errors
    /// [`Error::Listen`] if the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|source| Error::Listen {
            address: "unknown address".to_owned(),
            source,
        })
    }

    /// Answers requests with `handler` until `stop`; then closes idle connections, lets running
    /// requests end within the drain limit, and returns.
    ///
    /// The handler gets the body as a stream and decides itself how much of it to read
    /// ([`crate::body`]).
    pub async fn serve<H, F, B>(self, handler: H, stop: CancellationToken)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.serve_and_leave(handler, CancellationToken::new(), stop)
            .await;
    }

    /// The same, in two steps: from `leave` on, connections end as soon as they are idle, and new ones
    /// after one answer, so that whoever comes again finds another server behind the same name; at
    /// `stop` nobody is let in any more.
    pub async fn serve_and_leave<H, F, B>(
        self,
        handler: H,
        leave: CancellationToken,
        stop: CancellationToken,
    ) where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let room = Arc::new(Semaphore::new(self.settings.connections_max));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                continue;
            };
            let connection = Connection {
                peer,
                header_timeout: self.settings.header_timeout,
                leave: leave.clone(),
                stop: stop.clone(),
            };
            let (handler, transport) = (handler.clone(), self.transport.clone());
            connections.spawn(async move {
                connection.serve(stream, transport, handler).await;
                drop(permit);
            });
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(self.settings.drain_timeout, drained).await.is_err() {
            tracing::warn!("requests were still being answered at the end of the drain time");
        }
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One connection.
struct Connection {
    peer: SocketAddr,
    header_timeout: Duration,
    leave: CancellationToken,
    stop: CancellationToken,
}

impl Connection {
    async fn serve<T, H, F, B>(self, stream: TcpStream, transport: T, handler: H)
    where
        T: Transport,
        H: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let peer = self.peer;
        let begun = stream.set_nodelay(true).map(|()| transport.begin(stream));
        let begun = async { timeout(self.header_timeout, begun?).await? };
        let stream = tokio::select! {
            begun = begun => begun,
            () = self.stop.cancelled() => return,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "connection ended before it began");
                return;
            }
        };
        // who comes while we leave has an answer first
        let end = if self.leave.is_cancelled() {
            self.stop.clone()
        } else {
            self.leave.clone()
        };
        let going = async {
            tokio::select! {
                () = end.cancelled() => {}
                () = self.stop.cancelled() => {}
            }
        };
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let (response, leave) = (handler(request), self.leave.clone());
            async move {
                let mut response = response.await;
                if leave.is_cancelled() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = going => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = crate::chain(&error), "connection ended early");
        }
    }
}
