//! Documents of requests on their way to the verdict log, each once.

use std::collections::{HashSet, VecDeque};

use correlate::RequestEnded;
use model::ids::DocumentId;
use model::time::UnixNanos;
use pipeline::{Entry, OrderQueue, RequestEntry, VerdictLog};

use crate::span_lookup::SpanMemory;

/// Documents remembered as written; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 65_536;

/// What waits for room, and what was written already.
///
/// After a restart the ledger learns of recent requests once more; what was said about them before
/// stands.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    waiting: VecDeque<RequestEntry>,
    known: HashSet<DocumentId>,
    order: VecDeque<DocumentId>,
    memory: Option<SpanMemory>,
}

impl Requests {
    /// Remembers the documents that are in `log` and not older than `since`.
    pub(crate) fn recall(log: &VerdictLog, since: UnixNanos) -> Self {
        let mut requests = Self::default();
        let recalled = log.recent(since, |entry| {
            if let Entry::Request(request) = entry {
                requests.remember(request.id);
            }
        });
        if let Err(error) = recalled {
            tracing::warn!(%error, "documents of requests may be written again, under the same ids");
        }
        requests
    }

    /// Tells the exporter of spans, too.
    pub(crate) fn telling(self, memory: Option<SpanMemory>) -> Self {
        Self { memory, ..self }
    }

    /// Takes the document of a request of `service`, unless it was written before.
    pub(crate) fn add(&mut self, ended: RequestEnded, service: &str) {
        if let Some(memory) = &self.memory {
            memory.request(&ended);
        }
        let id = DocumentId::Request(ended.trace, ended.span);
        if !self.remember(id) {
            return;
        }
        let time = ended.summary.start;
        self.waiting.push_back(RequestEntry {
            id,
            home: time.day(),
            time,
            container: service.to_owned(),
            summary: ended.summary,
            verdict: ended.verdict,
        });
    }

    /// Writes what there is room for; the rest is tried again when there is more.
    pub(crate) fn drain(&mut self, order: &OrderQueue, log: &mut VerdictLog) {
        while let Some(request) = self.waiting.front() {
            if order.request(log, request).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// Answers whether the document was new.
    fn remember(&mut self, id: DocumentId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::document::RequestSummary;
    use model::ids::{SpanId, TraceId};
    use model::verdict::Verdict;

    fn ended(trace: u8) -> RequestEnded {
        RequestEnded {
            trace: TraceId([trace; 16]),
            span: SpanId([1; 8]),
            summary: RequestSummary::default(),
            verdict: Verdict::default(),
        }
    }

    #[test]
    fn a_request_that_is_told_of_again_has_one_document() {
        let mut requests = Requests::default();
        for trace in [1, 2, 1] {
            requests.add(ended(trace), "clm");
        }
        assert_eq!(requests.waiting.len(), 2);
    }
}
