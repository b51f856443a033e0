//! A line of the ingress gateway's access log as a claim about a trace. Pure.
//!
//! Envoy writes one record when a request ends and, if told to, one when it begins
//! (`access_log_type` `DownstreamStart`). What a record is worth:
//!
//! | record | claim |
//! |---|---|
//! | begin, with a user | that user |
//! | begin, without | none: the token is proven later |
//! | end, refused by the gateway itself (401 or 403, no upstream) | nobody: whatever user the header named was not proven |
//! | end, with a user | that user |
//! | end, without | nobody: the trace was used by somebody unknown |
//!
//! "Nobody" contradicts a user of the same trace: the trace names nobody any more.

use std::sync::Arc;

use model::ids::TraceId;
use model::time::UnixNanos;
use model::verdict::{User, UserSource};
use serde::Deserialize;
use serde::de::Error as _;

use crate::store::Claim;
use crate::wire::is_name;

/// The members that matter; whatever else stands in the line is stepped over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    access_log_type: Lenient,
    b3: Lenient,
    b3_traceid: Lenient,
    response_code: Lenient,
    start_time: Lenient,
    status: Lenient,
    trace_id: Lenient,
    upstream_host: Lenient,
    user_hdr: Lenient,
    user_jwt: Lenient,
    x_b3_traceid: Lenient,
    x_user_id: Lenient,
}

/// A member that is a string, a number, or of no use.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Lenient {
    Text(String),
    Number(u64),
    #[default]
    Absent,
    Other(serde::de::IgnoredAny),
}

impl Lenient {
    /// Envoy writes `-` for what is not there.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() && text != "-" => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => self.text()?.parse().ok(),
        }
    }
}

/// What a line claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) trace: TraceId,
    pub(crate) claim: Claim,
    pub(crate) at: UnixNanos,
}

/// Reads one line. `Ok(None)` for a record that claims nothing.
pub(crate) fn read(line: &[u8]) -> Result<Option<Record>, serde_json::Error> {
    // A list would be taken for the members in the order in which they are declared here.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(serde_json::Error::custom("an access record is an object"));
    }
    let line: Line = serde_json::from_slice(line)?;
    let Some(trace) = line.trace() else {
        return Ok(None);
    };
    let user = line.user();
    let begins = line
        .access_log_type
        .text()
        .is_some_and(|kind| kind.ends_with("Start"));
    let claim = match user {
        Some(_) if !begins && line.refused() => Claim::Nobody,
        Some(user) => Claim::User(user),
        None if begins => return Ok(None),
        None => Claim::Nobody,
    };
    let at = line.start_time.text().unwrap_or_default();
    Ok(Some(Record {
        trace,
        claim,
        at: UnixNanos::parse_rfc3339(at.as_bytes()).unwrap_or_default(),
    }))
}

impl Line {
    fn trace(&self) -> Option<TraceId> {
        let b3 = self.b3.text().and_then(|b3| b3.split('-').next());
        [
            self.x_b3_traceid.text(),
            b3,
            self.b3_traceid.text(),
            self.trace_id.text(),
        ]
        .into_iter()
        .flatten()
        .find_map(|id| TraceId::parse(id.as_bytes()))
    }

    /// The claim that the gateway verified counts more than the header.
    fn user(&self) -> Option<User> {
        [&self.user_jwt, &self.user_hdr, &self.x_user_id]
            .into_iter()
            .filter_map(Lenient::text)
            .find(|id| is_name(id))
            .map(|id| User {
                id: Arc::from(id),
                source: UserSource::Gateway,
            })
    }

    fn refused(&self) -> bool {
        let status = self.response_code.number().or_else(|| self.status.number());
        matches!(status, Some(401 | 403)) && self.upstream_host.text().is_none()
    }
}
