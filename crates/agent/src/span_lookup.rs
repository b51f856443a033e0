//! What the exporter of spans asks: the ledger, and what outlives the ledger's memory while a
//! receiver is away.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use correlate::RequestEnded;
use head::SharedLedger;
use model::evidence::{SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use model::span::Span;
use model::time::UnixNanos;
use model::verdict::User;
use out_otlp::{Lookup, Request, Route};

/// Requests remembered; the ledger forgets them half a minute after their end.
const REQUESTS_MAX: usize = 8_192;
/// Longest path that is remembered: a longer one is told as its span has it, in lower case.
const PATH_BYTES_MAX: usize = 512;
/// Requests are remembered so long after the last that ended, in nanoseconds: spans that wait longer
/// go without what the ledger knew.
const REMEMBER: u64 = 3_600_000_000_000;
/// Passes of metrics pollers remembered: hours of them.
const POLLS_MAX: usize = 4_096;
/// The root span of one pass of a metrics poller.
const POLL: &str = "get-metrics";

/// What is remembered for spans that wait long. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanMemory(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    polls: HashSet<TraceId>,
    polls_order: VecDeque<TraceId>,
    requests: HashMap<(TraceId, SpanId), Request>,
    requests_order: VecDeque<((TraceId, SpanId), UnixNanos)>,
}

impl SpanMemory {
    /// A span came in.
    pub(crate) fn span(&self, span: &SpanFacts<'_>) {
        if span.kind == SpanKind::Unset && span.name == POLL {
            self.poll(span.trace);
        }
    }

    fn poll(&self, trace: TraceId) {
        let mut memory = self.lock();
        if memory.polls.insert(trace) {
            memory.polls_order.push_back(trace);
        }
        if memory.polls_order.len() > POLLS_MAX
            && let Some(oldest) = memory.polls_order.pop_front()
        {
            memory.polls.remove(&oldest);
        }
    }

    /// A request ended, and what is known about it is known.
    pub(crate) fn request(&self, ended: &RequestEnded) {
        if ended.summary.protocol != "http" {
            return;
        }
        let request = Request {
            status: ended.summary.status,
            path: Some(&ended.summary.path)
                .filter(|path| path.len() <= PATH_BYTES_MAX)
                .cloned(),
        };
        let key = (ended.trace, ended.span);
        let end = ended.summary.start.plus(ended.summary.duration);
        let mut memory = self.lock();
        if memory.requests.insert(key, request).is_none() {
            memory.requests_order.push_back((key, end));
        }
        let before = end.minus(REMEMBER);
        while let Some((oldest, ended)) = memory.requests_order.front().copied() {
            if memory.requests_order.len() <= REQUESTS_MAX && ended >= before {
                break;
            }
            memory.requests_order.pop_front();
            memory.requests.remove(&oldest);
        }
    }

    /// Takes requests that end.
    pub(crate) fn listener(self) -> head::Listener {
        Box::new(move |ended| self.request(ended))
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers for the exporter.
pub(crate) struct LedgerLookup {
    ledger: SharedLedger,
    memory: SpanMemory,
    /// The trace that was asked for last, and whether it is a poll.
    last: Mutex<Option<(TraceId, bool)>>,
}

impl LedgerLookup {
    pub(crate) const fn new(ledger: SharedLedger, memory: SpanMemory) -> Self {
        Self {
            ledger,
            memory,
            last: Mutex::new(None),
        }
    }

    /// Forgets what was asked for: more may be known by now.
    pub(crate) fn refresh(&mut self) {
        *self.last.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Lookup for LedgerLookup {
    fn person(&self, span: &Span<'_>) -> Option<User> {
        let ledger = self.ledger.lock();
        ledger.person(span.trace, span.start, span.end())
    }

    fn request(&self, trace: TraceId, span: SpanId) -> Option<Request> {
        let ledger = self.ledger.lock();
        let served = ledger.served(trace, span).map(|served| Request {
            status: served.status,
            path: served.path.map(without_query),
        });
        served
            .filter(|request| request.status != 0)
            .or_else(|| self.memory.lock().requests.get(&(trace, span)).cloned())
    }

    fn route<'a>(&self, method: &str, path: &'a str) -> Option<Route<'a>> {
        let (template, parameters) = self.ledger.lock().route(method, path)?;
        Some(Route {
            template,
            parameters,
        })
    }

    fn is_metrics_poll(&self, trace: TraceId) -> bool {
        // spans of a trace come together
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, is_poll)) = last.filter(|(known, _)| *known == trace) {
            return is_poll;
        }
        let known = self.memory.lock().polls.contains(&trace);
        let is_poll = known || self.ledger.lock().is_poll(trace);
        if is_poll && !known {
            self.memory.poll(trace);
        }
        *last = Some((trace, is_poll));
        is_poll
    }

    fn redact(&self, key: &str, text: &str) -> Option<String> {
        decode::redact(key, text)
    }
}

fn without_query(path: &str) -> String {
    path.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::document::RequestSummary;
    use model::verdict::Verdict;

    const T0: UnixNanos = UnixNanos(1_795_406_976_000_000_000);

    fn ended(number: u64, at: UnixNanos, path: &str) -> RequestEnded {
        RequestEnded {
            trace: TraceId([1; 16]),
            span: SpanId(number.to_be_bytes()),
            summary: RequestSummary {
                protocol: "http",
                path: path.to_owned(),
                status: 200,
                start: at,
                ..RequestSummary::default()
            },
            verdict: Verdict::default(),
            traced: true,
            front: None,
            parent: None,
        }
    }

    fn known(memory: &SpanMemory, number: u64) -> Option<Request> {
        let key = (TraceId([1; 16]), SpanId(number.to_be_bytes()));
        memory.lock().requests.get(&key).cloned()
    }

    #[test]
    fn requests_are_bounded_by_number() {
        let memory = SpanMemory::default();
        for number in 1..=REQUESTS_MAX as u64 + 5 {
            memory.request(&ended(number, T0, "/v2/Projects"));
        }
        assert_eq!(memory.lock().requests.len(), REQUESTS_MAX);
        assert_eq!(memory.lock().requests_order.len(), REQUESTS_MAX);
        assert!(known(&memory, 5).is_none() && known(&memory, 6).is_some());
    }

    #[test]
    fn requests_are_bounded_by_time() {
        let memory = SpanMemory::default();
        memory.request(&ended(1, T0, "/v2/Projects"));
        memory.request(&ended(2, T0.plus(REMEMBER), "/v2/Projects"));
        assert!(known(&memory, 1).is_some());
        memory.request(&ended(3, T0.plus(REMEMBER + 1), "/v2/Projects"));
        assert!(known(&memory, 1).is_none() && known(&memory, 2).is_some());
    }

    #[test]
    fn a_long_path_is_not_kept_but_its_status_is() {
        let memory = SpanMemory::default();
        memory.request(&ended(1, T0, &"/x".repeat(PATH_BYTES_MAX)));
        let request = known(&memory, 1).unwrap();
        assert_eq!((request.status, request.path), (200, None));
    }
}
