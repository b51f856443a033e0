//! Values that live inside one operation only, and whose operation that is.
//!
//! A temporary directory belongs to the request that made it; so does a new `AppContext` until that
//! request has ended (nobody else can know its id before). Every line that carries such a value was
//! printed by the same request, so the owner is in the intersection of the candidates of all those
//! lines.

use std::collections::{HashMap, VecDeque};

use model::ids::TraceId;
use model::line::NameKey;

/// Tokens remembered; the oldest are forgotten first.
const TOKENS_MAX: usize = 16_384;

/// The table of tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    owners: HashMap<(NameKey, Box<str>), Vec<TraceId>>,
    order: VecDeque<(NameKey, Box<str>)>,
}

impl Tokens {
    /// The requests that can own the token; `None` if nothing is known.
    pub(crate) fn owners(&self, key: NameKey, value: &str) -> Option<&[TraceId]> {
        let owners = self.owners.get(&(key, Box::from(value)))?;
        (!owners.is_empty()).then_some(owners)
    }

    /// A line with the token can only come from `candidates`.
    pub(crate) fn narrow(&mut self, key: NameKey, value: &str, candidates: &[TraceId]) {
        let name = (key, Box::from(value));
        if let Some(owners) = self.owners.get_mut(&name) {
            // an empty set stays empty: the value was no token after all
            owners.retain(|owner| candidates.contains(owner));
            return;
        }
        while self.order.len() >= TOKENS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.owners.remove(&oldest);
            }
        }
        self.order.push_back(name.clone());
        self.owners.insert(name, candidates.to_vec());
    }
}
