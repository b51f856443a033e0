//! What the head counts, and where: everything moves with the write of what it counts.

use correlate::RequestEnded;
use model::evidence::AccessFacts;
use model::line::LineFacts;
use model::time::UnixNanos;
use model::verdict::Verdict;
use pipeline::head::Ticket;
use pipeline::{OrderQueue, VerdictLog};
use prometheus::Registry;
use spool::Position;
use telemetry::side_table::SideTable;

use crate::ledger::SharedLedger;
use crate::metrics::{CallFeed, Dependencies, LedgerView, LineCounts, RequestCounts};
use crate::requests::{Listener, Requests};

/// Lines, requests and calls.
pub struct Counting {
    lines: LineCounts,
    requests: Requests,
    dependencies: Dependencies,
}

impl Counting {
    /// Goes on where `log` says, and shows on a page what is counted of `service`. Spans in front of
    /// the place in the spool that `received` says may not have been counted yet.
    ///
    /// # Errors
    /// If a family is registered already.
    pub fn new(
        (registry, side): (&Registry, &SideTable),
        service: &str,
        ledger: &SharedLedger,
        log: &mut VerdictLog,
        received: (CallFeed, Position),
        now: UnixNanos,
    ) -> prometheus::Result<Self> {
        let routes = ledger.lock().routes();
        let counts = RequestCounts::new(registry, side, service, routes, log.tally())?;
        registry.register(Box::new(LedgerView::new(ledger.clone(), service)?))?;
        let tally = log.tally_mut();
        let dependencies = Dependencies::new(registry, side, service, tally, received, now)?;
        Ok(Self {
            lines: LineCounts::new(registry, side, service, log.tally())?,
            requests: Requests::recall(log, service, counts, now),
            dependencies,
        })
    }

    /// Tells `listener` of requests that end, too.
    #[must_use]
    pub fn telling(self, listener: Option<Listener>) -> Self {
        Self {
            requests: self.requests.telling(listener),
            ..self
        }
    }

    /// Takes a line of the service; one without a ticket was counted before.
    pub(crate) fn line(
        &mut self,
        log: &mut VerdictLog,
        order: &mut OrderQueue,
        ticket: Option<Ticket>,
        facts: &LineFacts<'_>,
        now: UnixNanos,
    ) {
        let tally = log.tally_mut();
        self.requests.read(facts.arrival, now);
        let access = facts.access.as_ref();
        let request =
            access.and_then(|access| self.requests.access_line(tally, access, facts.arrival, now));
        if access.is_some() {
            self.move_lines(order);
        }
        let Some(ticket) = ticket else { return };
        let level = self.lines.level(tally, facts.severity, now);
        for cell in level.into_iter().chain(request) {
            order.count(ticket, cell);
        }
    }

    /// Takes what was concluded about a line.
    pub(crate) fn verdict(
        &mut self,
        log: &mut VerdictLog,
        order: &mut OrderQueue,
        ticket: Ticket,
        verdict: &Verdict,
        now: UnixNanos,
    ) {
        if let Some(cell) = self.lines.verdict(log.tally_mut(), verdict, now) {
            order.count(ticket, cell);
        }
    }

    /// Takes a record of the proxy that has no trace, and decides its line when it may be written; one
    /// without a ticket was counted before.
    pub(crate) fn untraced(
        &mut self,
        log: &mut VerdictLog,
        order: &mut OrderQueue,
        ticket: Ticket,
        access: &AccessFacts<'_>,
        now: UnixNanos,
    ) {
        // where much waits nothing has to wait for another line
        let waits = order.room() > order.len();
        let line = (ticket, waits);
        self.requests.untraced(log.tally_mut(), access, line, now);
        self.move_lines(order);
    }

    fn move_lines(&mut self, order: &mut OrderQueue) {
        for (ticket, cell) in self.requests.moved() {
            if let Some(cell) = cell {
                order.count(ticket, cell);
            }
            order.decide(ticket, Verdict::default());
        }
    }

    /// Takes a request that ended.
    pub(crate) fn ended(&mut self, request: RequestEnded, now: UnixNanos) {
        self.requests.ended(request, now);
    }

    /// Moves what is due to the log's buffer.
    pub(crate) fn drain(&mut self, log: &mut VerdictLog, order: &mut OrderQueue, now: UnixNanos) {
        self.requests.without_line(log.tally_mut(), now);
        self.move_lines(order);
        self.requests.drain(order, log, now);
        self.dependencies.drain(log.tally_mut(), now);
    }

    /// Nothing more will be read: requests go without their lines.
    pub(crate) fn release(&mut self, log: &mut VerdictLog, order: &mut OrderQueue, now: UnixNanos) {
        self.requests.release(log.tally_mut(), now);
        self.move_lines(order);
    }

    /// When [`Counting::drain`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<UnixNanos> {
        let deadlines = [self.requests.deadline(), self.dependencies.deadline()];
        deadlines.into_iter().flatten().min()
    }
}
