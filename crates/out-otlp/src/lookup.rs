//! What only the caller knows about a span.

use model::ids::{SpanId, TraceId};
use model::span::Span;
use model::verdict::User;

/// Answers from whoever keeps requests, people, routes and secrets.
pub trait Lookup {
    /// Who made the request that this span is a part of, if that is proven.
    fn person(&self, span: &Span<'_>) -> Option<User>;

    /// What is known about the request whose server span this is.
    fn request(&self, trace: TraceId, span: SpanId) -> Option<Request>;

    /// The route that serves `method` on `path` (any case).
    fn route<'a>(&self, method: &str, path: &'a str) -> Option<Route<'a>>;

    /// Whether the trace is one pass of a metrics poller.
    fn is_metrics_poll(&self, trace: TraceId) -> bool;

    /// `text` with its secrets masked; `None` if there are none. `key` names a secret by itself at
    /// times.
    fn redact(&self, key: &str, text: &str) -> Option<String>;
}

/// What access records say about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// HTTP status; 0 if not known.
    pub status: u16,
    /// Path without query in its original case, where a record gave it.
    pub path: Option<String>,
}

/// A route that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// E.g. `/v2/projects/{project}`.
    pub template: &'static str,
    /// Name and value of each path parameter.
    pub parameters: Vec<(&'static str, &'a str)>,
}
