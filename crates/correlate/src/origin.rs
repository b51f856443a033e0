//! Everything that can have printed a line: requests, workers, pollers.

use model::ids::{SpanId, TraceId};
use model::line::NameKey;

use crate::busy::Busy;
use crate::callmap::Roots;
use crate::line::Waiting;

/// No entry point is known for the origin.
pub(crate) const NO_ENTRY: u8 = u8::MAX;

/// What kind of work an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request over HTTP or gRPC; the entry point, or [`NO_ENTRY`] if no route fits.
    Request {
        /// Index in the call map.
        entry: u8,
        /// Whether the route is one of the call map's (else any code may run for it).
        routed: bool,
    },
    /// Work with a root span of its own: the goroutine roots it may be.
    Root(Roots),
    /// A trace of which only client spans were seen yet: a request or a root.
    Unknown,
}

/// One origin: a row of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) kind: Kind,
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    pub(crate) proxy_span: Option<SpanId>,
    /// First and last moment in which it may print, tolerances included; the end is `u64::MAX`
    /// while it is not known.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether its own (server or root) span has arrived.
    pub(crate) complete: bool,
    /// Start of its first client span.
    pub(crate) first_call: u64,
    /// End of its last client span.
    pub(crate) last_call: u64,
    /// Whether being inside a client span does not silence it.
    pub(crate) multi_threaded: bool,
    pub(crate) busy: Busy,
    pub(crate) names: Vec<(NameKey, Box<str>)>,
    pub(crate) request: Option<Box<RequestFacts>>,
    /// Lines attributed to it.
    pub(crate) lines: u64,
    /// Whether its document is under way.
    pub(crate) reported: bool,
    /// Whether the hub was asked whose trace it is.
    pub(crate) asked: bool,
}

/// What is known about a request besides its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestFacts {
    pub(crate) grpc: bool,
    pub(crate) method: String,
    /// Raw path with query where an access record gave it, else the lower-cased one of the span.
    pub(crate) path: String,
    pub(crate) path_exact: bool,
    pub(crate) status: u16,
    pub(crate) failed: bool,
    /// Unwidened times.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Origin {
    pub(crate) fn new(kind: Kind, start: u64) -> Self {
        Self {
            kind,
            trace: None,
            span: None,
            proxy_span: None,
            start,
            end: u64::MAX,
            complete: false,
            first_call: u64::MAX,
            last_call: 0,
            multi_threaded: false,
            busy: Busy::default(),
            names: Vec::new(),
            request: None,
            lines: 0,
            reported: false,
            asked: false,
        }
    }

    /// Whether it may have been at work when the line was printed.
    pub(crate) fn maybe_open(&self, line: &Waiting) -> bool {
        self.start <= line.time && line.time.saturating_sub(line.slack) <= self.end
    }

    /// When it had begun for sure: an origin of which only calls are known began before the first.
    pub(crate) fn surely_since(&self) -> u64 {
        match self.kind {
            Kind::Unknown => self.first_call,
            _ => self.start,
        }
    }

    /// The last moment at which it is known to have been at work.
    pub(crate) fn last_sign(&self) -> u64 {
        self.start.max(self.last_call)
    }

    pub(crate) fn open_at(&self, time: u64) -> bool {
        self.start <= time && time <= self.end
    }

    /// Whether the origin waits inside one client span from `from` to `to` and prints nothing.
    pub(crate) fn blocked(&self, from: u64, to: u64) -> bool {
        !self.multi_threaded && self.busy.covers(from, to)
    }

    /// Whether a name of the origin says otherwise than the line's.
    pub(crate) fn contradicts(&self, key: NameKey, value: &str) -> bool {
        contradicts(&self.names, key, value)
    }
}

/// Whether `names` give `key` another value than `value` (case is damaged in span names).
pub(crate) fn contradicts(names: &[(NameKey, Box<str>)], key: NameKey, value: &str) -> bool {
    names
        .iter()
        .any(|(own, name)| *own == key && !name.eq_ignore_ascii_case(value))
}
