//! Sends traces on to another receiver.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{ClientSettings, Endpoint, HttpClient};

/// Why the other receiver does not have the traces.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{}", net::chain(.0))]
    Net(#[from] net::Error),
    #[error("the receiver is busy")]
    Busy,
}

/// Another receiver of OTLP over HTTP.
#[derive(Debug)]
pub(crate) struct Relay(HttpClient);

impl Relay {
    /// The one at `endpoint`; nothing is opened yet.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self(HttpClient::new(endpoint, ClientSettings::default()))
    }

    /// Sends one request as it came, but not compressed.
    ///
    /// # Errors
    /// If it should be sent again; what the receiver refuses for good is only said in the log.
    pub(super) async fn send(&self, content_type: &'static str, body: Bytes) -> Result<(), Error> {
        let content_type = HeaderValue::from_static(content_type);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        let sent = self.0.send(Method::POST, "/v1/traces", headers, body);
        match sent.await?.status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Error::Busy),
            status if status.is_success() => Ok(()),
            // It would say so again and again.
            status => {
                tracing::warn!(%status, peer = %self.0.endpoint(), "traces not wanted there");
                Ok(())
            }
        }
    }
}
