//! Which content a plain file had when: random keys, remembered by path and beginning.
//!
//! A plain file has no pod and no time stamp that would make its first line unique, so each content
//! (generation) of a path gets a random key when it is first seen. What was given is kept in a small
//! JSON file, replaced as a whole:
//! ```text
//! {"version":1,"followed":[{"path":"/var/log/app.log","since":<ns>}, ...],"generations":[
//!   {"path":"/var/log/app.log","key":"<32 hex>","prefix_bytes":1024,"prefix_hash":<u64>,
//!    "first_seen":<ns>,"retired":false}, ...]}
//! ```
//! `retired` generations are no longer what the path itself names; they are only looked for in
//! rotated siblings. A state file that cannot be read is replaced: its files get new keys and are
//! read again.

use std::path::Path;

use model::ids::FileKey;
use model::time::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::identity::{PREFIX_BYTES_MAX, Prefix};

const VERSION: u32 = 1;
/// Generations remembered for one path; the oldest retired ones are forgotten first.
const GENERATIONS_MAX: usize = 64;

/// All generations that may still be on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generations {
    all: Vec<Generation>,
    followed: Vec<Followed>,
    changed: bool,
}

/// One content of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    path: String,
    key: FileKey,
    prefix: Prefix,
    first_seen: UnixNanos,
    retired: bool,
}

#[derive(Deserialize, Serialize)]
struct Saved {
    version: u32,
    followed: Vec<Followed>,
    generations: Vec<SavedGeneration>,
}

/// Since when a path is followed: what was rotated before is none of our business.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Followed {
    path: String,
    since: u64,
}

#[derive(Deserialize, Serialize)]
struct SavedGeneration {
    path: String,
    key: String,
    prefix_bytes: u16,
    prefix_hash: u64,
    first_seen: u64,
    retired: bool,
}

impl Generations {
    /// Reads a state file; none if it is not one of ours.
    pub(crate) fn parse(state: &[u8]) -> Option<Self> {
        let saved: Saved = serde_json::from_slice(state).ok()?;
        if saved.version != VERSION {
            return None;
        }
        let all = saved.generations.into_iter().map(|generation| {
            Some(Generation {
                path: generation.path,
                key: FileKey(
                    u128::from_str_radix(&generation.key, 16)
                        .ok()?
                        .to_be_bytes(),
                ),
                prefix: Prefix {
                    bytes: generation.prefix_bytes,
                    hash: generation.prefix_hash,
                },
                first_seen: UnixNanos(generation.first_seen),
                retired: generation.retired,
            })
        });
        Some(Self {
            all: all.collect::<Option<_>>()?,
            followed: saved.followed,
            changed: false,
        })
    }

    /// The state file's content if it has to be written again; asking means it will be.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let saved = Saved {
            version: VERSION,
            followed: self.followed.clone(),
            generations: self.all.iter().map(SavedGeneration::of).collect(),
        };
        serde_json::to_vec(&saved).ok()
    }

    /// The generation of `path` whose content begins like `head`, newest first; `live` asks only for
    /// what the path itself can be, `taken` are out of the question.
    pub(crate) fn find(
        &self,
        path: &Path,
        head: &[u8],
        live: bool,
        taken: &[FileKey],
    ) -> Option<FileKey> {
        self.of(path)
            .rev()
            .filter(|generation| !(live && generation.retired))
            .filter(|generation| !taken.contains(&generation.key))
            .find(|generation| generation.prefix.matches(head))
            .map(|generation| generation.key)
    }

    /// Gives the content that begins with `head` a new key.
    pub(crate) fn create(&mut self, path: &Path, head: &[u8], now: UnixNanos) -> FileKey {
        let path = path.to_string_lossy();
        while self.all.iter().filter(|old| old.path == path).count() >= GENERATIONS_MAX {
            let Some(oldest) = self.all.iter().position(|old| old.path == path) else {
                break;
            };
            self.all.remove(oldest);
        }
        let key = FileKey(fastrand::u128(1..).to_be_bytes());
        self.all.push(Generation {
            path: path.into_owned(),
            key,
            prefix: Prefix::of(head),
            first_seen: now,
            retired: false,
        });
        self.changed = true;
        key
    }

    /// The beginning by which `key` is recognised.
    pub(crate) fn prefix(&self, key: FileKey) -> Option<Prefix> {
        self.get(key).map(|generation| generation.prefix)
    }

    /// When `key` was created.
    pub(crate) fn first_seen(&self, key: FileKey) -> Option<UnixNanos> {
        self.get(key).map(|generation| generation.first_seen)
    }

    /// Whether a file that begins like `head` can be generation `key` of `path`; `live` as in
    /// [`Generations::find`].
    pub(crate) fn can_be(&self, key: FileKey, path: &Path, head: &[u8], live: bool) -> bool {
        let path = path.to_string_lossy();
        self.get(key).is_some_and(|generation| {
            generation.path == path
                && generation.prefix.matches(head)
                && !(live && generation.retired)
        })
    }

    /// Since when `path` is followed; from `now` on if it was not before.
    pub(crate) fn follow(&mut self, path: &Path, now: UnixNanos) -> UnixNanos {
        let path = path.to_string_lossy();
        if let Some(followed) = self.followed.iter().find(|followed| followed.path == path) {
            return UnixNanos(followed.since);
        }
        self.followed.push(Followed {
            path: path.into_owned(),
            since: now.0,
        });
        self.changed = true;
        now
    }

    /// Recognises `key` by more than before, now that more is there.
    pub(crate) fn extend(&mut self, key: FileKey, head: &[u8]) {
        let changed = &mut self.changed;
        if let Some(generation) = self.all.iter_mut().find(|generation| generation.key == key) {
            let longer = head.len().min(PREFIX_BYTES_MAX) > usize::from(generation.prefix.bytes);
            if longer && generation.prefix.matches(head) {
                generation.prefix = Prefix::of(head);
                *changed = true;
            }
        }
    }

    /// `key` is no longer what its path names.
    pub(crate) fn retire(&mut self, key: FileKey) {
        for generation in &mut self.all {
            if generation.key == key && !generation.retired {
                generation.retired = true;
                self.changed = true;
            }
        }
    }

    fn get(&self, key: FileKey) -> Option<&Generation> {
        self.all.iter().find(|generation| generation.key == key)
    }

    fn of(&self, path: &Path) -> impl DoubleEndedIterator<Item = &Generation> {
        let path = path.to_string_lossy();
        self.all
            .iter()
            .filter(move |generation| generation.path == path)
    }
}

impl SavedGeneration {
    fn of(generation: &Generation) -> Self {
        Self {
            path: generation.path.clone(),
            key: generation.key.to_string(),
            prefix_bytes: generation.prefix.bytes,
            prefix_hash: generation.prefix.hash,
            first_seen: generation.first_seen.0,
            retired: generation.retired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/logs/app.log";

    #[test]
    fn what_was_written_is_read_back() {
        let mut generations = Generations::default();
        generations.follow(Path::new(PATH), UnixNanos(6));
        let first = generations.create(Path::new(PATH), b"start\n", UnixNanos(7));
        generations.extend(first, b"start\nmore\n");
        generations.retire(first);
        generations.create(Path::new(PATH), b"again\n", UnixNanos(9));
        let state = generations.take_changed().unwrap();
        assert_eq!(Generations::parse(&state), Some(generations.clone()));
        assert_eq!(generations.take_changed(), None);
    }

    #[test]
    fn what_is_no_state_is_none() {
        let wrong = [
            &b""[..],
            b"{}",
            b"{\"version\":2,\"followed\":[],\"generations\":[]}",
            b"\0\0\0\0",
            b"{\"version\":1,\"followed\":[],\"generations\":[{\"path\":\"a\",\"key\":\"xyz\",\"prefix_bytes\":1,\
              \"prefix_hash\":1,\"first_seen\":1,\"retired\":false}]}",
        ];
        for state in wrong {
            assert_eq!(Generations::parse(state), None);
        }
    }

    #[test]
    fn a_retired_generation_is_found_in_siblings_only() {
        let mut generations = Generations::default();
        let path = Path::new(PATH);
        let key = generations.create(path, b"start\n", UnixNanos(7));
        assert_eq!(generations.find(path, b"start\nx", true, &[]), Some(key));
        generations.retire(key);
        assert_eq!(generations.find(path, b"start\nx", true, &[]), None);
        assert_eq!(generations.find(path, b"start\nx", false, &[]), Some(key));
        assert_eq!(generations.find(path, b"start\nx", false, &[key]), None);
        assert_eq!(generations.find(path, b"star", false, &[]), None);
    }

    #[test]
    fn the_number_of_generations_is_bounded() {
        let mut generations = Generations::default();
        for at in 0..3 * GENERATIONS_MAX as u64 {
            generations.create(Path::new(PATH), b"start\n", UnixNanos(at));
        }
        assert_eq!(generations.all.len(), GENERATIONS_MAX);
    }
}
