//! Whose a line of a goroutine can be that a request started and that outlives it.

use crate::callmap::{Roots, bit};
use crate::decide::Candidate;
use crate::line::{Printed, Step, Waiting};
use crate::origin::{Kind, Origin};
use crate::starts::{DONE_MARGIN, Start};
use crate::state::State;
use crate::steps;
use crate::workers::{self, On};
use model::line::NameKey;
use model::verdict::Rule;

/// How long after a worker's end goroutines of it may still print that its end interrupted.
const TAIL: u64 = 1_000_000_000;

/// The requests that can own a line which the goroutines in `asyncs` can print, and what struck out
/// the others.
pub(crate) fn owners(
    state: &State,
    line: &Waiting,
    printed: &Printed,
    asyncs: Roots,
) -> (Vec<Candidate>, Rule) {
    let Some(map) = &state.map else {
        return (vec![Candidate::Unseen], Rule::NeverStarted);
    };
    let starters = map
        .roots(asyncs)
        .fold(0, |set, (_, root)| set | root.started_by);
    if starters == 0 {
        return (Vec::new(), Rule::NeverStarted);
    }
    let rows = state.starts.rows();
    let started: Vec<usize> = (0..rows.len())
        .filter(|row| {
            let start = rows.get(*row);
            start.is_some_and(|start| start.at <= line.time && bit(start.entry) & starters != 0)
        })
        .collect();
    let mut left = Left {
        state,
        line,
        possible: vec![false; rows.len()],
        unseen: state.forgot_starts() || state.restored(line.time),
    };
    let stages = &state.stages;
    left.workers(printed, asyncs);
    if asyncs & stages.timer != 0 {
        left.mark(|start| start.timer_may_fire(line.time));
    }
    let by_event = stages.worker | stages.handover | stages.timer;
    if asyncs & !(by_event | stages.status) != 0 {
        left.mark(|_| true);
    } else if asyncs & stages.status != 0 {
        left.followers(printed);
    }
    let may = |row: &usize| {
        let named = |start: &Start| state.starts.may_name(start, &printed.names);
        left.possible.get(*row) == Some(&true) && rows.get(*row).is_some_and(named)
    };
    let owners: Vec<usize> = started.iter().copied().filter(may).collect();
    let rule = if owners.len() < started.len() {
        Rule::AppContext
    } else {
        Rule::NeverStarted
    };
    let candidate = |row: usize| {
        let trace = rows.get(row).and_then(|start| start.trace);
        trace.map_or(Candidate::Unseen, Candidate::Async)
    };
    let mut candidates: Vec<Candidate> = owners.into_iter().map(candidate).collect();
    candidates.extend(left.unseen.then_some(Candidate::Unseen));
    (candidates, rule)
}

/// Workers that were open at the line's time, or since `from`.
fn open_workers<'a>(
    state: &'a State,
    line: &'a Waiting,
    from: u64,
) -> impl Iterator<Item = (usize, &'a Origin)> {
    state.window().filter(move |(_, worker)| {
        worker.start <= line.time
            && from <= worker.end
            && workers::may_be_worker(state, worker, line.time)
    })
}

/// Takes what the line says about the worker that printed it: one of those that may serve one of
/// the candidates.
pub(crate) fn learn(
    state: &mut State,
    line: &Waiting,
    printed: &Printed,
    candidates: &[Candidate],
) {
    let asyncs = printed.reach.asyncs;
    if printed.step == Step::None || asyncs & state.stages.worker == 0 {
        return;
    }
    if !workers::all_seen(state, line.time) {
        state.blind_until = state.blind_until.max(line.time);
        return;
    }
    let from = line.time.saturating_sub(line.slack);
    let mut rows: Vec<usize> = Vec::new();
    for (row, worker) in open_workers(state, line, from) {
        let on = On::of(state, worker);
        let serves = |start: &Start| {
            let trace = start.trace.map_or(Candidate::Unseen, Candidate::Async);
            candidates.contains(&trace) && workers::may_serve(&on, worker, start, from)
        };
        if steps::allow(state, worker, line, printed, asyncs)
            && (on.nothing() || state.starts.rows().iter().any(serves))
        {
            rows.push(row);
        }
    }
    let asynchronous = |candidate: &Candidate| matches!(candidate, Candidate::Async(_));
    let sure = rows.len() == 1 && candidates.iter().all(asynchronous);
    steps::learn(state, printed, line.time, &rows, sure);
    if printed.step == Step::Begins {
        state.told_since.get_or_insert(line.time);
    }
}

/// The starts that are left.
struct Left<'a> {
    state: &'a State,
    line: &'a Waiting,
    possible: Vec<bool>,
    unseen: bool,
}

impl Left<'_> {
    fn mark(&mut self, may: impl Fn(&Start) -> bool) {
        for (possible, start) in self.possible.iter_mut().zip(self.state.starts.rows()) {
            *possible |= may(start);
        }
    }

    /// Those whose events a worker may have been busy with.
    fn workers(&mut self, printed: &Printed, asyncs: Roots) {
        let (state, line) = (self.state, self.line);
        let stages = &state.stages;
        if asyncs & (stages.worker | stages.handover) == 0 {
            return;
        }
        if !workers::all_seen(state, line.time) {
            let from = line.time.saturating_sub(line.slack);
            self.mark(|start| from <= start.over().saturating_add(DONE_MARGIN));
            return;
        }
        let printed_from = line.time.saturating_sub(line.slack);
        let late = asyncs & (stages.watch | stages.handover) != 0;
        let from = printed_from.saturating_sub(if late { TAIL } else { 0 });
        for (_, worker) in open_workers(state, line, from) {
            if !steps::allow(state, worker, line, printed, asyncs) {
                continue;
            }
            // after the worker's end only some of its goroutines are left
            let alive = printed_from <= worker.end;
            let works = asyncs & if alive { stages.worker } else { stages.watch } != 0;
            self.served(worker, from, works);
        }
    }

    /// The requests that the worker may have been busy for; if not `works`, only those for which it
    /// queues something.
    fn served(&mut self, worker: &Origin, from: u64, works: bool) {
        let on = On::of(self.state, worker);
        self.unseen |= on.nothing() && worker.complete && matches!(worker.kind, Kind::Root(_));
        self.mark(|start| (works || start.updates) && workers::may_serve(&on, worker, start, from));
    }

    /// The last request that queued an event for the `AppContext` before the line, and those of
    /// which it is not sure when they did or on what they act.
    fn followers(&mut self, printed: &Printed) {
        let (state, time) = (self.state, self.line.time);
        let named = printed
            .names
            .iter()
            .any(|(key, _)| key == NameKey::AppContext);
        let queued = |start: &Start| start.until < time && start.sure;
        let may = |start: &Start| start.at <= time && state.starts.may_name(start, &printed.names);
        let rows = state.starts.rows().iter();
        let last = rows
            .filter(|start| named && may(start) && queued(start))
            .map(|start| start.at)
            .max()
            .unwrap_or(0);
        self.mark(|start| start.at >= last || !queued(start));
    }
}
