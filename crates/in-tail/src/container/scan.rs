//! Looking at the directory: which files are there, which of them are read already.

use std::collections::{HashMap, HashSet};
use std::io;

use model::time::UnixNanos;

use super::{Container, MISSED_MAX};
use crate::candidate::Candidate;
use crate::disk::Disk;
use crate::engine::{Context, Now};
use crate::event::ContainerInfo;
use crate::listing::{self, Listed};
use crate::names::Order;
use crate::plain::{self, Following, Known};
use crate::settings::Replay;

/// Unread files held open at a time; newer ones are opened when it is their turn.
const HELD_MAX: usize = 64;

impl<D: Disk> Container<D> {
    pub(super) fn scan(&mut self, context: &mut Context<D>, now: Now) {
        let listed = match listing::list(&context.disk, &self.info, &context.plain_paths) {
            Ok(listed) => {
                context.calm(&self.info.path);
                self.present = true;
                self.ended = false;
                listed
            }
            Err(source) => {
                let missing = source.kind() == io::ErrorKind::NotFound;
                let path = self.info.path.clone();
                context.list_failed(&path, source);
                if !missing {
                    return;
                }
                self.present = false;
                Vec::new()
            }
        };
        let orders: Vec<Order> = self.candidates.iter().map(|c| c.order.clone()).collect();
        if let Some(active) = &mut self.active {
            active.listed = false;
            let modified = active.stat.modified;
            active.order = nameless(&active.order, &self.info, modified, &orders);
        }
        let mut previous = std::mem::take(&mut self.candidates);
        let mut found: Vec<Candidate<D>> = Vec::with_capacity(listed.len());
        for listed in listed {
            if self.is_active(&listed) {
                continue;
            }
            let known = previous.iter().position(|old| old.is(&listed));
            let known = known.map(|at| previous.remove(at));
            let mut candidate = self.examine(context, listed, known);
            if let Some(candidate) = &mut candidate
                && candidate.key.is_some()
                && found.len() >= HELD_MAX
            {
                candidate.close();
            }
            found.extend(candidate);
        }
        self.keep_unknown(context, &mut previous, &orders, &mut found);
        self.assign_plain(context, now, &mut found);
        let mut keys = HashSet::new();
        found.retain(|candidate| candidate.key.is_none_or(|key| keys.insert(key)));
        self.keep_unread(context, previous, &orders, &mut found);
        self.candidates = found;
        self.plan_replay(context);
        self.settle(context);
        context.save();
    }

    /// Notes under which name the active file is now; its descriptor is held, so device and inode are
    /// conclusive.
    fn is_active(&mut self, listed: &Listed) -> bool {
        match &mut self.active {
            Some(active) if active.stat.same_file(&listed.stat) => {
                active.path.clone_from(&listed.path);
                active.order = listed.order.clone();
                active.listed = true;
                true
            }
            _ => false,
        }
    }

    fn examine(
        &self,
        context: &mut Context<D>,
        listed: Listed,
        known: Option<Candidate<D>>,
    ) -> Option<Candidate<D>> {
        let path = listed.path.clone();
        let opened = match known {
            Some(known) if known.key.is_some() && !known.is_replaced(&context.disk, &listed) => {
                return Some(known.at(listed));
            }
            Some(mut known) => {
                if let Some(key) = known.key.take().filter(|_| !self.info.is_cri()) {
                    context.generations().retire(key);
                }
                Ok(known.at(listed))
            }
            None => Candidate::open(&context.disk, listed),
        };
        let looked = opened.and_then(|mut candidate| {
            candidate.look(&context.disk)?;
            Ok(candidate)
        });
        let mut candidate = match looked {
            Ok(candidate) => candidate,
            Err(source) => {
                context.read_failed(&path, source);
                return None;
            }
        };
        context.calm(&path);
        if self.info.is_cri() {
            let restart = candidate.order.restart;
            candidate.key = listing::cri_key(&self.info, restart, &candidate.head);
        }
        Some(candidate)
    }

    fn assign_plain(&self, context: &Context<D>, now: Now, found: &mut Vec<Candidate<D>>) {
        if self.info.is_cri() {
            return;
        }
        let active = self.active.as_ref().map(|active| Following {
            content: &active.content,
            key: active.file.key,
            prefix: active.prefix,
            offset: active.offset,
            marker: active.marker,
        });
        let mut known = Known {
            disk: &context.disk,
            path: &self.info.path,
            active,
            finished: self.finished.keys().copied().collect(),
            wall: now.wall,
        };
        let mut generations = context.generations();
        plain::assign_keys(&mut known, &mut generations, found, |key| {
            self.from(context, key)
        });
    }

    /// Files that were held open before they could be identified and have lost their name: what is in
    /// them by now may identify them.
    fn keep_unknown(
        &self,
        context: &mut Context<D>,
        previous: &mut Vec<Candidate<D>>,
        orders: &[Order],
        found: &mut Vec<Candidate<D>>,
    ) {
        let unknown = |old: &mut Candidate<D>| old.key.is_none() && old.is_held();
        let unknown: Vec<Candidate<D>> = previous.extract_if(.., unknown).collect();
        for mut old in unknown {
            if let Err(source) = old.look(&context.disk) {
                context.read_failed(&old.path, source);
                continue;
            }
            if old.head.is_empty() {
                continue;
            }
            if self.info.is_cri() {
                old.key = listing::cri_key(&self.info, old.order.restart, &old.head);
            }
            old.order = nameless(&old.order, &self.info, old.stat.modified, orders);
            old.nameless = true;
            found.push(old);
        }
    }

    /// Files that were held open unread and have lost their name are still read.
    fn keep_unread(
        &self,
        context: &Context<D>,
        previous: Vec<Candidate<D>>,
        orders: &[Order],
        found: &mut Vec<Candidate<D>>,
    ) {
        for mut old in previous {
            let again = old.key.is_some() && found.iter().any(|other| other.key == old.key);
            let active = self
                .active
                .as_ref()
                .is_some_and(|a| Some(a.file.key) == old.key);
            let read = |key| old.is_read(self.start(context, key));
            let read = old.key.is_none_or(read);
            if !again && !active && !read && old.is_held() {
                old.order = nameless(&old.order, &self.info, old.stat.modified, orders);
                found.push(old);
            }
        }
        found.sort_by(|a, b| (&a.order, a.gzip).cmp(&(&b.order, b.gzip)));
    }

    /// Decides once where replay begins: counted backwards from the newest covered byte.
    fn plan_replay(&mut self, context: &Context<D>) {
        if self.replay_from.is_some() || !self.present {
            return;
        }
        let mut budget = match self.replay {
            Replay::None => 0,
            Replay::Bytes(bytes) => bytes,
            Replay::All => u64::MAX,
        };
        let mut plan = HashMap::new();
        for key in self.candidates.iter().rev().filter_map(|c| c.key) {
            let from = context.from(key);
            let again = from.min(budget);
            budget -= again;
            if again > 0 {
                plan.insert(key, from - again);
            }
        }
        self.replay_from = Some(plan);
    }

    /// Forgets files that are no more, and closes those that need not be read.
    fn settle(&mut self, context: &Context<D>) {
        let active = self.active.as_ref().map(|active| active.file.key);
        let candidates = &self.candidates;
        // A directory that is missing may only be unmounted for a while.
        let present = self.present;
        self.finished.retain(|key, finished| {
            let there =
                !present || active == Some(*key) || candidates.iter().any(|c| c.key == Some(*key));
            finished.missed = if there { 0 } else { finished.missed + 1 };
            finished.missed < MISSED_MAX
        });
        let starts: Vec<Option<u64>> = self
            .candidates
            .iter()
            .map(|candidate| candidate.key.map(|key| self.start(context, key)))
            .collect();
        for (candidate, start) in self.candidates.iter_mut().zip(starts) {
            let read = start.is_some_and(|start| candidate.is_read(start));
            // What a plain path names is compared with copies of it.
            if read && (self.info.is_cri() || !candidate.order.is_live()) {
                candidate.close();
            }
        }
    }
}

/// The order of a file that no name leads to any more; `known` are the files known so far.
fn nameless(
    order: &Order,
    container: &ContainerInfo,
    modified: UnixNanos,
    known: &[Order],
) -> Order {
    if !order.is_live() {
        return order.clone();
    }
    if !container.is_cri() {
        return Order::sibling(modified, "");
    }
    let rotated = known
        .iter()
        .filter(|other| other.restart == order.restart && !other.is_live());
    Order::former(order.restart, rotated.max())
}
