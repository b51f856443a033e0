//! Workers: the goroutines that take events from an `AppContext`'s queue, one after the other.
//!
//! Each worker is a root span of its own, so it is known when each was at work. Nothing tells on
//! which `AppContext` it works, but only two can have started it: an RPC, as its last deed, or (an
//! update's event on the old `AppContext`) another worker. A line of a worker belongs to one of the
//! requests whose events it may have taken: those on its `AppContext` that were not done before.

use crate::callmap::{CallMap, Roots};
use crate::origin::{Kind, Origin, PAUSE};
use crate::starts::{DONE_MARGIN, Start, Task};
use crate::state::State;

/// How long after its starter's last deed a goroutine may begin to run (11 ms was seen).
const HANDOVER: u64 = 150_000_000;
/// A worker has finished its first call so long after it began.
const FIRST_CALL: u64 = 1_000_000_000;
/// Spans arrive in the order of their ends, but for so much.
const ORDER_ERROR: u64 = 5_000_000;
/// How long the end of a worker that printed its last statement is waited for.
const END_PATIENCE: u64 = 2_000_000_000;
/// A call that fails so shortly before a worker finds its queue empty may be why it found it so.
const FAILURE_REACH: u64 = 1_000_000_000;
/// Most "queue is empty" lines that wait for evidence.
const FINISHED_MAX: usize = 1_024;

/// The kinds of goroutines that requests start, as sets of the call map's roots.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stages {
    /// Work on queued events inside a worker's span.
    pub(crate) worker: Roots,
    /// Those of them that may outlive the worker for a moment.
    pub(crate) watch: Roots,
    /// Queue the event of an update's second `AppContext`; may outlive the worker, too.
    pub(crate) handover: Roots,
    /// Work inside a round, one goroutine for each application and cluster.
    pub(crate) run: Roots,
    /// Those of them that work on one cluster.
    pub(crate) cluster: Roots,
    /// Are set off by a timer.
    pub(crate) timer: Roots,
    /// Follow what happens on the edge clusters.
    pub(crate) status: Roots,
}

impl Stages {
    pub(crate) fn of(map: Option<&CallMap>) -> Self {
        let set = |prefixes: &[&str]| {
            let roots = map.into_iter().flat_map(|map| map.roots(Roots::MAX));
            let named = roots.filter(|(_, root)| {
                !root.joined && prefixes.iter().any(|prefix| root.name.starts_with(prefix))
            });
            named.fold(0, |set, (id, _)| set | 1 << id)
        };
        Self {
            worker: set(&["context.(*Context)."]),
            watch: set(&["context.(*Context).appContextRoutine.func"]),
            handover: set(&["context.HandleAppContext"]),
            run: set(&["context.(*Context).run"]),
            cluster: set(&["context.(*Context).runApp."]),
            timer: set(&["context.ScheduleDeleteStatusTracker"]),
            status: set(&[
                "k8s.scheduleStatus",
                "depend.ResourcesReady",
                "emcogit2go.",
                "emcogithub.",
            ]),
        }
    }
}

/// A worker says at `time` that the queue of `context` is empty.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) context: Box<str>,
    pub(crate) time: u64,
}

/// Whether every worker that printed something until `time` has shown a span: it calls etcd before
/// its first statement, and spans arrive in the order of their ends.
pub(crate) fn all_seen(state: &State, time: u64) -> bool {
    state.spans_until >= time.saturating_add(ORDER_ERROR)
}

/// Whether the origin may be a worker.
pub(crate) fn may_be_worker(state: &State, origin: &Origin, time: u64) -> bool {
    let worker = match state.kind_at(origin, time, None) {
        Kind::Root(roots) => roots & state.stages.worker != 0,
        Kind::Unknown => true,
        Kind::Request { .. } => false,
    };
    worker && (origin.complete || !pauses(state, origin, time))
}

/// Whether it is silent for longer than a worker ever is.
fn pauses(state: &State, origin: &Origin, time: u64) -> bool {
    let until = origin.last_call.saturating_add(PAUSE);
    origin.pause.is_some() || (until < time && all_seen(state, until))
}

/// The `AppContext`s that a worker may be on.
pub(crate) struct On<'a> {
    any: bool,
    contexts: Vec<&'a str>,
}

impl<'a> On<'a> {
    /// What the possible starters of the worker act on.
    pub(crate) fn of(state: &'a State, worker: &'a Origin) -> Self {
        let mut on = Self {
            any: false,
            contexts: Vec::new(),
        };
        if let Some(context) = &worker.context {
            on.contexts.push(context);
            return on;
        }
        for start in state.starts.rows() {
            let direct = may_have_started(state, start, worker);
            let indirect = start.updates && may_have_handed(start, worker);
            on.any |= start.tasks.is_empty() && (direct || indirect);
            let tasks = start.tasks.iter();
            let started = tasks.filter(|task| if task.direct { direct } else { indirect });
            on.contexts.extend(started.map(|task| &*task.context));
        }
        on
    }

    /// Whether nobody who is known can have started the worker.
    pub(crate) fn nothing(&self) -> bool {
        !self.any && self.contexts.is_empty()
    }

    pub(crate) fn may_be(&self, context: &str) -> bool {
        self.any || self.contexts.contains(&context)
    }
}

/// First and last moment at which the worker may have begun.
fn began(worker: &Origin) -> (u64, u64) {
    let last = worker.first_call.max(worker.start);
    (
        worker.start,
        if last == u64::MAX { worker.start } else { last },
    )
}

/// Whether the request may have started the worker itself: that is the last it does.
fn may_have_started(state: &State, start: &Start, worker: &Origin) -> bool {
    let (from, to) = began(worker);
    if start.at > to || from > start.until.saturating_add(HANDOVER) {
        return false;
    }
    let calls_on = |trace| {
        let mut rows = state.origins.of_trace(trace);
        let own = |origin: &Origin| start.span.is_some() && origin.span == start.span;
        rows.any(|(_, origin)| own(origin) && origin.last_call > to)
    };
    !start.trace.is_some_and(calls_on)
}

/// Whether the worker may be the one that an update's worker started for the old `AppContext`.
fn may_have_handed(start: &Start, worker: &Origin) -> bool {
    let (from, to) = began(worker);
    start.at <= to && from <= start.handed().saturating_add(HANDOVER)
}

/// Whether the worker may be busy with something that the request queued, at `time` or later.
pub(crate) fn may_serve(on: &On<'_>, worker: &Origin, start: &Start, time: u64) -> bool {
    let (from, _) = began(worker);
    let serves = |task: &Task| {
        on.may_be(&task.context)
            && time <= task.done.saturating_add(DONE_MARGIN)
            && from <= task.done
    };
    start.tasks.is_empty() || start.tasks.iter().any(serves)
}

/// Notes that a worker found a queue empty; what follows from it is seen by [`settle`].
pub(crate) fn finished(state: &mut State, context: &str, time: u64) {
    if state.finished.len() >= FINISHED_MAX {
        state.finished.pop_front();
    }
    state.finished.push_back(Finished {
        context: context.into(),
        time,
    });
}

/// Finds the workers that requests must have started: one that succeeds and acts on an `AppContext`
/// that nobody works on starts a worker as its last deed.
fn place(state: &mut State) {
    for row in 0..state.starts.rows().len() {
        let Some(start) = state.starts.rows().get(row).filter(|start| !start.placed) else {
            continue;
        };
        if !all_seen(state, start.until.saturating_add(HANDOVER + FIRST_CALL)) {
            continue;
        }
        let found = started_worker(state, row, start);
        // later, workers of that time are forgotten
        let last_try = all_seen(
            state,
            start.until.saturating_add(state.settings.horizon / 3),
        );
        if let Some(start) = state.starts.row_mut(row) {
            start.placed = found.is_some() || last_try;
        }
        if let Some((worker, context)) = found
            && !last_try
            && let Some(origin) = state.origins.row_mut(worker)
        {
            origin.context = Some(context);
        }
    }
}

/// The one worker that the request can and must have started, with its `AppContext`.
fn started_worker(state: &State, row: usize, start: &Start) -> Option<(usize, Box<str>)> {
    if !start.sure || !start.succeeded {
        return None;
    }
    let mut direct = start.tasks.iter().filter(|task| task.direct);
    let context = &direct.next()?.context;
    let busy = |(other, task): (usize, &Task)| {
        task.context == *context && other != row && task.done > start.at
    };
    if direct.next().is_some() || state.starts.any_task(start.until, busy) || state.forgot_starts()
    {
        return None;
    }
    let can = |(_, origin): &(usize, &Origin)| {
        origin.context.is_none()
            && may_be_worker(state, origin, start.until)
            && may_have_started(state, start, origin)
    };
    let mut workers = state.origins.rows().iter().enumerate().filter(can);
    match (workers.next(), workers.next()) {
        (Some((worker, _)), None) => Some((worker, context.clone())),
        _ => None,
    }
}

/// Draws the conclusions from the workers that found their queues empty, once their spans are here.
pub(crate) fn settle(state: &mut State) {
    place(state);
    for _ in 0..state.finished.len() {
        let Some(finished) = state.finished.pop_front() else {
            break;
        };
        if !settled(state, &finished) {
            state.finished.push_back(finished);
        }
    }
}

/// Whether nothing more is to be learned from the line.
fn settled(state: &mut State, finished: &Finished) -> bool {
    let time = finished.time;
    if !all_seen(state, time) {
        return false;
    }
    let printed = |origin: &&Origin| {
        origin.open_at(time)
            && may_be_worker(state, origin, time)
            && On::of(state, origin).may_be(&finished.context)
    };
    let workers: Vec<&Origin> = state.origins.rows().iter().filter(printed).collect();
    let complete = workers.iter().all(|worker| worker.complete);
    if !complete && !all_seen(state, time.saturating_add(END_PATIENCE)) {
        return false;
    }
    // a queue that cannot be read looks empty, too
    let failure = time.saturating_sub(FAILURE_REACH)..=time;
    let failed = |worker: &&Origin| worker.failures.iter().any(|at| failure.contains(at));
    if workers.is_empty() || workers.iter().any(failed) {
        return true;
    }
    let ends = workers.iter().map(|worker| worker.end).max();
    let closed = ends.filter(|_| complete).unwrap_or(u64::MAX);
    let done: Vec<(usize, bool)> = state
        .starts
        .rows()
        .iter()
        .enumerate()
        .filter(|(_, start)| start.tasks.iter().any(|task| task.is(finished)))
        .map(|(row, start)| (row, handed_by(state, &workers, row, start, finished)))
        .collect();
    for (row, handed) in done {
        let Some(start) = state.starts.row_mut(row) else {
            continue;
        };
        let until = start.until;
        for task in start.tasks.iter_mut().filter(|task| task.is(finished)) {
            if task.direct && until <= time || !task.direct && handed {
                task.done = time;
                task.closed = closed;
            }
        }
    }
    true
}

/// Whether the update's second event was queued before its queue was found empty: nothing could
/// queue it later, or the one worker that found it so was started for it.
fn handed_by(
    state: &State,
    workers: &[&Origin],
    row: usize,
    start: &Start,
    finished: &Finished,
) -> bool {
    if start.handed() <= finished.time {
        return true;
    }
    // every task on the AppContext was done before the request, but for its own: only it can have
    // had a worker started
    let another = |(other, task): (usize, &Task)| {
        task.context == finished.context && (other != row || task.direct) && task.done >= start.at
    };
    if start.sure && start.at < finished.time && !state.starts.any_task(finished.time, another) {
        return true;
    }
    let [worker] = workers else { return false };
    let (from, _) = began(worker);
    let about = |start: &Start, direct: bool| {
        let mut tasks = start.tasks.iter();
        start.tasks.is_empty()
            || tasks.any(|task| task.direct == direct && task.context == finished.context)
    };
    let other = |(other, start): (usize, &Start)| {
        about(start, true) && may_have_started(state, start, worker)
            || other != row
                && start.updates
                && about(start, false)
                && may_have_handed(start, worker)
    };
    start.at < from && !state.starts.rows().iter().enumerate().any(other)
}

impl Task {
    fn is(&self, finished: &Finished) -> bool {
        self.done == u64::MAX && self.context == finished.context
    }
}
