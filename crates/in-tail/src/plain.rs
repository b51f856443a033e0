//! Which generation each plain file on disk is: the path itself, its rotated siblings, its copies.
//!
//! | found | is |
//! |---|---|
//! | the path itself, begins like a generation that is not retired and is not shorter than what was read | that generation |
//! | a sibling that equals the start of the live file | a copy being made: left alone |
//! | a sibling that begins like a known generation | that generation |
//! | a sibling modified since the path is followed | a new generation: rotated before it was ever seen |
//! | any other sibling | history from before: left alone |
//! | the path itself, anything else | a new generation |

use std::path::Path;

use model::ids::FileKey;
use model::time::UnixNanos;

use crate::candidate::{Candidate, Marker};
use crate::content::Content;
use crate::disk::Disk;
use crate::generations::Generations;
use crate::identity::Prefix;

/// The plain file that is being read.
pub(crate) struct Following<'a, D: Disk> {
    pub(crate) content: &'a Content<D>,
    pub(crate) key: FileKey,
    pub(crate) prefix: Prefix,
    pub(crate) offset: u64,
    pub(crate) marker: Marker,
}

/// What is known when keys are given.
pub(crate) struct Known<'a, D: Disk> {
    pub(crate) disk: &'a D,
    pub(crate) path: &'a Path,
    pub(crate) active: Option<Following<'a, D>>,
    /// Generations that were read to their end.
    pub(crate) finished: Vec<FileKey>,
    pub(crate) wall: UnixNanos,
}

/// Gives each candidate its key; those that are none of our business are removed.
pub(crate) fn assign_keys<D: Disk>(
    known: &mut Known<'_, D>,
    generations: &mut Generations,
    candidates: &mut Vec<Candidate<D>>,
    from: impl Fn(FileKey) -> u64,
) {
    generations.follow(known.path, known.wall);
    let mut taken: Vec<FileKey> = candidates.iter().filter_map(|c| c.key).collect();
    taken.extend(known.active.as_ref().map(|active| active.key));
    let siblings_of = |candidates: &[Candidate<D>], key: FileKey, longer_than: u64| {
        let prefix = generations.prefix(key).unwrap_or_default();
        candidates
            .iter()
            .any(|c| !c.order.is_live() && c.bytes() > longer_than && prefix.matches(&c.head))
    };
    let live = candidates.iter().position(|c| c.order.is_live());
    let mut live_key = live.and_then(|at| candidates.get(at)?.key);
    if live_key.is_none()
        && let Some(live) = live.and_then(|at| candidates.get(at))
        && live.has_first_line()
    {
        let mut excluded = taken.clone();
        excluded.extend(&known.finished);
        let found = generations
            .find(known.path, &live.head, true, &excluded)
            .filter(|key| !siblings_of(candidates, *key, live.stat.bytes));
        let shrunk = found.is_some_and(|key| from(key) > live.stat.bytes);
        if let Some(key) = found.filter(|_| shrunk) {
            generations.retire(key);
        }
        live_key = found.filter(|_| !shrunk);
    }
    taken.extend(live_key);
    for at in 0..candidates.len() {
        if Some(at) != live {
            assign_sibling(known, generations, candidates, (at, live), &mut taken);
        }
    }
    if let Some(live) = live.and_then(|at| candidates.get_mut(at))
        && live.key.is_none()
        && live.has_first_line()
    {
        let create = || generations.create(known.path, &live.head, known.wall);
        live.key = Some(live_key.unwrap_or_else(create));
        live.prefix = live
            .key
            .and_then(|key| generations.prefix(key))
            .unwrap_or(live.prefix);
    }
    candidates.retain(|candidate| candidate.key.is_some() || candidate.order.is_live());
}

fn assign_sibling<D: Disk>(
    known: &mut Known<'_, D>,
    generations: &mut Generations,
    candidates: &mut [Candidate<D>],
    (at, live): (usize, Option<usize>),
    taken: &mut Vec<FileKey>,
) {
    let Some(candidate) = candidates.get(at) else {
        return;
    };
    if candidate.key.is_some() || candidate.head.is_empty() {
        return;
    }
    if let Some(active) = &known.active {
        let copying = candidate.is_start_of(known.disk, active.content);
        let copied = active.prefix.matches(&candidate.head)
            && candidate.continues(known.disk, active.offset, active.marker);
        if copying || copied {
            return;
        }
    }
    let live = live.and_then(|live| candidates.get(live)?.content());
    let copying = live.is_some_and(|live| candidate.is_start_of(known.disk, live));
    if copying {
        return;
    }
    let known_by_now = generations.find(known.path, &candidate.head, false, &[]);
    if candidate.nameless && known_by_now.is_some_and(|key| taken.contains(&key)) {
        // Held open, and found under another name (compressed) as well.
        return;
    }
    let found = generations.find(known.path, &candidate.head, false, taken);
    let key = found.or_else(|| {
        let ours = candidate.stat.modified >= generations.follow(known.path, known.wall);
        (ours || candidate.was_live).then(|| {
            let key = generations.create(known.path, &candidate.head, known.wall);
            generations.retire(key);
            key
        })
    });
    if let Some(key) = key {
        taken.push(key);
        set_key(candidates, at, generations, key);
    }
}

fn set_key<D: Disk>(
    candidates: &mut [Candidate<D>],
    at: usize,
    generations: &Generations,
    key: FileKey,
) {
    if let Some(candidate) = candidates.get_mut(at) {
        candidate.key = Some(key);
        candidate.prefix = generations.prefix(key).unwrap_or(candidate.prefix);
    }
}
