//! Everything that can have printed a line: requests, workers, pollers.

use std::collections::VecDeque;

use model::ids::{SpanId, TraceId};
use model::line::NameKey;

use crate::busy::Busy;
use crate::callmap::Roots;
use crate::calls::Calls;
use crate::line::Waiting;
use crate::steps::Work;

/// A worker makes a call each second.
pub(crate) const PAUSE: u64 = 3_000_000_000;
/// Failed calls remembered of one origin.
const FAILURES_MAX: usize = 64;

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
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, none is a state"
)]
pub(crate) struct Origin {
    pub(crate) kind: Kind,
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    pub(crate) proxy_span: Option<SpanId>,
    /// Parent of its own span: the proxy's span, if it came through one.
    pub(crate) parent: Option<SpanId>,
    /// First and last moment in which it may print, tolerances included; the end is `u64::MAX`
    /// while it is not known.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether its own (server or root) span has arrived.
    pub(crate) complete: bool,
    /// Whether it was counted as a request that sends none.
    pub(crate) untraced: bool,
    /// Start of its first client span.
    pub(crate) first_call: u64,
    /// End of its last client span.
    pub(crate) last_call: u64,
    /// The last pause between two calls that was longer than a worker pauses.
    pub(crate) pause: Option<(u64, u64)>,
    /// The `AppContext` that it works on, where that is proven.
    pub(crate) context: Option<Box<str>>,
    /// What it said about its work, if it is a worker.
    pub(crate) work: Option<Box<Work>>,
    /// Its calls, where they are needed.
    pub(crate) calls: Calls,
    /// Ends of the last calls that failed.
    pub(crate) failures: VecDeque<u64>,
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
            parent: None,
            start,
            end: u64::MAX,
            complete: false,
            untraced: false,
            first_call: u64::MAX,
            last_call: 0,
            pause: None,
            context: None,
            work: None,
            calls: Calls::default(),
            failures: VecDeque::new(),
            multi_threaded: false,
            busy: Busy::default(),
            names: Vec::new(),
            request: None,
            lines: 0,
            reported: false,
            asked: false,
        }
    }

    /// Gives back the room that is not needed.
    pub(crate) fn shrink(&mut self) {
        self.calls.shrink();
        self.busy.shrink();
        self.failures.shrink_to_fit();
        self.names.shrink_to_fit();
        if let Some(request) = &mut self.request {
            request.method.shrink_to_fit();
            request.path.shrink_to_fit();
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

    /// Notes a call: what pauses there are between calls, and whether it failed.
    pub(crate) fn call(&mut self, start: u64, end: u64, failed: bool) {
        if self.last_call != 0 && start > self.last_call.saturating_add(PAUSE) {
            self.pause = Some((self.last_call, start));
        } else if self
            .pause
            .is_some_and(|(from, to)| start < to && from < end)
        {
            self.pause = None;
        }
        self.last_call = self.last_call.max(end);
        if failed {
            self.failed_call(end);
        }
    }

    /// Notes that a call failed, which ended at `end`.
    fn failed_call(&mut self, end: u64) {
        if self.failures.len() >= FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(end);
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
