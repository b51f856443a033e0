//! Answers `POST /v1/traces`.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Incoming as Body;
use net::body::Pieces;

use super::relay::{self, Relay};
use super::wire::Form;
use crate::serve::http::{Answer, answer};
use crate::serve::metrics::Metrics;
use crate::serve::store::{self, Store};

/// Longest body after decompression, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Seconds after which a sender may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Body(#[from] net::Error),
    #[error("the body is no export request: {0}")]
    Request(String),
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("the spans are stored, but not sent on: {0}")]
    Relay(#[from] relay::Error),
}

impl Error {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Body(net::Error::BodyTooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(_) | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Store(_) | Self::Relay(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Takes traces.
pub(crate) struct Receiver<'a> {
    /// Keeps them.
    pub(crate) store: &'a Store,
    /// Counts them.
    pub(crate) metrics: &'a Metrics,
    /// Gets them, too.
    pub(crate) relay: Option<&'a Relay>,
}

impl Receiver<'_> {
    /// `POST /v1/traces`
    pub(crate) async fn export(&self, headers: &HeaderMap, body: Body) -> Answer {
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let Some(form) = Form::of(content_type.unwrap_or_default()) else {
            let text = "traces come as application/x-protobuf or application/json";
            return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain", text);
        };
        match self.take(form, headers, body).await {
            Ok(refused) => answer(StatusCode::OK, form.content_type(), form.answer(refused)),
            Err(error) => refuse(form, &error),
        }
    }

    /// Stores what is in the body; answers how many spans have no valid ids.
    async fn take(&self, form: Form, headers: &HeaderMap, body: Body) -> Result<i64, Error> {
        let mut pieces = Pieces::new(body, headers, BODY_BYTES_MAX)?;
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.next().await? {
            whole.extend_from_slice(&piece);
        }
        // As a message and as rows, both at the same time.
        let room = self.store.room(whole.len().saturating_mul(2)).await?;
        let request = form.read(&whole).map_err(Error::Request)?;
        let outcome = self.store.write_spans(request.spans, room).await?;
        self.metrics.count_spans(outcome, request.refused);
        if let Some(relay) = self.relay {
            relay.send(form.content_type(), whole.freeze()).await?;
        }
        Ok(request.refused)
    }
}

fn refuse(form: Form, error: &Error) -> Answer {
    tracing::warn!(%error, "traces refused");
    let status = error.status();
    let text = form.refusal(&error.to_string());
    let mut answer = answer(status, form.content_type(), text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    answer
}
