//! An HTTP/1.1 client for one endpoint: connections kept alive and re-used, every wait bounded,
//! answers read whole up to a cap.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as LegacyError};
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::endpoint::Scheme;
use crate::{Endpoint, Error, TlsClient, TlsSettings, body};

/// The limits of a client.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time from sending a request to having its whole answer.
    pub request_timeout: Duration,
    /// Longest answer in bytes.
    pub reply_bytes_max: usize,
    /// Connections kept open while nothing is sent.
    pub idle_connections_max: usize,
    /// Whom to trust where the endpoint is `https`.
    pub tls: TlsSettings,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_mins(1),
            reply_bytes_max: 4 << 20,
            idle_connections_max: 4,
            tls: TlsSettings::default(),
        }
    }
}

/// A server that wants to be left alone for longer is asked again all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

impl Reply {
    /// `Retry-After`, in seconds or as a date, at most an hour. A date is compared with the server's own
    /// clock where the answer has its `Date`, so that two clocks that differ do no harm.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = |name| self.headers.get(name)?.to_str().ok().map(str::trim);
        let after = text(header::RETRY_AFTER)?;
        let wait = if let Ok(seconds) = after.parse() {
            Duration::from_secs(seconds)
        } else {
            let until = httpdate::parse_http_date(after).ok()?;
            let now = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
            let now = now.unwrap_or_else(SystemTime::now);
            // what is past waits no longer
            until.duration_since(now).unwrap_or_default()
        };
        Some(wait.min(RETRY_AFTER_MAX))
    }
}

/// Connections, and the TLS configuration they were made with.
type Pool = (Arc<ClientConfig>, Inner);
type Inner = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client for one endpoint. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    endpoint: Endpoint,
    settings: Arc<ClientSettings>,
    tls: TlsClient,
    current: Arc<Mutex<Option<Pool>>>,
}

impl HttpClient {
    /// Opens nothing and reads no file yet.
    pub fn new(endpoint: Endpoint, settings: ClientSettings) -> Self {
        Self {
            endpoint,
            tls: TlsClient::new(settings.tls.clone()),
            settings: Arc::new(settings),
            current: Arc::default(),
        }
    }

    /// Where it sends to.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `body` to the endpoint's path followed by `tail` (`/path?query`) and reads the answer,
    /// whatever its status.
    ///
    /// # Errors
    /// If there is no whole answer within the limits; whether the server acted on the request is
    /// not known then.
    pub async fn send(
        &self,
        method: Method,
        tail: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, Error> {
        let peer = self.endpoint.authority();
        let mut request = Request::builder()
            .method(method)
            .uri(self.url(tail))
            .body(Full::new(body))
            .map_err(|source| Error::Request {
                peer: peer.clone(),
                source,
            })?;
        *request.headers_mut() = headers;
        let exchange = self.exchange(&peer, request);
        timeout(self.settings.request_timeout, exchange)
            .await
            .map_err(|_| Error::Timeout {
                doing: "waiting for the answer of",
                peer: peer.clone(),
                limit: self.settings.request_timeout,
            })?
    }

    async fn exchange(&self, peer: &str, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let response = self
            .inner()?
            .request(request)
            .await
            .map_err(|error| exchange_error(peer, error))?;
        let (head, incoming) = response.into_parts();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body: body::read_capped(incoming, self.settings.reply_bytes_max).await?,
        })
    }

    fn url(&self, tail: &str) -> String {
        match self.endpoint.scheme() {
            Scheme::Tcp => format!("http://{}{tail}", self.endpoint),
            Scheme::Http | Scheme::Https => self.endpoint.url(tail),
        }
    }

    /// The connection pool; a new one if the files behind TLS changed.
    fn inner(&self) -> Result<Inner, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if self.endpoint.scheme() != Scheme::Https {
            if let Some((_, inner)) = current.as_ref() {
                return Ok(inner.clone());
            }
            let config = Arc::new(no_roots()?);
            let inner = build(&self.settings, ClientConfig::clone(&config));
            *current = Some((config, inner.clone()));
            return Ok(inner);
        }
        let config = self.tls.config()?;
        if let Some((_, inner)) = current
            .as_ref()
            .filter(|(known, _)| Arc::ptr_eq(known, &config))
        {
            return Ok(inner.clone());
        }
        let inner = build(&self.settings, ClientConfig::clone(&config));
        *current = Some((config, inner.clone()));
        Ok(inner)
    }
}

fn build(settings: &ClientSettings, config: ClientConfig) -> Inner {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http();
    let connector = match settings.tls.server_name.clone() {
        Some(name) => builder
            .with_server_name_resolver(move |_: &http::Uri| {
                rustls::pki_types::ServerName::try_from(name.clone())
                    .map_err(|error| -> Box<dyn std::error::Error + Send + Sync> { error.into() })
            })
            .enable_http1()
            .wrap_connector(tcp),
        None => builder.enable_http1().wrap_connector(tcp),
    };
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(settings.idle_connections_max)
        .build(connector)
}

/// For plain HTTP, where the system's roots would be read for nothing.
fn no_roots() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::TlsSetup)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn exchange_error(peer: &str, error: LegacyError) -> Error {
    let peer = peer.to_owned();
    if error.is_connect() && is_of_handshake(&error) {
        let source = std::io::Error::other(error);
        return Error::Tls { peer, source };
    }
    Error::Exchange {
        peer,
        connect: error.is_connect(),
        source: error.into(),
    }
}

/// Whether TLS failed, not TCP. An [`std::io::Error`] does not name what it wraps as its source.
fn is_of_handshake(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let io = error.downcast_ref::<std::io::Error>();
    // a peer that has accepted a connection ends it within the handshake
    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
        return true;
    }
    let wrapped = io.and_then(std::io::Error::get_ref);
    let below = wrapped.is_some_and(|wrapped| is_of_handshake(wrapped));
    below || error.source().is_some_and(is_of_handshake)
}
