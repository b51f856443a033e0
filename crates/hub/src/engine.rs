//! The hub as a state machine: facts come in, questions wait until something asked becomes known.
//! No socket, no clock: the driver brings requests and time, and fetches what became ready.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use model::fact::{Fact, Person};
use model::ids::TraceId;
use model::time::UnixNanos;

use crate::settings::EngineSettings;
use crate::store::{Forgotten, Known, Statement, Store, Told};
use crate::wire::WireFact;

/// Most facts in one answer; the rest comes with the next question.
const ANSWER_MAX: usize = 4096;

/// A question that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(u64);

/// What somebody wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Whose persons.
    pub traces: HashSet<TraceId>,
    /// Operations on which `AppContext`s.
    pub app_contexts: HashSet<Arc<str>>,
    /// Only what became known after this change.
    pub after: u64,
}

/// What is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub(crate) facts: Vec<WireFact>,
    pub(crate) upto: u64,
}

impl Answer {
    /// How many facts it holds.
    pub const fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something is known already, or no more questions can wait.
    Now(Answer),
    /// It waits; [`Engine::ready`] will name it, unless [`Engine::give_up`] is called before.
    Waits(WaitId),
}

/// Facts and questions of one hub replica.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    waiting_max: usize,
    next_wait: u64,
    waiting: BTreeMap<WaitId, Ask>,
    ready: Vec<WaitId>,
    /// How many questions found no place to wait.
    pub(crate) turned_away: u64,
}

impl Engine {
    /// Knows nothing.
    pub fn new(settings: EngineSettings) -> Self {
        Self {
            waiting_max: settings.waiting_max,
            store: Store::new(settings),
            next_wait: 0,
            waiting: BTreeMap::new(),
            ready: Vec::new(),
            turned_away: 0,
        }
    }

    /// Takes a fact. Whether the teller may state it was decided before.
    pub fn tell(&mut self, fact: Fact, now: UnixNanos) -> Told {
        match fact {
            Fact::TraceUser(fact) => self.claim(fact.trace, (&fact).into(), now),
            Fact::Operation(operation) => {
                self.store.expire(now);
                let id = Arc::clone(&operation.app_context);
                let told = self.store.operation(operation, now);
                if told == Told::New {
                    self.wake(|ask| ask.app_contexts.contains(&id));
                }
                told
            }
        }
    }

    /// Takes what a trusted proxy says about a trace. The same trace with two users, or with a user
    /// and somebody unknown, is a conflict from then on, in whatever order they come.
    pub fn claim(&mut self, trace: TraceId, statement: Statement, now: UnixNanos) -> Told {
        self.store.expire(now);
        let told = self.store.claim(trace, statement, now);
        if told != Told::Known && self.store.person(trace) != Person::Unknown {
            self.wake(|ask| ask.traces.contains(&trace));
        }
        told
    }

    /// What is known about a trace's person.
    pub fn person(&self, trace: TraceId) -> Person {
        self.store.person(trace)
    }

    /// Answers a question with what is known, or lets it wait.
    pub fn ask(&mut self, ask: Ask, now: UnixNanos) -> Asked {
        self.store.expire(now);
        let answer = self.answer(&ask);
        if !answer.is_empty() {
            return Asked::Now(answer);
        }
        if self.waiting.len() >= self.waiting_max {
            self.turned_away += 1;
            return Asked::Now(answer);
        }
        self.next_wait += 1;
        let id = WaitId(self.next_wait);
        self.waiting.insert(id, ask);
        Asked::Waits(id)
    }

    /// The next question that can be answered now.
    pub fn ready(&mut self) -> Option<(WaitId, Answer)> {
        while let Some(id) = self.ready.pop() {
            if let Some(ask) = self.waiting.remove(&id) {
                return Some((id, self.answer(&ask)));
            }
        }
        None
    }

    /// Nobody waits for this question any more.
    pub fn give_up(&mut self, id: WaitId) {
        self.waiting.remove(&id);
    }

    /// What is known about `ask` now.
    pub fn answer(&self, ask: &Ask) -> Answer {
        let traces = ask
            .traces
            .iter()
            .flat_map(|trace| self.store.trace_since(*trace, ask.after));
        let operations = ask
            .app_contexts
            .iter()
            .flat_map(|id| self.store.operations_since(id, ask.after));
        let mut known: Vec<(u64, Known)> = traces.chain(operations).collect();
        known.sort_unstable_by_key(|(number, _)| *number);
        let upto = match known.get(ANSWER_MAX - 1) {
            Some((number, _)) if known.len() > ANSWER_MAX => *number,
            _ => self.store.number(),
        };
        known.truncate(ANSWER_MAX);
        Answer {
            facts: known.into_iter().map(|(_, known)| known.into()).collect(),
            upto,
        }
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// What was forgotten for room since the last call.
    pub(crate) fn take_forgotten(&mut self) -> Forgotten {
        std::mem::take(&mut self.store.forgotten)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn wake(&mut self, asked: impl Fn(&Ask) -> bool) {
        let woken = self
            .waiting
            .iter()
            .filter(|(_, ask)| asked(ask))
            .map(|(id, _)| *id);
        self.ready.extend(woken);
    }
}

impl From<Known> for WireFact {
    fn from(known: Known) -> Self {
        match known {
            Known::User(fact) => Self::from(&Fact::TraceUser(fact)),
            Known::Conflict(trace) => Self::Conflict {
                trace: trace.to_string(),
            },
            Known::Operation(operation) => Self::from(&Fact::Operation(operation)),
        }
    }
}
