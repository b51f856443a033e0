//! Which request made an `AppContext`, told from pod to pod.
//!
//! ```text
//! orchestrator   a line that only request T can have printed builds AppContext X ──▶ hub: T made X
//! rsync          a receipt names X, several RPCs are open ──▶ hub: who acts on X?
//!                                         T's own RPC is one of them: it printed the receipt
//! ```
//!
//! Until the request that made an `AppContext` has ended nobody else can know its id. That is all
//! that is concluded, and only from receipts with one id: an update's names the old one, too, and
//! later on an id names an object, and proves nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::fact::Operation;
use model::ids::TraceId;
use model::line::NameKey;
use model::time::UnixNanos;

use crate::decide::Candidate;
use crate::line::{Printed, Waiting};
use crate::state::State;

/// The action of an operation that makes its `AppContext`.
const CREATES: &str = "create";
/// Most makers remembered; the oldest are forgotten first.
const MAKERS_MAX: usize = 4_096;
/// Most facts and questions on their way out; further ones are not sent.
const OUT_MAX: usize = 1_024;

/// The makers that are known, what is to be told of others, and what is to be asked.
#[derive(Debug, Default)]
pub(crate) struct Makers {
    /// `None` if two requests are said to have made it: that proves nothing.
    by_context: HashMap<Box<str>, Option<TraceId>>,
    order: VecDeque<Box<str>>,
    told: Vec<Operation>,
    questions: Vec<Box<str>>,
}

impl Makers {
    /// Takes what another pod saw.
    pub(crate) fn learn(&mut self, operation: &Operation) {
        if &*operation.action == CREATES {
            self.add(&operation.app_context, operation.trace);
        }
    }

    /// Answers whether that is new.
    fn add(&mut self, context: &str, trace: TraceId) -> bool {
        if let Some(maker) = self.by_context.get_mut(context) {
            *maker = maker.filter(|known| *known == trace);
            return false;
        }
        if self.order.len() >= MAKERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_context.remove(&oldest);
        }
        self.order.push_back(context.into());
        self.by_context.insert(context.into(), Some(trace));
        true
    }

    fn of(&self, context: &str) -> Option<TraceId> {
        self.by_context.get(context).copied().flatten()
    }

    /// Asks others who made what the line names, if it is a receipt.
    pub(crate) fn ask(&mut self, printed: &Printed) {
        if !printed.receipt {
            return;
        }
        for context in contexts(printed) {
            if !self.by_context.contains_key(context) && self.questions.len() < OUT_MAX {
                self.questions.push(context.into());
            }
        }
    }

    /// `AppContext`s of which others may know who made them.
    pub(crate) fn take_questions(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.questions)
    }

    /// What others should know.
    pub(crate) fn take_told(&mut self) -> Vec<Operation> {
        std::mem::take(&mut self.told)
    }
}

/// Remembers that `trace` made the `AppContext` that the line builds.
pub(crate) fn note(state: &mut State, line: &Waiting, printed: &Printed, trace: TraceId) {
    if !printed.creates_context {
        return;
    }
    for context in contexts(printed) {
        if state.makers.add(context, trace) && state.makers.told.len() < OUT_MAX {
            state.makers.told.push(Operation {
                trace,
                app_context: Arc::from(context),
                action: Arc::from(CREATES),
                service: Arc::from(state.settings.service.as_str()),
                at: UnixNanos(line.time),
            });
        }
    }
}

/// Leaves the request that made the `AppContext` of a receipt, if it is one of the candidates;
/// answers whether that struck out others.
pub(crate) fn apply(state: &State, printed: &Printed, candidates: &mut Vec<Candidate>) -> bool {
    if !printed.receipt || contexts(printed).count() != 1 {
        return false;
    }
    let before = candidates.len();
    for maker in contexts(printed).filter_map(|context| state.makers.of(context)) {
        let made = |candidate: &Candidate| {
            matches!(candidate, Candidate::Request(_)) && candidate.trace(state) == Some(maker)
        };
        if candidates.iter().any(made) {
            candidates.retain(made);
        }
    }
    candidates.len() < before
}

fn contexts(printed: &Printed) -> impl Iterator<Item = &str> {
    let names = printed.names.iter();
    names.filter_map(|(key, context)| (key == NameKey::AppContext).then_some(context))
}
