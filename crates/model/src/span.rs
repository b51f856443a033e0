//! A whole span as its sender wrote it: what [`crate::evidence::SpanFacts`] leaves out as well.

use std::borrow::Cow;

use crate::evidence::SpanKind;
use crate::ids::{SpanId, TraceId};
use crate::time::UnixNanos;

/// A span, borrowed from the text it stands in; strings with escapes are owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span<'a> {
    /// Its trace.
    pub trace: TraceId,
    /// Its own id.
    pub span: SpanId,
    /// Its parent; roots have none.
    pub parent: Option<SpanId>,
    /// Which side of a call.
    pub kind: SpanKind,
    /// Lower-cased by EMCO's exporter.
    pub name: Cow<'a, str>,
    /// `localEndpoint.serviceName`.
    pub service: Cow<'a, str>,
    /// `remoteEndpoint.serviceName`; empty if there is none.
    pub remote: Cow<'a, str>,
    /// Start.
    pub start: UnixNanos,
    /// Duration in nanoseconds; 0 if the span has none.
    pub duration: u64,
    /// Whether the span says it failed.
    pub failed: bool,
    /// Key and value, in the sender's order; numbers and booleans as they were written.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What happened meanwhile, in the sender's order.
    pub annotations: Vec<Annotation<'a>>,
}

/// A moment inside a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// When.
    pub at: UnixNanos,
    /// What; EMCO writes `name` or `name: {attributes as JSON}`.
    pub text: Cow<'a, str>,
    /// The same, where the reader saw that it is a message of a call; then there need be no text.
    pub message: Option<Message>,
}

/// What gRPC's instrumentation notes for each message of a call:
/// `message: {"message.id":1,"message.type":"SENT","message.uncompressed_size":31}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in the call.
    pub id: i64,
    /// Whether it was sent and not received.
    pub sent: bool,
    /// Its size.
    pub bytes: i64,
}

impl Span<'_> {
    /// When the work ended.
    pub const fn end(&self) -> UnixNanos {
        self.start.plus(self.duration)
    }

    /// The value of a tag; of several the last one counts.
    pub fn tag(&self, key: &str) -> Option<&str> {
        let mut tags = self.tags.iter().rev();
        tags.find(|(own, _)| own == key)
            .map(|(_, value)| value.as_ref())
    }
}
