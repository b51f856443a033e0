//! Which person made which trace, as the first-hop proxies said.

use std::collections::{HashMap, VecDeque};

use model::fact::{Person, TraceUser};
use model::ids::TraceId;
use model::verdict::User;

/// Traces remembered; the oldest are forgotten first.
const TRACES_MAX: usize = 65_536;

/// The table of people.
#[derive(Debug, Default)]
pub(crate) struct People {
    by_trace: HashMap<TraceId, Person>,
    order: VecDeque<TraceId>,
}

impl People {
    /// Takes a statement; a second, different person for a trace is a conflict for good.
    pub(crate) fn learn(&mut self, fact: &TraceUser) {
        let slot = self.by_trace.entry(fact.trace).or_insert_with(|| {
            self.order.push_back(fact.trace);
            Person::Unknown
        });
        *slot = match std::mem::take(slot) {
            Person::Unknown => Person::Known(fact.user.clone()),
            Person::Known(user) if user.id == fact.user.id => {
                let source = user.source.min(fact.user.source);
                Person::Known(User {
                    id: user.id,
                    source,
                })
            }
            Person::Known(_) | Person::Conflict => Person::Conflict,
        };
        while self.order.len() > TRACES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_trace.remove(&oldest);
            }
        }
    }

    /// Marks a trace as contradicted (another replica knows of two people).
    pub(crate) fn conflict(&mut self, trace: TraceId) {
        if self.by_trace.insert(trace, Person::Conflict).is_none() {
            self.order.push_back(trace);
        }
    }

    /// Whether a first-hop proxy saw the trace begin.
    pub(crate) fn knows(&self, trace: TraceId) -> bool {
        self.by_trace.contains_key(&trace)
    }

    /// The person behind `trace`, if proven and not contradicted.
    pub(crate) fn of(&self, trace: TraceId) -> Option<User> {
        match self.by_trace.get(&trace) {
            Some(Person::Known(user)) => Some(user.clone()),
            _ => None,
        }
    }
}
