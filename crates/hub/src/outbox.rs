//! Facts to tell, kept for every replica: each has its own place in one bounded row. No socket.

use std::collections::{HashSet, VecDeque};

use model::fact::{Fact, Operation};

/// The newest facts, numbered from 0 on.
#[derive(Debug)]
pub(crate) struct Outbox {
    facts: VecDeque<Fact>,
    operations: HashSet<Operation>,
    /// Number of the first fact that is still kept.
    first: u64,
    facts_max: usize,
}

/// A run of facts for one replica.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The facts.
    pub(crate) facts: Vec<Fact>,
    /// The replica's place when it has taken them.
    pub(crate) next: u64,
    /// How many facts went away before the replica took them.
    pub(crate) lost: u64,
}

impl Outbox {
    pub(crate) fn new(facts_max: usize) -> Self {
        Self {
            facts: VecDeque::new(),
            operations: HashSet::new(),
            first: 0,
            facts_max: facts_max.max(1),
        }
    }

    /// Takes a fact; answers whether it was new here.
    pub(crate) fn push(&mut self, fact: Fact) -> bool {
        if let Fact::Operation(operation) = &fact
            && !self.operations.insert(operation.clone())
        {
            return false;
        }
        self.facts.push_back(fact);
        if self.facts.len() > self.facts_max {
            if let Some(Fact::Operation(operation)) = self.facts.pop_front() {
                self.operations.remove(&operation);
            }
            self.first += 1;
        }
        true
    }

    /// The facts from `place` on, at most `max`; `None` if there are none.
    pub(crate) fn batch(&self, place: u64, max: usize) -> Option<Batch> {
        let lost = self.first.saturating_sub(place);
        let skip = usize::try_from(place.max(self.first) - self.first).ok()?;
        let facts: Vec<Fact> = self.facts.iter().skip(skip).take(max).cloned().collect();
        let next = place.max(self.first) + facts.len() as u64;
        (!facts.is_empty()).then_some(Batch { facts, next, lost })
    }

    /// The place of the oldest fact that is kept: where a replica that forgot everything starts.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }
}
