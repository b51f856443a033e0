//! Asynchronous work that requests start and that outlives them, and the `AppContext`s it is about.
//!
//! rsync's RPCs only queue an event for an `AppContext`; goroutines do the work later. A line of such
//! a goroutine belongs to one of the requests that started it. What strikes a start out: the line
//! names another `AppContext` (no other version of the same one); the start's worker said that it is done; a later request queued the
//! last event of the `AppContext` before the line (status updates belong to that one).

use std::collections::HashMap;

use model::ids::{SpanId, TraceId};
use model::line::NameKey;

use crate::callmap::{CallMap, Entries, Reach, bit};
use crate::origin::contradicts;

/// One request that started goroutines.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) entry: u8,
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    /// First moment of the request.
    pub(crate) at: u64,
    /// Its end; `u64::MAX` while it runs.
    pub(crate) until: u64,
    pub(crate) names: Vec<(NameKey, Box<str>)>,
    /// The `AppContext`s it acts on, as far as a line proved them.
    pub(crate) contexts: Vec<Box<str>>,
    /// Its `AppContext`s whose worker has said since that it is done, in that order.
    pub(crate) idle: Vec<Box<str>>,
    /// When its work was done; `u64::MAX` while that is not known.
    pub(crate) done: u64,
}

/// All starts of one process.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    rows: Vec<Start>,
    /// Which chain of updates an `AppContext` belongs to: resources stay tracked under the id they
    /// were first deployed with, so a line that names one may belong to a request on another.
    chains: HashMap<Box<str>, u32>,
    /// Starts that had to be forgotten: from then on anything may have an unknown owner.
    pub(crate) overflow: bool,
}

/// Most starts remembered.
const STARTS_MAX: usize = 8_192;
/// A worker may print this long after it said that it is done.
const DONE_MARGIN: u64 = 200_000_000;
/// Goroutines that follow what happens on the edge clusters.
const STATUS_ROOTS: [&str; 4] = [
    "k8s.scheduleStatus",
    "depend.ResourcesReady",
    "emcogit2go.",
    "emcogithub.",
];
/// Goroutines that work on one queued event after the other.
const EVENT_ROOTS: [&str; 2] = ["context.(*Context).", "context.HandleAppContext"];

/// Goroutines that a timer starts; none fires earlier than so long after its request began, nor
/// later than so long after its worker was done.
const TIMER_ROOTS: [&str; 1] = ["context.ScheduleDeleteStatusTracker"];
const TIMER_EARLIEST: u64 = 115_000_000_000;
const TIMER_LATEST: u64 = 180_000_000_000;

/// Which goroutines can have printed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Only those that work on queued events.
    Event,
    /// Those, or a timer that they set.
    EventOrTimer,
    /// Only those that follow the edge clusters.
    Status,
    /// Others, or several kinds.
    Any,
}

impl Stage {
    pub(crate) fn of(map: &CallMap, reach: Reach) -> Self {
        let is =
            |name: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let all =
            |fits: &dyn Fn(&str) -> bool| map.roots(reach.asyncs).all(|(_, root)| fits(root.name));
        match () {
            () if all(&|name| is(name, &EVENT_ROOTS)) => Self::Event,
            () if all(&|name| is(name, &EVENT_ROOTS) || is(name, &TIMER_ROOTS)) => {
                Self::EventOrTimer
            }
            () if all(&|name| is(name, &STATUS_ROOTS)) => Self::Status,
            () => Self::Any,
        }
    }
}

impl Starts {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The entries that have started something.
    pub(crate) fn entries(&self) -> Entries {
        self.rows
            .iter()
            .fold(0, |set, start| set | bit(start.entry))
    }

    /// Adds a start, or what is new about a known one.
    pub(crate) fn learn(&mut self, start: Start) {
        let same = |other: &&mut Start| {
            other.trace == start.trace
                && other.entry == start.entry
                && (other.span == start.span || other.span.is_none() || start.span.is_none())
        };
        if let Some(other) = self.rows.iter_mut().find(|other| same(other)) {
            other.at = start.at;
            other.until = start.until;
            other.span = start.span.or(other.span);
            other.names = start.names;
        } else if self.rows.len() < STARTS_MAX {
            self.rows.push(start);
        } else {
            self.overflow = true;
        }
    }

    /// A line proved that the request of that span acts on the `AppContext`.
    pub(crate) fn bind(&mut self, trace: Option<TraceId>, at: u64, context: &str) {
        let running =
            |start: &&mut Start| start.trace == trace && start.at <= at && at <= start.until;
        let Some(start) = self.rows.iter_mut().find(|start| running(start)) else {
            return;
        };
        if start.contexts.iter().any(|known| **known == *context) {
            return;
        }
        start.contexts.push(context.into());
        let next = u32::try_from(self.chains.len()).unwrap_or(u32::MAX);
        let chain = *self.chains.entry(context.into()).or_insert(next);
        let first = start
            .contexts
            .first()
            .and_then(|first| self.chains.get(first))
            .copied();
        if let Some(first) = first {
            // an update joins the chains of the old and the new one
            let joined = self.chains.values_mut().filter(|other| **other == chain);
            joined.for_each(|other| *other = first);
        }
    }

    fn chain(&self, context: &str) -> Option<u32> {
        self.chains.get(context).copied()
    }

    /// A worker of the `AppContext` said at `time` that its queue is empty.
    pub(crate) fn done(&mut self, context: &str, time: u64) {
        for start in &mut self.rows {
            if start.until <= time && start.contexts.iter().any(|known| **known == *context) {
                start.is_idle(context, time);
            }
        }
    }

    /// The starts that can own a line, and whether anything was struck out by an `AppContext` or by
    /// a name.
    pub(crate) fn owners(
        &self,
        entries: Entries,
        time: u64,
        names: &[(NameKey, Box<str>)],
        stage: Stage,
    ) -> (Vec<&Start>, bool) {
        let contexts: Vec<&str> = names
            .iter()
            .filter(|(key, _)| *key == NameKey::AppContext)
            .map(|(_, value)| &**value)
            .collect();
        let before = |start: &&Start| start.at <= time && bit(start.entry) & entries != 0;
        let all: Vec<&Start> = self.rows.iter().filter(before).collect();
        let mut left: Vec<&Start> = all.clone();
        let chains: Vec<Option<u32>> = contexts.iter().map(|context| self.chain(context)).collect();
        let acts_on = |start: &&Start| {
            let mut own = start.contexts.iter().map(|context| self.chain(context));
            contexts.is_empty()
                || start.contexts.is_empty()
                || own.any(|chain| chains.contains(&chain))
        };
        left.retain(acts_on);
        left.retain(|start| {
            !names
                .iter()
                .any(|(key, value)| contradicts(&start.names, *key, value))
        });
        match stage {
            Stage::Event => left.retain(|start| time <= start.done),
            Stage::EventOrTimer => {
                left.retain(|start| time <= start.done || start.timer_may_fire(time));
            }
            Stage::Status if !contexts.is_empty() => keep_last(&mut left, time),
            Stage::Status | Stage::Any => {}
        }
        let struck = left.len() < all.len();
        (left, struck)
    }
}

impl Start {
    /// The worker of one of the contexts has nothing left to do. An update works on the new
    /// `AppContext` and only then on the old one, so the old one's worker has to say so after the
    /// new one's.
    fn is_idle(&mut self, context: &str, time: u64) {
        match self.contexts.as_slice() {
            [_] => {}
            [old, new] if **old == *context && self.idle.contains(new) => {}
            _ => {
                self.idle.push(context.into());
                return;
            }
        }
        self.done = self.done.min(time.saturating_add(DONE_MARGIN));
    }

    fn timer_may_fire(&self, time: u64) -> bool {
        let earliest = self.at.saturating_add(TIMER_EARLIEST);
        (earliest..=self.done.saturating_add(TIMER_LATEST)).contains(&time)
    }
}

/// Keeps the last request that queued an event before `time`, and those of which it is not sure
/// when they did or on what they act.
fn keep_last(starts: &mut Vec<&Start>, time: u64) {
    let queued = |start: &Start| start.until < time && !start.contexts.is_empty();
    let last = starts
        .iter()
        .filter(|start| queued(start))
        .map(|start| start.at)
        .max();
    if let Some(last) = last {
        starts.retain(|start| start.at >= last || !queued(start));
    }
}
