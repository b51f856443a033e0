//! Asynchronous work that requests start and that outlives them, and the `AppContext`s it is about.
//!
//! rsync's RPCs only queue an event for an `AppContext`; a worker takes it from there later. Each RPC
//! says in its first statement (its receipt) on which `AppContext`s it acts:
//!
//! ```text
//! install, uninstall, read  X       ─▶ event on X                    direct task
//! update, rollback          X → Y   ─▶ event on Y                    direct task
//!                                      └▶ its worker queues one on X indirect task
//! ```
//!
//! A start may have more tasks than it really has (two receipts that fit two requests): every
//! conclusion is drawn from what no task allows.

use std::collections::{HashMap, HashSet, VecDeque};

use model::ids::{SpanId, TraceId};
use model::line::NameKey;

use crate::callmap::{Entries, bit};
use crate::line::Names;
use crate::origin::contradicts;

/// An event that a request queues, directly or through its worker.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) context: Box<str>,
    /// Whether the request itself queues it.
    pub(crate) direct: bool,
    /// When it was done for sure; `u64::MAX` while that is not known.
    pub(crate) done: u64,
    /// When the worker that did it had ended; `u64::MAX` while that is not known.
    pub(crate) closed: u64,
}

/// One request that started goroutines.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, none is a state"
)]
pub(crate) struct Start {
    pub(crate) entry: u8,
    /// Whether it works on two `AppContext`s, the second one through a worker.
    pub(crate) updates: bool,
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    /// First moment of the request.
    pub(crate) at: u64,
    /// Its end; `u64::MAX` while it runs.
    pub(crate) until: u64,
    /// Start of its first call; `u64::MAX` while there is none.
    pub(crate) first_call: u64,
    pub(crate) names: Vec<(NameKey, Box<str>)>,
    /// What it may have queued; empty while nothing is known.
    pub(crate) tasks: Vec<Task>,
    /// Whether the tasks are its own beyond doubt.
    pub(crate) sure: bool,
    /// Whether it ended without an error.
    pub(crate) succeeded: bool,
    /// Whether the worker that it started is known, or cannot be found any more.
    pub(crate) placed: bool,
}

/// The first statement of a request that names the `AppContext`s it acts on.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    /// It was printed between these moments.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// By one of these entries.
    pub(crate) entries: Entries,
    pub(crate) contexts: Vec<Box<str>>,
}

/// All starts of one process.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    rows: Vec<Start>,
    /// Entries that have started something.
    entries: Entries,
    /// Which chain of updates an `AppContext` belongs to: resources stay tracked under the id they
    /// were first deployed with, so a line that names one may belong to a request on another.
    chains: HashMap<Box<str>, u32>,
    chains_made: u32,
    /// The last receipts, for requests that are learned of after them.
    receipts: VecDeque<Receipt>,
    /// Starts that had to be forgotten: from then on anything may have an unknown owner.
    pub(crate) overflow: bool,
}

/// Most starts remembered.
const STARTS_MAX: usize = 8_192;
/// Receipts remembered for late requests.
const RECEIPTS_MAX: usize = 256;
/// A worker may print this long after it said that it is done.
pub(crate) const DONE_MARGIN: u64 = 200_000_000;
/// A timer fires no earlier than so long after its request began, nor later than so long after its
/// worker was done.
const TIMER_EARLIEST: u64 = 115_000_000_000;
const TIMER_LATEST: u64 = 180_000_000_000;

impl Starts {
    /// A new process began at `time`: what its predecessor started is over.
    pub(crate) fn begin_at(&mut self, time: u64) {
        self.rows.retain(|start| start.at >= time);
        self.receipts.retain(|receipt| receipt.to >= time);
        self.entries = self.rows.iter().fold(0, |set, row| set | bit(row.entry));
        self.overflow = false;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(crate) fn rows(&self) -> &[Start] {
        &self.rows
    }

    pub(crate) fn row_mut(&mut self, index: usize) -> Option<&mut Start> {
        self.rows.get_mut(index)
    }

    /// The entries that have started something.
    pub(crate) fn entries(&self) -> Entries {
        self.entries
    }

    /// Adds a start, or what is new about a known one.
    pub(crate) fn learn(&mut self, start: Start) {
        let same = |other: &&mut Start| {
            other.trace == start.trace
                && other.entry == start.entry
                && (other.span == start.span || other.span.is_none() || start.span.is_none())
        };
        if let Some(other) = self.rows.iter_mut().rev().find(|other| same(other)) {
            other.at = start.at;
            other.until = start.until;
            other.first_call = other.first_call.min(start.first_call);
            other.span = start.span.or(other.span);
            other.names = start.names;
            other.succeeded = start.succeeded;
            return;
        }
        self.entries |= bit(start.entry);
        // a request that is learned of late may have printed a receipt that was read before
        let fits = |receipt: &&Receipt| {
            receipt.entries & bit(start.entry) != 0
                && start.at <= receipt.to
                && receipt.from <= start.until.min(start.first_call)
        };
        let earlier: Vec<Receipt> = self.receipts.iter().filter(fits).cloned().collect();
        if let Some(row) = self.push(start) {
            for receipt in earlier {
                self.give(row, &receipt.contexts, false);
            }
        }
    }

    fn push(&mut self, start: Start) -> Option<usize> {
        if self.rows.len() >= STARTS_MAX {
            self.overflow = true;
            return None;
        }
        self.rows.push(start);
        Some(self.rows.len() - 1)
    }

    /// Takes a receipt. `traces` are the requests that can have printed it; `None` if it may be of
    /// one that nobody saw.
    pub(crate) fn receive(&mut self, receipt: Receipt, traces: Option<&[TraceId]>, updates: bool) {
        let fits = |start: &Start| {
            let trace = start
                .trace
                .is_some_and(|trace| traces.is_none_or(|traces| traces.contains(&trace)));
            trace
                && receipt.entries & bit(start.entry) != 0
                && start.at <= receipt.to
                && receipt.from <= start.until
        };
        let rows: Vec<usize> = (0..self.rows.len())
            .filter(|row| self.rows.get(*row).is_some_and(fits))
            .collect();
        let taken = |row: &usize| self.rows.get(*row).is_some_and(|row| !row.tasks.is_empty());
        // more receipts than requests prove a request that nobody saw
        let unseen = traces.is_none() || (rows.len() < 2 && rows.iter().all(taken));
        let sure = rows.len() == 1 && !unseen;
        for row in rows {
            self.give(row, &receipt.contexts, sure);
        }
        if unseen {
            let entry = u8::try_from(receipt.entries.trailing_zeros()).unwrap_or(u8::MAX);
            let unseen = Start {
                entry,
                updates,
                trace: None,
                span: None,
                at: receipt.from,
                until: u64::MAX,
                first_call: u64::MAX,
                names: Vec::new(),
                tasks: Vec::new(),
                sure: false,
                succeeded: false,
                placed: true,
            };
            self.entries |= bit(entry);
            if let Some(row) = self.push(unseen) {
                self.give(row, &receipt.contexts, false);
            }
        }
        if self.receipts.len() >= RECEIPTS_MAX {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
    }

    /// The start in that row may act on the `AppContext`s of a receipt.
    fn give(&mut self, row: usize, contexts: &[Box<str>], sure: bool) {
        let Some(start) = self.rows.get_mut(row) else {
            return;
        };
        start.sure = sure && start.tasks.is_empty();
        let task = |context: &str, direct| Task {
            context: context.into(),
            direct,
            done: u64::MAX,
            closed: u64::MAX,
        };
        match (start.updates, contexts) {
            (true, [one]) => start.tasks.extend([task(one, true), task(one, false)]),
            (true, [old, new]) => start.tasks.extend([task(new, true), task(old, false)]),
            _ => start
                .tasks
                .extend(contexts.iter().map(|one| task(one, true))),
        }
        self.join(contexts);
    }

    /// An update joins the chains of the old and the new `AppContext`.
    fn join(&mut self, contexts: &[Box<str>]) {
        let mut first = None;
        for context in contexts {
            let chain = *self.chains.entry(context.clone()).or_insert_with(|| {
                self.chains_made += 1;
                self.chains_made
            });
            let first = *first.get_or_insert(chain);
            if chain != first {
                let joined = self.chains.values_mut().filter(|other| **other == chain);
                joined.for_each(|other| *other = first);
            }
        }
    }

    fn chain(&self, context: &str) -> Option<u32> {
        self.chains.get(context).copied()
    }

    /// Whether the start can be about what a line names.
    pub(crate) fn may_name(&self, start: &Start, names: &Names) -> bool {
        let mut contexts = names
            .iter()
            .filter(|(key, _)| *key == NameKey::AppContext)
            .map(|(_, context)| self.chain(context))
            .peekable();
        let own = |chain: Option<u32>| {
            let mut tasks = start.tasks.iter();
            tasks.any(|task| self.chain(&task.context) == chain)
        };
        let acts_on = contexts.peek().is_none() || start.tasks.is_empty() || contexts.any(own);
        acts_on
            && !names
                .iter()
                .any(|(key, value)| contradicts(&start.names, key, value))
    }

    /// Whether a request that began before `time` may have a task as `is` says (of the start in that
    /// row); those of which nothing is known may have any.
    pub(crate) fn any_task(&self, time: u64, is: impl Fn((usize, &Task)) -> bool) -> bool {
        let mut rows = self.rows.iter().enumerate();
        rows.any(|(row, start)| {
            let mut tasks = start.tasks.iter();
            start.at <= time && (start.tasks.is_empty() || tasks.any(|task| is((row, task))))
        })
    }

    /// The start of the request with that trace and span.
    pub(crate) fn of(&self, trace: TraceId, span: Option<SpanId>) -> Option<&Start> {
        let mut rows = self.rows.iter().rev();
        rows.find(|start| start.trace == Some(trace) && start.span == span)
    }

    /// Forgets starts that were done long before `time` and after which another request queued the
    /// last event of their `AppContext`s.
    pub(crate) fn forget(&mut self, time: u64) {
        let mut last: HashMap<Option<u32>, u64> = HashMap::new();
        for start in self.rows.iter().filter(|start| start.until < time) {
            for task in &start.tasks {
                let at = last.entry(self.chain(&task.context)).or_default();
                *at = start.at.max(*at);
            }
        }
        let (chains, rows) = (&self.chains, &mut self.rows);
        let chain = |context: &str| chains.get(context).copied();
        let superseded = |start: &Start| {
            let mut newest = start
                .tasks
                .iter()
                .map(|task| last.get(&chain(&task.context)));
            newest.all(|at| at.is_some_and(|at| *at > start.at))
        };
        rows.retain(|start| {
            start.over().saturating_add(TIMER_LATEST) >= time || !superseded(start)
        });
        let used: HashSet<u32> = self
            .rows
            .iter()
            .flat_map(|start| &start.tasks)
            .filter_map(|task| self.chain(&task.context))
            .collect();
        self.chains.retain(|_, chain| used.contains(chain));
    }
}

impl Start {
    /// When everything it queued was done; `u64::MAX` while that is not known.
    pub(crate) fn over(&self) -> u64 {
        let done = self.tasks.iter().map(|task| task.done).max();
        done.unwrap_or(u64::MAX)
    }

    /// From then on its worker queues nothing any more; `u64::MAX` while that is not known.
    pub(crate) fn handed(&self) -> u64 {
        let direct = self.tasks.iter().filter(|task| task.direct);
        direct.map(|task| task.closed).max().unwrap_or(u64::MAX)
    }

    /// Whether a timer that its worker set may fire at `time`.
    pub(crate) fn timer_may_fire(&self, time: u64) -> bool {
        let earliest = self.at.saturating_add(TIMER_EARLIEST);
        (earliest..=self.over().saturating_add(TIMER_LATEST)).contains(&time)
    }
}
