//! What a hub remembers: persons of traces and operations on `AppContext`s, both bounded.
//!
//! Every change gets the next number, so that an asker can say what it has seen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::fact::{Operation, Person, TraceUser};
use model::ids::TraceId;
use model::time::UnixNanos;
use model::verdict::User;

use crate::settings::EngineSettings;

/// Requests remembered of one trace, the newest ones.
const REQUESTS_MAX: usize = 16;

/// What a first-hop proxy's reporter says about a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This person made it.
    User(User),
    /// It was used by somebody whom nobody proved.
    Nobody,
    /// Somebody began to use it; who it is will be said later.
    Somebody,
}

/// A claim, and the request that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who made the request.
    pub claim: Claim,
    /// When the proxy received it.
    pub at: UnixNanos,
    /// When the proxy was done with it, as [`TraceUser::until`].
    pub until: UnixNanos,
    /// As [`TraceUser::exclusive`].
    pub exclusive: bool,
}

impl From<&TraceUser> for Statement {
    fn from(fact: &TraceUser) -> Self {
        Self {
            claim: Claim::User(fact.user.clone()),
            at: fact.at,
            until: fact.until,
            exclusive: fact.exclusive,
        }
    }
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
    /// The person; `None` if it was used by somebody whom nobody proved.
    user: Option<User>,
    /// The person's requests on it, the newest ones, with the number of the last change of each.
    requests: VecDeque<(Made, u64)>,
}

/// A request that somebody made.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: UnixNanos,
    until: UnixNanos,
    exclusive: bool,
}

#[derive(Debug, Default)]
struct Context {
    operations: VecDeque<(Operation, u64)>,
    touched: UnixNanos,
}

/// Something that is known, with the number of the change that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    User(TraceUser),
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

    pub(crate) fn claim(&mut self, trace: TraceId, statement: Statement, now: UnixNanos) -> Told {
        if self.conflicts.contains_key(&trace) {
            return Told::Known;
        }
        let made = Made {
            at: statement.at,
            until: statement.until,
            exclusive: statement.exclusive,
        };
        let known = self.traces.get_mut(&trace);
        let told = match (known, statement.claim) {
            (None, Claim::Nobody) => {
                self.begin(trace, None, now);
                Told::New
            }
            (None, Claim::User(user)) => {
                self.begin(trace, Some(user), now);
                self.add(trace, made)
            }
            (Some(known), Claim::Somebody) if known.runs_beside(made) => Told::Conflict,
            (_, Claim::Somebody) | (Some(Trace { user: None, .. }), Claim::Nobody) => Told::Known,
            (Some(known), Claim::User(user)) if known.is_of(&user) => {
                let known = known.user.iter_mut();
                known.for_each(|known| known.source = known.source.min(user.source));
                self.add(trace, made)
            }
            (Some(_), Claim::Nobody | Claim::User(_)) => Told::Conflict,
        };
        if told == Told::Conflict {
            self.set_conflict(trace);
        }
        told
    }

    fn begin(&mut self, trace: TraceId, user: Option<User>, now: UnixNanos) {
        let requests = VecDeque::new();
        self.traces.insert(trace, Trace { user, requests });
        self.traces_by_age.push_back((now, trace));
        self.trim_traces();
    }

    /// Adds a request of the person, or what is new about a known one. That one ended is no news that
    /// anybody is woken for: it takes away and gives nothing, unless somebody begins anew.
    fn add(&mut self, trace: TraceId, made: Made) -> Told {
        let Some(known) = self.traces.get_mut(&trace) else {
            return Told::New;
        };
        let mut requests = known.requests.iter_mut();
        if let Some((same, number)) = requests.find(|(known, _)| known.at == made.at) {
            let until = same.until.min(made.until);
            let exclusive = same.exclusive || made.exclusive;
            if (until, exclusive) != (same.until, same.exclusive) {
                (same.until, same.exclusive) = (until, exclusive);
                self.number += 1;
                *number = self.number;
            }
            return Told::Known;
        }
        if known.requests.len() >= REQUESTS_MAX {
            let times = known.requests.iter().map(|(made, _)| made.at);
            let oldest = times.enumerate().min_by_key(|(_, at)| *at);
            match oldest {
                Some((_, at)) if made.at < at => return Told::Known,
                Some((place, _)) => drop(known.requests.remove(place)),
                None => {}
            }
        }
        self.number += 1;
        known.requests.push_back((made, self.number));
        Told::New
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
        let known = self.traces.get(&trace);
        let user = known.and_then(|known| known.user.clone());
        user.map_or(Person::Unknown, Person::Known)
    }

    /// What is known about a trace's person since change `after`.
    pub(crate) fn trace_since(
        &self,
        trace: TraceId,
        after: u64,
    ) -> impl Iterator<Item = (u64, Known)> {
        let conflict = self.conflicts.get(&trace);
        let conflict = conflict.map(|number| (*number, Known::Conflict(trace)));
        let requests = self.traces.get(&trace).into_iter().flat_map(move |known| {
            let user = known.user.iter();
            user.flat_map(move |user| known.requests.iter().map(move |made| (user, made)))
        });
        let requests = requests.map(move |(user, (made, number))| {
            let fact = TraceUser {
                trace,
                user: user.clone(),
                at: made.at,
                until: made.until,
                exclusive: made.exclusive,
            };
            (*number, Known::User(fact))
        });
        let all = conflict.into_iter().chain(requests);
        all.filter(move |(number, _)| *number > after)
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

impl Trace {
    fn is_of(&self, user: &User) -> bool {
        self.user.as_ref().is_some_and(|known| known.id == user.id)
    }

    /// Whether another request than this one is known to run.
    fn runs_beside(&self, made: Made) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|(known, _)| known.until == TraceUser::RUNS && known.at != made.at)
    }
}
