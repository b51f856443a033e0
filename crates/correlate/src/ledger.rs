//! The ledger itself: evidence in, verdicts out.

use std::collections::VecDeque;

use model::document::RequestSummary;
use model::evidence::{AccessFacts, Phase, ProxySide, SpanFacts};
use model::fact::{Fact, Operation};
use model::ids::{SpanId, TraceId};
use model::line::{LineFacts, Stream};
use model::time::UnixNanos;
use model::verdict::{Rule, Verdict};

use crate::access_lines;
use crate::callmap::bit;
use crate::decide;
use crate::line::{Printed, Record, Step, Waiting, What};
use crate::origin::{Kind, Origin};
use crate::request::field_name;
use crate::settings::Settings;
use crate::starts::Start;
use crate::state::State;
use crate::workers;

mod rest;

/// The caller's number of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request that ended: what its document says.
#[derive(Clone, Debug)]
pub struct RequestEnded {
    /// Its trace.
    pub trace: TraceId,
    /// Its server span, or the proxy's where the service sent none.
    pub span: SpanId,
    /// What it was.
    pub summary: RequestSummary,
    /// Who made it.
    pub verdict: Verdict,
    /// Whether the service sent its span.
    pub traced: bool,
    /// The proxy's span, where its record came: what [`RequestEnded::span`] was if the request was
    /// told of before the service's own span came.
    pub front: Option<SpanId>,
    /// The parent of the service's span: the proxy's or a caller's.
    pub parent: Option<SpanId>,
}

/// Memory of so many decided lines is kept: a chunk of a file brings about as many at once.
const SPARE_MAX: usize = 1024;
/// A backlog that brings no line for so long is read.
const BACKLOG_PAUSE: u64 = 5_000_000_000;

/// The request ledger of one service.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) state: State,
    waiting: VecDeque<Waiting>,
    /// Memory of lines that were decided, for those that come.
    #[expect(clippy::vec_box, reason = "the boxes are what is used again")]
    spare: Vec<Box<Printed>>,
    /// Ended requests whose documents are due.
    ended: VecDeque<(u64, TraceId, SpanId)>,
    /// How many of them were asked already whether they came through the proxy.
    counted: usize,
    /// When verdicts were asked for first.
    born: u64,
    /// Arrival of the last line, if it came later than it could wait, and when it was read.
    late: Option<(u64, u64)>,
    pruned_at: u64,
    /// Latest own time of a line on standard error.
    last_own_time: u64,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(settings: Settings) -> Self {
        Self {
            state: State::new(settings),
            waiting: VecDeque::new(),
            spare: Vec::new(),
            ended: VecDeque::new(),
            counted: 0,
            born: 0,
            late: None,
            pruned_at: 0,
            last_own_time: 0,
        }
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// The process began to print at `time` (a container start). Whatever ran before is over; lines
    /// of the old process that still wait can be anybody's. What is known of the new process already
    /// stays: after a restart of the sidecar its spans come before its lines.
    pub fn process_started(&mut self, time: UnixNanos) {
        if let Some(oldest) = self.waiting.front().filter(|line| line.time < time.0) {
            self.state
                .gaps
                .push((oldest.time, time.0.saturating_sub(1)));
        }
        let state = &mut self.state;
        state.origins.begin_at(time.0);
        state.process_start = time.0;
        state.starts.begin_at(time.0);
        state.finished.retain(|finished| finished.time >= time.0);
        state.told_since = state.told_since.filter(|since| *since >= time.0);
        if state.lost_before <= time.0 {
            state.lost_before = 0;
        }
    }

    /// There is no complete evidence for `from..=to`: something unseen may have printed then.
    pub fn gap(&mut self, from: UnixNanos, to: UnixNanos) {
        self.state.gaps.push((from.0, to.0));
    }

    /// The latest end of a span that came.
    pub const fn spans_until(&self) -> UnixNanos {
        UnixNanos(self.state.spans_until)
    }

    /// What happened before `time` is not known any more: as long as the process lives that lived
    /// then, goroutines may be at work that nobody here saw start.
    pub fn history_lost(&mut self, time: UnixNanos) {
        self.state.lost_before = self.state.lost_before.max(time.0);
    }

    /// Takes a line that was read at `now`; its verdict comes from [`Ledger::poll`], in the order of
    /// the calls.
    #[inline(never)]
    pub fn line(&mut self, ticket: Ticket, facts: &LineFacts<'_>, now: UnixNanos) {
        // evidence for a line that was printed long ago came long ago
        let due = facts
            .arrival
            .0
            .min(now.0)
            .saturating_add(self.state.settings.wait);
        self.late = (due <= now.0).then_some((facts.arrival.0, now.0));
        if self.state.process_start == 0 {
            self.state.process_start = facts.time.0;
        }
        let map = self.state.map.as_ref();
        let not_before = match facts.stream {
            Stream::Stderr => self.last_own_time,
            Stream::Stdout => 0,
        };
        let line = Waiting::new(ticket, due, facts, not_before, map, self.spare.pop());
        match &line.what {
            What::Access(_) => self.state.access_lines.push_back(line.clone()),
            What::Printed(printed) => {
                if printed.step == Step::Begins {
                    self.state.rounds.push_back(line.time);
                }
                self.state.makers.ask(printed);
            }
            What::Own(_) => {}
        }
        self.waiting.push_back(line);
        if facts.own_time && facts.stream == Stream::Stderr && facts.time <= facts.arrival {
            self.last_own_time = self.last_own_time.max(facts.time.0);
        }
    }

    /// Takes a line of a proxy's log: the record of a request on `trace`.
    pub fn own_line(
        &mut self,
        ticket: Ticket,
        (trace, access): (TraceId, &AccessFacts<'_>),
        time: UnixNanos,
        now: UnixNanos,
    ) {
        let due = time.0.min(now.0).saturating_add(self.state.settings.wait);
        self.waiting.push_back(Waiting {
            ticket,
            due,
            time: time.0,
            slack: 0,
            what: What::Own(Record {
                trace,
                span: access.span,
                from: access.start.0,
                to: match access.phase {
                    Phase::Start => u64::MAX,
                    Phase::End => access.start.plus(access.duration).0,
                },
            }),
        });
    }

    /// Takes a span that this service sent.
    pub fn span(&mut self, span: &SpanFacts<'_>, now: UnixNanos) {
        // what a restart shows again came in time
        let came = if self.born == 0 { span.end() } else { now };
        self.state.span_came(span.end().0.min(now.0), came.0);
        let State {
            origins,
            map,
            settings,
            ..
        } = &mut self.state;
        if let Some(row) = origins.span(span, map.as_ref(), settings) {
            self.request_seen(row, now);
        }
    }

    /// Takes an access record of the proxy in front of this service; others are ignored.
    pub fn access(&mut self, access: &AccessFacts<'_>, now: UnixNanos) {
        if access.side != ProxySide::Inbound {
            return;
        }
        match access.phase {
            Phase::Start => self.state.start_records = true,
            Phase::End => self.state.end_records = true,
        }
        let State {
            origins,
            map,
            settings,
            ..
        } = &mut self.state;
        let row = origins.access(access, map.as_ref(), settings);
        self.request_seen(row, now);
    }

    fn request_seen(&mut self, row: usize, now: UnixNanos) {
        let Some(origin) = self.state.origins.row_mut(row) else {
            return;
        };
        let Kind::Request { entry, routed } = origin.kind else {
            return;
        };
        let Some(request) = &origin.request else {
            return;
        };
        let rpc = self.state.map.as_ref().and_then(|map| map.entry(entry));
        if rpc.is_some_and(|rpc| rpc.grpc && !rpc.loose) && origin.end != u64::MAX {
            let took = request.end.saturating_sub(request.start);
            self.state.longest_rpc = self.state.longest_rpc.max(took);
        }
        let unasked = origin
            .trace
            .filter(|_| !std::mem::replace(&mut origin.asked, true));
        if origin.end != u64::MAX
            && !origin.reported
            && let (Some(trace), Some(span)) = (origin.trace, origin.span.or(origin.proxy_span))
        {
            origin.reported = true;
            let due = origin
                .end
                .min(now.0)
                .saturating_add(self.state.settings.wait);
            self.ended.push_back((due, trace, span));
        }
        let start = Start {
            entry,
            trace: origin.trace,
            span: origin.span.filter(|_| origin.complete),
            at: origin.start,
            until: origin.end,
            first_call: origin.first_call,
            names: origin.names.clone(),
            tasks: Vec::new(),
            sure: false,
            succeeded: origin.complete
                && origin
                    .request
                    .as_ref()
                    .is_some_and(|request| !request.failed),
            placed: false,
            updates: self
                .state
                .map
                .as_ref()
                .is_some_and(|map| map.updates(bit(entry))),
        };
        self.state.origins.unasked.extend(unasked);
        let starts_something = self.state.map.as_ref().is_some_and(|map| {
            map.roots(u64::MAX)
                .any(|(_, root)| !root.joined && root.started_by & bit(entry) != 0)
        });
        if routed && starts_something {
            self.state.starts.learn(start);
        }
    }

    /// Takes what other pods know.
    pub fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::TraceUser(fact) => self.state.people.learn(fact),
            Fact::Operation(operation) => self.state.makers.learn(operation),
        }
    }

    /// Another replica knows of two people for the trace.
    pub fn conflict(&mut self, trace: TraceId) {
        self.state.people.conflict(trace);
    }

    /// Traces seen since the last call whose person the hub may know.
    pub fn take_questions(&mut self) -> Vec<TraceId> {
        std::mem::take(&mut self.state.origins.unasked)
    }

    /// `AppContext`s seen since the last call of which the hub may know who made them.
    pub fn take_context_questions(&mut self) -> Vec<Box<str>> {
        self.state.makers.take_questions()
    }

    /// Operations seen since the last call that other pods should know of.
    pub fn take_operations(&mut self) -> Vec<Operation> {
        self.state.makers.take_told()
    }

    /// When [`Ledger::poll`] has something to do next.
    pub fn next_deadline(&self) -> Option<UnixNanos> {
        let line = self.waiting.front().map(|line| line.due);
        let request = self.ended.front().map(|(due, ..)| *due);
        line.into_iter().chain(request).min().map(UnixNanos)
    }

    /// Lets lines that come from now on wait this long for late evidence, in nanoseconds.
    pub const fn set_wait(&mut self, wait: u64) {
        self.state.settings.wait = wait;
    }

    /// How many lines wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Decides every line whose time to wait is over.
    #[inline(never)]
    pub fn poll(&mut self, now: UnixNanos, decided: &mut dyn FnMut(Ticket, Verdict)) {
        if self.born == 0 {
            self.born = now.0;
        }
        self.count_proxied(now);
        let forgotten = self.state.origins.forgotten.take();
        self.state.gaps.extend(forgotten);
        self.state.forget_window();
        workers::settle(&mut self.state);
        while self.waiting.front().is_some_and(|line| line.due <= now.0) {
            let Some(line) = self.waiting.pop_front() else {
                break;
            };
            self.state.look_at(&line);
            let (verdict, row) = self.decide(&line);
            let ticket = line.ticket;
            if let Some(origin) = row.and_then(|row| self.state.origins.row_mut(row)) {
                origin.lines += 1;
            }
            decided(ticket, verdict);
            if let What::Printed(printed) = line.what
                && self.spare.len() < SPARE_MAX
            {
                self.spare.push(printed);
            }
        }
        self.prune(now);
    }

    /// Nothing more will come: lines that still wait get no claim, for the evidence that would show whose
    /// they are may have been on its way; records that say it themselves get theirs. Requests that ended
    /// are told of by the next [`Ledger::poll_requests`].
    pub fn release(&mut self, decided: &mut dyn FnMut(Ticket, Verdict)) {
        while let Some(line) = self.waiting.pop_front() {
            let verdict = match line.what {
                What::Own(record) => self.recorded(record),
                What::Access(_) | What::Printed(_) => Verdict {
                    rule: Rule::Timeout,
                    ..Verdict::default()
                },
            };
            decided(line.ticket, verdict);
        }
        for (due, ..) in &mut self.ended {
            *due = 0;
        }
    }

    /// Notes of every request that everything is known about whether it came through the proxy.
    fn count_proxied(&mut self, now: UnixNanos) {
        while let Some((due, trace, span)) = self.ended.get(self.counted).copied() {
            if due > now.0 {
                break;
            }
            self.counted += 1;
            if let Some(row) = self.row(trace, span) {
                let mapped = self.state.map.is_some();
                self.state.origins.count_proxied(row, mapped);
            }
        }
    }

    /// Hands over the documents of requests that ended and whose wait is over.
    pub fn poll_requests(&mut self, now: UnixNanos, ended: &mut dyn FnMut(RequestEnded)) {
        while let Some((due, trace, span)) = self.ended.front().copied() {
            if due > now.0 {
                break;
            }
            self.ended.pop_front();
            self.counted = self.counted.saturating_sub(1);
            let Some(row) = self.row(trace, span) else {
                continue;
            };
            if let Some(request) = self.request(trace, row) {
                ended(request);
            }
        }
    }

    fn row(&self, trace: TraceId, span: SpanId) -> Option<usize> {
        let mut rows = self.state.origins.of_trace(trace);
        let own = |origin: &Origin| origin.span == Some(span) || origin.proxy_span == Some(span);
        rows.find(|(_, origin)| own(origin)).map(|(row, _)| row)
    }

    fn request(&self, trace: TraceId, row: usize) -> Option<RequestEnded> {
        let origin = self.state.origins.rows().get(row)?;
        let span = origin.span.or(origin.proxy_span)?;
        let facts = origin.request.as_ref()?;
        let template = match origin.kind {
            Kind::Request { entry, .. } => self.state.map.as_ref().and_then(|map| map.entry(entry)),
            _ => None,
        };
        let path = facts.path.split('?').next().unwrap_or_default();
        let summary = RequestSummary {
            protocol: if facts.grpc { "grpc" } else { "http" },
            method: facts.method.clone(),
            path: path.to_owned(),
            route: template
                .map(|entry| entry.template().to_owned())
                .filter(|route| !route.is_empty()),
            status: facts.status,
            start: UnixNanos(facts.start),
            duration: facts.end.saturating_sub(facts.start),
            names: origin
                .names
                .iter()
                .filter_map(|(key, value)| Some((field_name(*key)?, value.to_string())))
                .collect(),
            lines: origin.lines,
            failed: facts.failed || facts.status >= 400,
        };
        let user = self.state.people.of(trace, origin.start, origin.end);
        let verdict = decide::attributed((trace, origin.span), user.cloned(), Rule::OwnId);
        Some(RequestEnded {
            trace,
            span,
            summary,
            verdict,
            traced: origin.complete,
            front: origin.proxy_span,
            parent: origin.parent,
        })
    }

    fn decide(&mut self, line: &Waiting) -> (Verdict, Option<usize>) {
        match &line.what {
            What::Own(record) => (self.recorded(*record), None),
            What::Access(access) => access_lines::decide(&mut self.state, line, access),
            What::Printed(printed) => decide::printed(&mut self.state, line, printed),
        }
    }

    /// The verdict on a proxy's record: it says itself which request it is about.
    fn recorded(&self, record: Record) -> Verdict {
        let Record { trace, span, .. } = record;
        let known = span.and_then(|span| self.row(trace, span));
        let origin = known.and_then(|row| self.state.origins.rows().get(row));
        let (from, to) = match origin {
            Some(origin) if record.to == u64::MAX => (record.from, origin.end),
            Some(origin) => (record.from, record.to.max(origin.end)),
            None => (record.from, record.to),
        };
        let user = self.state.people.of(trace, from, to);
        decide::attributed((trace, None), user.cloned(), Rule::OwnId)
    }

    /// The time up to which lines are decided: behind the clock while a backlog is read.
    fn progress(&self, now: UnixNanos) -> u64 {
        match self.late {
            Some((arrival, at)) if now.0.saturating_sub(at) < BACKLOG_PAUSE => arrival.min(now.0),
            // a new process has the evidence before it reads the lines that need it
            None if now.0.saturating_sub(self.born) < BACKLOG_PAUSE => 0,
            _ => now.0,
        }
    }
}
