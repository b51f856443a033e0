//! The calls of a worker: a statement that directly follows a call was not printed by a worker that
//! made none.

use std::collections::VecDeque;

use crate::line::Firsts;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Reads from etcd; a worker does so each second.
    Read,
    /// Changes something in etcd.
    Write,
    /// Asks the document store.
    Store,
}

impl CallKind {
    /// By the span's name: `etcdserverpb.kv/range`, `resources.find`.
    pub(crate) fn of(span: &str) -> Self {
        match span.split_once('/') {
            None => Self::Store,
            Some((_, "range")) => Self::Read,
            Some(_) => Self::Write,
        }
    }
}

/// What a statement directly follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Nothing that could be seen.
    #[default]
    Nothing,
    /// Some call.
    Call,
    /// A call of the document store.
    Store,
    /// Some call, and a change in etcd a while before.
    Change,
}

/// Beginnings of messages, and what the statements directly follow.
const FOLLOWS: [(&str, Follows); 13] = [
    ("Successfully looked up CloudConfig", Follows::Store),
    ("Temp file for Kubeconfig", Follows::Store),
    ("Starting cluster watcher with L0", Follows::Store),
    ("Querying CloudConfig", Follows::Call),
    ("CloudConfig for this app will be looked up", Follows::Call),
    ("Getting app instruction", Follows::Call),
    ("GetSubResApprove", Follows::Call),
    ("Update Resource Diff found", Follows::Call),
    ("Done Processing - no new messages", Follows::Call),
    ("Wait for all subtasks to complete", Follows::Change),
    (" runCluster::", Follows::Change),
    ("Update Skipping", Follows::Change),
    ("Error in resource", Follows::Call),
];

const FIRSTS: Firsts = Firsts::of(&FOLLOWS);

impl Follows {
    /// By the statement's message.
    pub(crate) fn of(message: &str) -> Self {
        if !FIRSTS.begin(message) {
            return Self::Nothing;
        }
        let mut known = FOLLOWS.iter();
        let follows = known.find(|(text, _)| message.starts_with(text));
        follows.map_or(Self::Nothing, |(_, follows)| *follows)
    }
}

/// The last calls of a worker, by their ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    ends: VecDeque<(u64, CallKind)>,
    /// Calls that ended until then may be forgotten.
    forgotten: u64,
}

/// Calls remembered of one worker.
const CALLS_MAX: usize = 4_096;
/// A statement may come so long after the call that it directly follows (24 ms was seen).
const FOLLOWS_WITHIN: u64 = 150_000_000;
/// A round begins so soon after its event's state was written.
const CHANGE_WITHIN: u64 = 10_000_000_000;
/// Spans are rounded to whole microseconds.
const EDGE: u64 = 10_000;

impl Calls {
    pub(crate) fn add(&mut self, end: u64, kind: CallKind) {
        if self.ends.len() >= CALLS_MAX
            && let Some((oldest, _)) = self.ends.pop_front()
        {
            self.forgotten = oldest;
        }
        let at = self.ends.partition_point(|(other, _)| *other <= end);
        self.ends.insert(at, (end, kind));
    }

    /// Gives back the room that is not needed.
    pub(crate) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
    }

    /// Whether a statement at `time` (printed at most `slack` earlier) can follow a call.
    pub(crate) fn allow(&self, follows: Follows, time: u64, slack: u64) -> bool {
        let within = |reach: u64, is: fn(CallKind) -> bool| {
            let from = time.saturating_sub(slack).saturating_sub(reach);
            let first = self.ends.partition_point(|(end, _)| *end < from);
            let mut calls = self.ends.range(first..);
            from <= self.forgotten
                || calls.any(|(end, kind)| *end <= time.saturating_add(EDGE) && is(*kind))
        };
        match follows {
            Follows::Nothing => true,
            Follows::Call => within(FOLLOWS_WITHIN, |_| true),
            Follows::Store => within(FOLLOWS_WITHIN, |kind| kind == CallKind::Store),
            Follows::Change => {
                within(FOLLOWS_WITHIN, |_| true)
                    && within(CHANGE_WITHIN, |kind| kind == CallKind::Write)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const NOW: u64 = 100_000 * MS;

    #[test]
    fn a_statement_follows_a_call_of_its_kind() {
        let mut calls = Calls::default();
        assert!(!calls.allow(Follows::Call, NOW, 0));
        calls.add(NOW - MS, CallKind::of("etcdserverpb.kv/range"));
        assert!(calls.allow(Follows::Call, NOW, 0));
        assert!(!calls.allow(Follows::Store, NOW, 0));
        assert!(!calls.allow(Follows::Change, NOW, 0));
        calls.add(NOW - 5_000 * MS, CallKind::of("etcdserverpb.kv/put"));
        assert!(calls.allow(Follows::Change, NOW, 0));
        calls.add(NOW - 100 * MS, CallKind::of("resources.find"));
        assert!(calls.allow(Follows::Store, NOW, 0));
        assert!(!calls.allow(Follows::Store, NOW + 100 * MS, 0));
        assert!(calls.allow(Follows::Store, NOW + 100 * MS, 100 * MS));
    }

    #[test]
    fn what_was_forgotten_allows_everything() {
        let mut calls = Calls::default();
        for call in 0..=CALLS_MAX as u64 {
            calls.add(NOW + call * 1_000 * MS, CallKind::Read);
        }
        assert!(calls.allow(Follows::Store, NOW + 10 * MS, 0));
        assert!(!calls.allow(Follows::Store, NOW + 2_500 * MS, 0));
    }
}
