//! Values that live inside one operation only, and whose operation that is.
//!
//! A temporary directory belongs to the request that made it; so does a new `AppContext` until that
//! request has ended (nobody else can know its id before). Every line that carries such a value was
//! printed by the same request, so the owner is in the intersection of the candidates of all those
//! lines.

use std::collections::{HashMap, VecDeque};

use model::ids::TraceId;
use model::line::NameKey;

/// Values of one kind that are remembered; the oldest are forgotten first.
const TOKENS_MAX: usize = 8_192;

/// The table of tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    tokens: Owners,
    contexts: Owners,
}

/// Of each value the requests that can own it.
#[derive(Debug, Default)]
struct Owners {
    owners: HashMap<Box<str>, Vec<TraceId>>,
    order: VecDeque<Box<str>>,
}

impl Tokens {
    /// The requests that can own the token; `None` if nothing is known.
    pub(crate) fn owners(&self, key: NameKey, value: &str) -> Option<&[TraceId]> {
        let kind = match key {
            NameKey::Token => &self.tokens,
            NameKey::AppContext => &self.contexts,
            _ => return None,
        };
        let owners = kind.owners.get(value)?;
        (!owners.is_empty()).then_some(owners)
    }

    /// A line with the token can only come from `candidates`.
    pub(crate) fn narrow(&mut self, key: NameKey, value: &str, candidates: &[TraceId]) {
        match key {
            NameKey::Token => self.tokens.narrow(value, candidates),
            NameKey::AppContext => self.contexts.narrow(value, candidates),
            _ => {}
        }
    }
}

impl Owners {
    fn narrow(&mut self, value: &str, candidates: &[TraceId]) {
        if let Some(owners) = self.owners.get_mut(value) {
            // an empty set stays empty: the value was no token after all
            owners.retain(|owner| candidates.contains(owner));
            return;
        }
        while self.order.len() >= TOKENS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.owners.remove(&oldest);
            }
        }
        self.order.push_back(value.into());
        self.owners.insert(value.into(), candidates.to_vec());
    }
}
