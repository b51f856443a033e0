//! Requests that ended, on their way to the verdict log: each has one document and is counted once.
//!
//! After a restart the ledger hears of recent requests once more. Those whose documents are in the
//! log were counted; so were those that ended before everything that is left of the log.

use std::collections::VecDeque;

use correlate::RequestEnded;
use correlate::census::{AccessLine, Census, Heard};
use model::evidence::{AccessFacts, Phase, ProxySide};
use model::ids::{DocumentId, SpanId, TraceId};
use model::line;
use model::time::UnixNanos;
use pipeline::head::Ticket;
use pipeline::tally::{Cell, Tally};
use pipeline::{Entry, OrderQueue, RequestEntry, VerdictLog};

use crate::metrics::RequestCounts;
use crate::remembered::Remembered;

/// Most requests that wait for room in the log, while its lanes cannot send.
const WAITING_MAX: usize = 8_192;
/// Most bytes of their texts.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// A request is in the log so long after its end at the latest, as a rule.
const LOGGED_WITHIN: u64 = 60_000_000_000;

/// What waits for its access line, what waits for room, and what was written already.
pub(crate) struct Requests {
    service: String,
    counts: RequestCounts,
    census: Census<Pending>,
    waiting: VecDeque<Settled>,
    waiting_bytes: usize,
    known: Remembered,
    /// Parents of the spans that were told of: a record of a proxy that comes later is of the same
    /// request.
    parents: Remembered,
    listener: Option<Listener>,
    /// Lines of the proxy that are to be written, now that what they move is known.
    moved: Vec<Moved>,
    /// Requests that ended before were counted by a process before this one.
    counted_until: UnixNanos,
}

/// Is told of every request that ends, once what is known of it is known.
pub type Listener = Box<dyn Fn(&RequestEnded) + Send>;

/// A line of the proxy, and the number that it moves when it is written.
pub(crate) type Moved = (Ticket, Option<Cell>);

/// A request without its access line.
#[derive(Debug)]
enum Pending {
    /// It was written before the restart: its line is not another's.
    Known,
    /// It is to be written.
    Told(Box<RequestEnded>),
    /// Only the proxy's record tells of it: it has no document.
    Untraced(Box<Untraced>),
}

#[derive(Debug)]
struct Untraced {
    /// The line of the record, if it waits with the request.
    ticket: Option<Ticket>,
    method: String,
    path: String,
    status: u16,
    duration: u64,
}

/// A request of which everything is known.
#[derive(Debug)]
struct Settled {
    entry: RequestEntry,
    trace: Option<TraceId>,
    counts: Counts,
}

/// What of it is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// Nothing: a process before this one did.
    Nothing,
    /// How long it took; its access line counts for it.
    Duration,
    /// Itself and how long it took.
    All,
}

impl Settled {
    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let summary = &self.entry.summary;
        let names = summary.names.iter().map(|(_, value)| value.len());
        summary.path.len() + summary.method.len() + names.sum::<usize>()
    }
}

impl Requests {
    /// For the requests of `service`. Remembers what is in `log`.
    pub(crate) fn recall(
        log: &VerdictLog,
        service: &str,
        counts: RequestCounts,
        now: UnixNanos,
    ) -> Self {
        let mut requests = Self {
            service: service.to_owned(),
            counts,
            census: Census::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            known: Remembered::default(),
            parents: Remembered::default(),
            counted_until: UnixNanos(0),
            listener: None,
            moved: Vec::new(),
        };
        let mut oldest: Option<UnixNanos> = None;
        let recalled = log.recent(UnixNanos(0), |entry| match entry {
            Entry::Request(request) => {
                if let DocumentId::Request(trace, _) = request.id {
                    let id = |span: SpanId| DocumentId::Request(trace, span);
                    if let Some(front) = request.front {
                        requests.known.add(id(front), now);
                    }
                    if let Some(parent) = request.parent {
                        requests.parents.add(id(parent), now);
                    }
                }
                requests.known.add(request.id, now);
            }
            Entry::Line(line) => {
                oldest = Some(oldest.map_or(line.time, |oldest| oldest.min(line.time)));
            }
        });
        if let Err(error) = recalled {
            tracing::warn!(%error, "documents of requests may be written again, under the same ids");
        }
        if let Some(oldest) = oldest {
            requests.counted_until = oldest.minus(LOGGED_WITHIN);
        }
        requests
    }

    /// Tells `listener` of requests that end, too.
    pub(crate) fn telling(self, listener: Option<Listener>) -> Self {
        Self { listener, ..self }
    }

    /// Takes a request that ended. One that was written before is not written again.
    pub(crate) fn ended(&mut self, ended: RequestEnded, now: UnixNanos) {
        if let Some(listener) = &self.listener {
            listener(&ended);
        }
        let is_new = self.is_new(&ended, now);
        let is_http = ended.summary.protocol == "http";
        let end = ended.summary.start.plus(ended.summary.duration);
        match (is_new, is_http) {
            (false, false) => {}
            (true, _) if end <= self.counted_until => self.settle(ended, Counts::Nothing),
            (true, false) => self.settle(ended, Counts::All),
            (is_new, true) => {
                let summary = ended.summary.clone();
                let heard = Heard {
                    method: &summary.method,
                    path: &summary.path,
                    status: summary.status,
                    start: summary.start,
                    end,
                };
                let pending = if is_new {
                    Pending::Told(Box::new(ended))
                } else {
                    Pending::Known
                };
                self.hear(&heard, pending, now);
            }
        }
    }

    /// Takes an access line of the service; answers what it moves if it was not counted before.
    pub(crate) fn access_line(
        &mut self,
        tally: &mut Tally,
        access: &line::AccessLine<'_>,
        printed: UnixNanos,
        now: UnixNanos,
    ) -> Option<Cell> {
        let pending = self.census.line(&AccessLine {
            method: access.method,
            path: access.path,
            status: access.status,
            started: access.started,
            printed,
        });
        match pending {
            Some(Pending::Told(ended)) => self.settle_with(*ended, access.status),
            Some(Pending::Untraced(request)) => {
                self.took(tally, &request, access.status, now);
                self.moved
                    .extend(request.ticket.map(|ticket| (ticket, None)));
            }
            Some(Pending::Known) | None => {}
        }
        let kind = self.counts.http(access.method, access.path, access.status);
        self.counts.total(tally, kind, now)
    }

    /// Notes that a line of the service was read that was printed at `printed`.
    pub(crate) fn read(&mut self, printed: UnixNanos, now: UnixNanos) {
        self.census.read(printed, now);
    }

    /// Takes a record of the proxy in front of the service that has no trace, so that the ledger
    /// cannot tell of the request. [`Requests::moved`] answers what the record's line moves, and when
    /// it may be written: if it `waits`, not before it is known whether the request has an access
    /// line, so that a crash in between takes back both or none.
    pub(crate) fn untraced(
        &mut self,
        tally: &mut Tally,
        access: &AccessFacts<'_>,
        (ticket, waits): (Ticket, bool),
        now: UnixNanos,
    ) {
        if access.phase != Phase::End || access.side != ProxySide::Inbound {
            self.moved.push((ticket, None));
            return;
        }
        let path = access.path.split('?').next().unwrap_or_default();
        let rpc = path.strip_prefix('/').and_then(|name| name.split_once('/'));
        if let Some((service, method)) =
            rpc.filter(|(service, method)| self.counts.is_rpc(service, method))
        {
            let kind = self.counts.grpc(service, method, access.call_failed());
            self.counts.took(tally, kind, access.duration, None, now);
            let cell = self.counts.total(tally, kind, now);
            self.moved.push((ticket, cell));
            return;
        }
        if !waits {
            self.moved.push((ticket, None));
        }
        let heard = Heard {
            method: access.method,
            path,
            status: access.status,
            start: access.start,
            end: access.start.plus(access.duration),
        };
        let pending = Pending::Untraced(Box::new(Untraced {
            ticket: Some(ticket).filter(|_| waits),
            method: access.method.to_owned(),
            path: path.to_owned(),
            status: access.status,
            duration: access.duration,
        }));
        if let Some((request, status)) = self.hear(&heard, pending, now) {
            match status {
                Some(status) => {
                    self.took(tally, &request, status, now);
                    self.moved
                        .extend(request.ticket.map(|ticket| (ticket, None)));
                }
                None => self.count_untraced(tally, &request, now),
            }
        }
    }

    /// Lines of the proxy that may be written since this was asked last, and what they move.
    pub(crate) fn moved(&mut self) -> std::vec::Drain<'_, Moved> {
        self.moved.drain(..)
    }

    /// Counts requests that have no access line.
    pub(crate) fn without_line(&mut self, tally: &mut Tally, now: UnixNanos) {
        let mut alone = Vec::new();
        self.census.without_line(now, |pending| alone.push(pending));
        self.count_alone(alone, tally, now);
    }

    /// As [`Requests::without_line`], for all that wait: no more lines will be read.
    pub(crate) fn release(&mut self, tally: &mut Tally, now: UnixNanos) {
        let mut alone = Vec::new();
        self.census.release(|pending| alone.push(pending));
        self.count_alone(alone, tally, now);
    }

    /// When [`Requests::without_line`] may have something to do.
    pub(crate) fn deadline(&self) -> Option<UnixNanos> {
        self.census.deadline()
    }

    /// Writes what there is room for; the rest is tried again when there is more.
    pub(crate) fn drain(&mut self, order: &mut OrderQueue, log: &mut VerdictLog, now: UnixNanos) {
        self.known.forget_before(now);
        self.parents.forget_before(now);
        while let Some(settled) = self.waiting.front() {
            if order.request(log, &settled.entry).is_err() {
                break;
            }
            if let Some(settled) = self.waiting.pop_front() {
                self.waiting_bytes -= settled.bytes();
                self.count(log.tally_mut(), &settled, now);
            }
        }
        // a log that stays full is no reason to grow: the newest go without a document
        let mut dropped: u64 = 0;
        while self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            let Some(settled) = self.waiting.pop_back() else {
                break;
            };
            self.waiting_bytes -= settled.bytes();
            self.count(log.tally_mut(), &settled, now);
            dropped += 1;
        }
        if dropped > 0 {
            self.counts.without_document(dropped);
            tracing::error!(
                requests = dropped,
                "verdict log is full: requests go without their documents"
            );
        }
    }

    fn count(&mut self, tally: &mut Tally, settled: &Settled, now: UnixNanos) {
        let summary = &settled.entry.summary;
        let kind = self.counts.kind(summary);
        if settled.counts == Counts::All
            && let Some(cell) = self.counts.total(tally, kind, now)
        {
            tally.add(cell, 1);
        }
        if settled.counts != Counts::Nothing {
            let trace = settled.trace;
            self.counts.took(tally, kind, summary.duration, trace, now);
        }
    }

    /// Takes a request that may have a line; answers one that has no document, with its line's
    /// status, unless it waits.
    fn hear(
        &mut self,
        heard: &Heard<'_>,
        pending: Pending,
        now: UnixNanos,
    ) -> Option<(Box<Untraced>, Option<u16>)> {
        let (pending, status) = match self.census.request(heard, pending, now) {
            Ok(met) => met.map(|(pending, status)| (pending, Some(status)))?,
            // too many wait for their lines: this one does not
            Err(pending) => (pending, None),
        };
        match (pending, status) {
            (Pending::Told(ended), Some(status)) => self.settle_with(*ended, status),
            (Pending::Told(ended), None) => self.settle(*ended, Counts::All),
            (Pending::Untraced(request), status) => return Some((request, status)),
            (Pending::Known, _) => {}
        }
        None
    }

    fn count_alone(&mut self, alone: Vec<Pending>, tally: &mut Tally, now: UnixNanos) {
        for pending in alone {
            match pending {
                Pending::Known => {}
                Pending::Told(ended) => self.settle(*ended, Counts::All),
                Pending::Untraced(request) => self.count_untraced(tally, &request, now),
            }
        }
    }

    fn count_untraced(&mut self, tally: &mut Tally, request: &Untraced, now: UnixNanos) {
        self.took(tally, request, request.status, now);
        let counts = &mut self.counts;
        let kind = counts.http(&request.method, &request.path, request.status);
        let cell = counts.total(tally, kind, now);
        match (request.ticket, cell) {
            (Some(ticket), cell) => self.moved.push((ticket, cell)),
            (None, Some(cell)) => tally.add(cell, 1),
            (None, None) => {}
        }
    }

    fn took(&mut self, tally: &mut Tally, request: &Untraced, status: u16, now: UnixNanos) {
        let kind = self.counts.http(&request.method, &request.path, status);
        self.counts.took(tally, kind, request.duration, None, now);
    }

    /// The access line says the status, which spans do not.
    fn settle_with(&mut self, mut ended: RequestEnded, status: u16) {
        if ended.summary.status == 0 {
            ended.summary.status = status;
            ended.summary.failed |= status >= 400;
            if let Some(listener) = &self.listener {
                listener(&ended);
            }
        }
        self.settle(ended, Counts::Duration);
    }

    fn settle(&mut self, ended: RequestEnded, counts: Counts) {
        let time = ended.summary.start;
        let settled = Settled {
            entry: RequestEntry {
                id: DocumentId::Request(ended.trace, ended.span),
                front: ended.front,
                parent: ended.parent.filter(|_| ended.front.is_none()),
                home: time.day(),
                time,
                container: self.service.clone(),
                summary: ended.summary,
                verdict: ended.verdict,
            },
            trace: Some(ended.trace).filter(|_| ended.traced),
            counts,
        };
        self.waiting_bytes += settled.bytes();
        self.waiting.push_back(settled);
    }

    /// Whether the request was not written before, under its own span or its proxy's.
    fn is_new(&mut self, ended: &RequestEnded, now: UnixNanos) -> bool {
        let id = |span: SpanId| DocumentId::Request(ended.trace, span);
        // several requests may have the same caller, but not the same record of a proxy
        let parent = ended.parent.map(id);
        let known = match parent {
            Some(parent) => {
                self.parents.add(parent, now);
                self.known.contains(parent)
            }
            None => !ended.traced && self.parents.contains(id(ended.span)),
        };
        let front = ended.front.filter(|front| *front != ended.span).map(id);
        let front_is_new = front.is_none_or(|front| self.known.add(front, now));
        self.known.add(id(ended.span), now) && front_is_new && !known
    }
}

#[cfg(test)]
mod tests;
