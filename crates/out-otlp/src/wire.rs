//! What the answer to an export means. Pure bytes: no socket, no clock.
//!
//! | status | means |
//! |---|---|
//! | 2xx | taken; the body may say how many spans were not (`partial_success`) |
//! | 413 | too large: less of it may be taken |
//! | 400, 415, 422, 501, 505 | never taken: sending it again changes nothing |
//! | everything else, 500 too | not now, or not here: an operator or time mends it, as long as the disk's share lasts |

use net::Reply;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::error::Error;

/// Path of the traces of OTLP over HTTP.
pub(crate) const TRACES: &str = "/v1/traces";
/// Most of the receiver's own words that are repeated.
const SAID_CHARS_MAX: usize = 200;

/// An answer that is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Taken, but for so many spans; with the receiver's reason.
    Taken {
        /// Spans that were not.
        rejected: u64,
        /// Why.
        said: String,
    },
    /// Too large.
    TooLarge,
    /// Never.
    Refused {
        /// The status.
        status: u16,
        /// Why.
        said: String,
    },
}

/// Judges an answer.
///
/// # Errors
/// If the same request may be taken later.
pub(crate) fn judge(reply: &Reply) -> Result<Judgement, Error> {
    let status = reply.status.as_u16();
    match status {
        200..=299 => Ok(taken(&reply.body)),
        413 => Ok(Judgement::TooLarge),
        400 | 415 | 422 | 501 | 505 => Ok(Judgement::Refused {
            status,
            said: shortened(&String::from_utf8_lossy(&reply.body)),
        }),
        _ => Err(Error::Status {
            status,
            after: reply.retry_after(),
            said: shortened(&String::from_utf8_lossy(&reply.body)),
        }),
    }
}

/// A body that is no protobuf (some receivers answer JSON, or nothing) says nothing against it.
fn taken(body: &[u8]) -> Judgement {
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    Judgement::Taken {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        said: shortened(&partial.error_message),
    }
}

fn shortened(text: &str) -> String {
    let printable = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    text.chars()
        .filter(printable)
        .take(SAID_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use std::time::Duration;

    use super::*;

    fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.into(),
        }
    }

    #[test]
    fn what_was_not_taken_is_said() {
        let response = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too\nold".to_owned(),
            }),
        };
        let judged = judge(&reply(200, response.encode_to_vec())).unwrap();
        let said = "tooold".to_owned();
        assert_eq!(judged, Judgement::Taken { rejected: 3, said });
    }

    #[test]
    fn any_body_of_a_success_is_a_success() {
        for body in [&b""[..], b"{}", b"{\"partialSuccess\":{}}", &[0xff; 9]] {
            let judged = judge(&reply(202, Bytes::copy_from_slice(body))).unwrap();
            assert!(matches!(judged, Judgement::Taken { rejected: 0, .. }));
        }
    }

    #[test]
    fn final_answers_are_told_from_those_that_time_mends() {
        assert_eq!(judge(&reply(413, "")).unwrap(), Judgement::TooLarge);
        for status in [400, 415, 422, 501, 505] {
            let judged = judge(&reply(status, "bad wire type")).unwrap();
            assert!(matches!(judged, Judgement::Refused { said, .. } if said == "bad wire type"));
        }
        for status in [301, 401, 403, 404, 408, 429, 500, 502, 503, 504, 507] {
            let error = judge(&reply(status, "no")).unwrap_err();
            assert_eq!(
                error.retry_after(),
                Some(Duration::from_secs(7)),
                "{status}"
            );
        }
    }
}
