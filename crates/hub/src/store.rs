//! What a hub remembers: persons of traces and operations on `AppContext`s, both bounded.
//!
//! Every change gets the next number, so that an asker can say what it has seen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::fact::{Operation, Person};
use model::ids::TraceId;
use model::time::UnixNanos;
use model::verdict::User;

use crate::settings::EngineSettings;

/// What a first-hop proxy's reporter says about a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This person made it.
    User(User),
    /// It was used by somebody whom nobody proved.
    Nobody,
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// It was not known.
    New,
    /// It was known.
    Known,
    /// It contradicts what was known: the trace names nobody any more.
    Conflict,
}

/// The facts, and how old they are.
#[derive(Debug)]
pub(crate) struct Store {
    settings: EngineSettings,
    number: u64,
    traces: HashMap<TraceId, Trace>,
    traces_by_age: VecDeque<(UnixNanos, TraceId)>,
    conflicts: HashMap<TraceId, u64>,
    conflicts_by_age: VecDeque<TraceId>,
    contexts: HashMap<Arc<str>, Context>,
    contexts_by_age: VecDeque<(UnixNanos, Arc<str>)>,
    pub(crate) forgotten: Forgotten,
}

/// What was given up for room, before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) traces: u64,
    pub(crate) conflicts: u64,
    pub(crate) app_contexts: u64,
    pub(crate) operations: u64,
}

#[derive(Debug)]
struct Trace {
    claim: Claim,
    at: UnixNanos,
    number: u64,
}

#[derive(Debug, Default)]
struct Context {
    operations: VecDeque<(Operation, u64)>,
    touched: UnixNanos,
}

/// Something that is known, with the number of the change that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    User(TraceId, User, UnixNanos),
    Conflict(TraceId),
    Operation(Operation),
}

impl Store {
    pub(crate) fn new(settings: EngineSettings) -> Self {
        Self {
            settings,
            number: 0,
            traces: HashMap::new(),
            traces_by_age: VecDeque::new(),
            conflicts: HashMap::new(),
            conflicts_by_age: VecDeque::new(),
            contexts: HashMap::new(),
            contexts_by_age: VecDeque::new(),
            forgotten: Forgotten::default(),
        }
    }

    /// The number of the latest change.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn claim(
        &mut self,
        trace: TraceId,
        claim: Claim,
        at: UnixNanos,
        now: UnixNanos,
    ) -> Told {
        if self.conflicts.contains_key(&trace) {
            return Told::Known;
        }
        let Some(known) = self.traces.get_mut(&trace) else {
            self.number += 1;
            let number = self.number;
            self.traces.insert(trace, Trace { claim, at, number });
            self.traces_by_age.push_back((now, trace));
            self.trim_traces();
            return Told::New;
        };
        match (&mut known.claim, &claim) {
            (Claim::Nobody, Claim::Nobody) => {}
            (Claim::User(known), Claim::User(user)) if known.id == user.id => {
                known.source = known.source.min(user.source);
            }
            _ => {
                self.set_conflict(trace);
                return Told::Conflict;
            }
        }
        known.at = known.at.min(at);
        Told::Known
    }

    pub(crate) fn operation(&mut self, operation: Operation, now: UnixNanos) -> Told {
        let id = Arc::clone(&operation.app_context);
        let context = self.contexts.entry(Arc::clone(&id)).or_insert_with(|| {
            self.contexts_by_age.push_back((now, Arc::clone(&id)));
            Context::default()
        });
        context.touched = now;
        let same = |known: &&mut (Operation, u64)| {
            let (known, _) = known;
            known.trace == operation.trace
                && known.action == operation.action
                && known.service == operation.service
        };
        if let Some((known, _)) = context.operations.iter_mut().find(|known| same(known)) {
            known.at = known.at.min(operation.at);
            return Told::Known;
        }
        self.number += 1;
        context.operations.push_back((operation, self.number));
        if context.operations.len() > self.settings.operations_max {
            context.operations.pop_front();
            self.forgotten.operations += 1;
        }
        self.trim_contexts();
        Told::New
    }

    pub(crate) fn person(&self, trace: TraceId) -> Person {
        if self.conflicts.contains_key(&trace) {
            return Person::Conflict;
        }
        match self.traces.get(&trace).map(|known| &known.claim) {
            Some(Claim::User(user)) => Person::Known(user.clone()),
            Some(Claim::Nobody) | None => Person::Unknown,
        }
    }

    /// What is known about a trace's person since change `after`.
    pub(crate) fn trace_since(&self, trace: TraceId, after: u64) -> Option<(u64, Known)> {
        if let Some(number) = self.conflicts.get(&trace) {
            return (*number > after).then_some((*number, Known::Conflict(trace)));
        }
        let known = self
            .traces
            .get(&trace)
            .filter(|known| known.number > after)?;
        match &known.claim {
            Claim::User(user) => Some((known.number, Known::User(trace, user.clone(), known.at))),
            Claim::Nobody => None,
        }
    }

    /// What is known about an `AppContext` since change `after`.
    pub(crate) fn operations_since(
        &self,
        app_context: &str,
        after: u64,
    ) -> impl Iterator<Item = (u64, Known)> {
        self.contexts
            .get(app_context)
            .into_iter()
            .flat_map(|context| &context.operations)
            .filter(move |(_, number)| *number > after)
            .map(|(operation, number)| (*number, Known::Operation(operation.clone())))
    }

    /// Forgets what is older than the horizon. Conflicts stay.
    pub(crate) fn expire(&mut self, now: UnixNanos) {
        let horizon = u64::try_from(self.settings.horizon.as_nanos()).unwrap_or(u64::MAX);
        let oldest = now.minus(horizon);
        while let Some((at, trace)) = self.traces_by_age.front() {
            if *at >= oldest {
                break;
            }
            self.traces.remove(trace);
            self.traces_by_age.pop_front();
        }
        while let Some((at, id)) = self.contexts_by_age.pop_front() {
            if at >= oldest {
                self.contexts_by_age.push_front((at, id));
                break;
            }
            match self.contexts.get(&id).map(|context| context.touched) {
                Some(touched) if touched >= oldest => {
                    self.contexts_by_age.push_back((touched, id));
                }
                _ => {
                    self.contexts.remove(&id);
                }
            }
        }
    }

    /// How many traces, conflicts and `AppContext`s are remembered.
    pub(crate) fn lengths(&self) -> (usize, usize, usize) {
        (self.traces.len(), self.conflicts.len(), self.contexts.len())
    }

    fn set_conflict(&mut self, trace: TraceId) {
        self.number += 1;
        self.traces.remove(&trace);
        self.conflicts.insert(trace, self.number);
        self.conflicts_by_age.push_back(trace);
        if self.conflicts_by_age.len() > self.settings.conflicts_max
            && let Some(oldest) = self.conflicts_by_age.pop_front()
        {
            self.conflicts.remove(&oldest);
            self.forgotten.conflicts += 1;
        }
    }

    // The queue also has traces that became conflicts: they count until they come to its front.
    fn trim_traces(&mut self) {
        while self.traces_by_age.len() > self.settings.traces_max {
            let Some((_, oldest)) = self.traces_by_age.pop_front() else {
                return;
            };
            self.forgotten.traces += u64::from(self.traces.remove(&oldest).is_some());
        }
    }

    fn trim_contexts(&mut self) {
        while self.contexts_by_age.len() > self.settings.app_contexts_max {
            let Some((_, oldest)) = self.contexts_by_age.pop_front() else {
                return;
            };
            self.forgotten.app_contexts += u64::from(self.contexts.remove(&oldest).is_some());
        }
    }
}
