//! A line of the ingress gateway's access log as a claim about a trace. Pure.
//!
//! Envoy writes one record when a request ends and, if told to, one when it begins
//! (`access_log_type` `DownstreamStart`). What a record is worth:
//!
//! | record | claim |
//! |---|---|
//! | begin, with a user that counts then | that user, and the request runs |
//! | begin, otherwise | somebody, who is proven later |
//! | end, refused by the gateway itself (401 or 403, no upstream) | nobody: whatever user the header named was not proven |
//! | end, with a user | that user, and the request is over |
//! | end, without | nobody: the trace was used by somebody unknown |
//!
//! "Nobody" contradicts a user of the same trace: the trace names nobody any more.
//!
//! Envoy writes the record of a beginning before its filters have proven, overwritten or removed
//! anything: a header in it is what the caller sent. It counts only where the operator says that
//! something in front of the gateway proves it.

use std::sync::Arc;

use model::fact::TraceUser;
use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;
use model::verdict::{User, UserSource};
use serde::Deserialize;
use serde::de::Error as _;

use crate::store::{Claim, Statement};
use crate::wire::is_name;

/// The members that matter; whatever else stands in the line is stepped over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    access_log_type: Lenient,
    b3: Lenient,
    b3_parentspanid: Lenient,
    b3_spanid: Lenient,
    b3_traceid: Lenient,
    duration: Lenient,
    duration_ms: Lenient,
    log_type: Lenient,
    response_code: Lenient,
    start_time: Lenient,
    status: Lenient,
    trace_id: Lenient,
    ts: Lenient,
    upstream_host: Lenient,
    user_hdr: Lenient,
    user_jwt: Lenient,
    x_b3_parentspanid: Lenient,
    x_b3_spanid: Lenient,
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
    pub(crate) statement: Statement,
}

/// Reads one line; `at_begin`: whether a user counts in the record of a request's beginning.
/// `Ok(None)` for a record that claims nothing.
pub(crate) fn read(line: &[u8], at_begin: bool) -> Result<Option<Record>, serde_json::Error> {
    // A list would be taken for the members in the order in which they are declared here.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(serde_json::Error::custom("an access record is an object"));
    }
    let line: Line = serde_json::from_slice(line)?;
    let Some(trace) = line.trace() else {
        return Ok(None);
    };
    let begins = line.begins();
    let claim = match line.user() {
        Some(user) if begins && at_begin => Claim::User(user),
        _ if begins => Claim::Somebody,
        Some(user) if !line.refused() => Claim::User(user),
        _ => Claim::Nobody,
    };
    let at = line.start();
    let statement = Statement {
        exclusive: line.made(trace),
        claim,
        at: at.unwrap_or_default(),
        until: match at {
            Some(_) if begins => TraceUser::RUNS,
            Some(at) => at.plus(line.duration()),
            None => UnixNanos::default(),
        },
    };
    Ok(Some(Record { trace, statement }))
}

impl Line {
    fn begins(&self) -> bool {
        let kind = self.access_log_type.text().or_else(|| self.log_type.text());
        kind.is_some_and(|kind| kind.ends_with("Start"))
    }

    fn start(&self) -> Option<UnixNanos> {
        let start = self.start_time.text().or_else(|| self.ts.text())?;
        UnixNanos::parse_rfc3339(start.as_bytes())
    }

    /// In nanoseconds.
    fn duration(&self) -> u64 {
        let millis = self.duration.number().or_else(|| self.duration_ms.number());
        UnixNanos::from_millis(millis.unwrap_or_default()).0
    }

    /// Whether the gateway made the trace: it ends in the gateway's own span, which has no parent. A
    /// caller's trace cannot, because the gateway gives its span an id of its own.
    fn made(&self, trace: TraceId) -> bool {
        let mut b3 = self.b3.text().unwrap_or_default().split('-').skip(1);
        let span = [self.x_b3_spanid.text(), self.b3_spanid.text(), b3.next()];
        let parent = [
            self.x_b3_parentspanid.text(),
            self.b3_parentspanid.text(),
            b3.nth(1),
        ];
        let ids = span.into_iter().flatten();
        let mut own = ids.filter_map(|id| SpanId::parse(id.as_bytes()));
        parent == [None; 3] && own.next().is_some_and(|own| trace.0.ends_with(&own.0))
    }

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
