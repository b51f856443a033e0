//! What decisions are made from, and what can be asked of it as a whole.

use std::collections::VecDeque;

use crate::callmap::{CallMap, Entries, Reach, Roots, bit};
use crate::decide::Candidate;
use crate::line::Waiting;
use crate::makers::Makers;
use crate::origin::{Kind, Origin};
use crate::origins::Origins;
use crate::people::People;
use crate::settings::Settings;
use crate::starts::Starts;
use crate::tokens::Tokens;
use crate::workers::{Finished, Stages};

/// What decisions are made from.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) map: Option<CallMap>,
    pub(crate) origins: Origins,
    pub(crate) people: People,
    pub(crate) starts: Starts,
    /// The kinds of goroutines that requests start.
    pub(crate) stages: Stages,
    /// Workers that found their queues empty, until their spans are here.
    pub(crate) finished: VecDeque<Finished>,
    /// Times of the last lines that say a round of work begins.
    pub(crate) rounds: VecDeque<u64>,
    /// Since when workers are known to say what they do.
    pub(crate) told_since: Option<u64>,
    /// Until then workers were at work whose spans came too late for their lines.
    pub(crate) blind_until: u64,
    /// Whether the proxy tells of requests when they begin, and when they end.
    pub(crate) start_records: bool,
    pub(crate) end_records: bool,
    /// At how many moments spans came that were too late for lines printed when they ended, and the
    /// last one.
    pub(crate) late_spans: (u32, u64),
    /// The entries that are RPCs.
    rpcs: Entries,
    /// How long the longest RPC took, but for those that are held open.
    pub(crate) longest_rpc: u64,
    /// Latest end of a span.
    pub(crate) spans_until: u64,
    pub(crate) gaps: Vec<(u64, u64)>,
    /// Of what happened before, nothing is known; 0 if everything is.
    pub(crate) lost_before: u64,
    pub(crate) tokens: Tokens,
    pub(crate) makers: Makers,
    /// The rows that can matter to the lines that are decided now.
    window: Window,
    /// Access lines of the last seconds: two that fit one request prove that there was another.
    pub(crate) access_lines: VecDeque<Waiting>,
    /// First moment of the process that prints; 0 if not known.
    pub(crate) process_start: u64,
    /// Room for the origins that are still possible for the line that is decided.
    pub(crate) candidates: Vec<Candidate>,
}

/// The rows that were open at some moment of a span of time. Lines are decided nearly in the order of
/// their times, so few windows serve many lines.
#[derive(Debug, Default)]
struct Window {
    from: u64,
    to: u64,
    rows: Vec<usize>,
}

/// How far around a line's time a decision looks: access lines come later than their requests end.
const REACH: u64 = 1_000_000_000;
/// So many late deliveries of spans are no accident.
const LATE_MIN: u32 = 3;
/// How much further a window is opened at once.
const AHEAD: u64 = 400_000_000;

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        let map = CallMap::of(&settings.service);
        let stages = Stages::of(map.as_ref());
        let mut origins = Origins::new(&settings);
        origins.keep_calls = stages.worker != 0;
        Self {
            stages,
            finished: VecDeque::new(),
            rounds: VecDeque::new(),
            told_since: None,
            blind_until: 0,
            start_records: false,
            end_records: false,
            rpcs: map.as_ref().map_or(0, rpcs),
            longest_rpc: 0,
            late_spans: (0, 0),
            spans_until: 0,
            map,
            origins,
            people: People::new(settings.hop_error),
            settings,
            starts: Starts::default(),
            gaps: Vec::new(),
            lost_before: 0,
            tokens: Tokens::default(),
            makers: Makers::default(),
            window: Window::default(),
            access_lines: VecDeque::new(),
            candidates: Vec::new(),
            process_start: 0,
        }
    }

    /// The rows that were open around the times of the lines that are decided now.
    pub(crate) fn window(&self) -> impl Iterator<Item = (usize, &Origin)> {
        let rows = self.origins.rows();
        self.window
            .rows
            .iter()
            .filter_map(|row| Some((*row, rows.get(*row)?)))
    }

    /// New evidence may have come: the next line opens the window anew.
    pub(crate) const fn forget_window(&mut self) {
        self.window.to = 0;
    }

    /// Opens the window for a line, unless it is open there already.
    pub(crate) fn look_at(&mut self, line: &Waiting) {
        let from = line.time.saturating_sub(line.slack).saturating_sub(REACH);
        let to = line.time.saturating_add(REACH);
        if self.window.from <= from && to <= self.window.to {
            return;
        }
        let to = to.saturating_add(AHEAD);
        self.window.from = from;
        self.window.to = to;
        self.window.rows.clear();
        let open = |(_, origin): &(usize, &Origin)| origin.start <= to && from <= origin.end;
        let rows = self.origins.rows().iter().enumerate().filter(open);
        self.window.rows.extend(rows.map(|(row, _)| row));
    }

    /// What kind of work the origin is, as far as it can be told for `time`: where requests have
    /// started goroutines, a trace without a root is one of them if it has been silent for long, or
    /// if every request so far came through the proxy and would be known from there. `line`: from where
    /// the line can be reached that the trace may have printed, if it is about one.
    pub(crate) fn kind_at(&self, origin: &Origin, time: u64, line: Option<Reach>) -> Kind {
        let Some(map) = &self.map else {
            return origin.kind;
        };
        let is_told = || self.is_told_in_time(line);
        match origin.kind {
            // a request may have begun when a pass of the poller had to
            Kind::Root(roots) if !origin.complete && no_loop(roots, line) && !is_told() => {
                return Kind::Unknown;
            }
            Kind::Unknown if !self.starts.is_empty() => {}
            kind => return kind,
        }
        let is_told = is_told();
        let silence = if is_told {
            self.settings.silence
        } else {
            self.settings.long_silence
        };
        let silent = origin.last_call.saturating_add(silence) < time;
        if !(silent || is_told && self.origins.proxied.complete()) {
            return origin.kind;
        }
        let started = self.starts.entries();
        let sleeping = map
            .roots(u64::MAX)
            .filter(|(_, root)| !root.joined && root.started_by & started != 0);
        Kind::Root(sleeping.fold(0, |set, (id, _)| set | 1 << id))
    }

    /// Whether the proxy tells of requests that can cause such a line before it has to be decided:
    /// when they begin, or when they end if that is soon, as it was for every RPC so far.
    fn is_told_in_time(&self, line: Option<Reach>) -> bool {
        if self.start_records {
            return true;
        }
        let Some((map, reach)) = self.map.as_ref().zip(line) else {
            return line.is_none();
        };
        let roots = map.roots(reach.asyncs);
        let callers = roots.fold(reach.entries, |set, (_, root)| set | root.started_by);
        callers & !self.rpcs == 0 && self.longest_rpc < self.settings.wait / 2
    }

    /// Whether the call may have been made by a goroutine in a trace of its own: then the trace is
    /// not that of the request behind it. A trace that a first-hop proxy saw begin is a request's.
    pub(crate) fn is_loose(&self, entry: u8, origin: &Origin) -> bool {
        let entry = self.map.as_ref().and_then(|map| map.entry(entry));
        let known = origin.trace.is_some_and(|trace| self.people.knows(trace));
        entry.is_some_and(|entry| entry.loose) && !known
    }

    /// Whether workers that were restored at start-up may be at work: nobody here started them.
    pub(crate) fn restored(&self, time: u64) -> bool {
        self.window().any(|(_, origin)| {
            let worker = match origin.kind {
                Kind::Unknown => true,
                Kind::Root(roots) => self
                    .map
                    .as_ref()
                    .is_some_and(|map| map.roots(roots).any(|(_, root)| root.started_by != 0)),
                Kind::Request { .. } => false,
            };
            worker && origin.first_call < self.origins.first_request && origin.open_at(time)
        })
    }

    /// Takes the time at which a span came that ended at `end`.
    pub(crate) fn span_came(&mut self, end: u64, now: u64) {
        self.spans_until = self.spans_until.max(end.min(now));
        let (times, last) = &mut self.late_spans;
        if end.saturating_add(self.settings.wait) < now && *last != now {
            *times = times.saturating_add(1);
            *last = now;
        }
    }

    /// Whether the service holds spans back for longer than lines wait.
    pub(crate) fn spans_are_late(&self) -> bool {
        self.late_spans.0 >= LATE_MIN
    }

    /// Whether goroutines may be at work that nobody here saw start.
    pub(crate) fn forgot_starts(&self) -> bool {
        self.starts.overflow || self.lost_before > 0
    }

    pub(crate) fn in_gap(&self, line: &Waiting) -> bool {
        self.gaps
            .iter()
            .any(|(from, to)| *from <= line.time && line.time.saturating_sub(line.slack) <= *to)
    }

    /// Whether start-up code may still have run at `time`: it is over when the first request is
    /// served.
    pub(crate) fn starting_up(&self, time: u64) -> bool {
        self.just_started(time) && time <= self.origins.first_request
    }

    /// Whether goroutines that start-up code leaves behind for a moment may still have run.
    pub(crate) fn just_started(&self, time: u64) -> bool {
        let until = self.process_start.saturating_add(self.settings.startup);
        self.process_start > 0 && time <= until
    }
}

fn rpcs(map: &CallMap) -> Entries {
    let entries = (0_u8..).zip(map.entries());
    let rpcs = entries.filter(|(_, entry)| entry.grpc);
    rpcs.fold(0, |set, (index, _)| set | bit(index))
}

/// Whether none of these loops can print the line.
fn no_loop(roots: Roots, line: Option<Reach>) -> bool {
    line.is_some_and(|line| line.background & roots == 0)
}
