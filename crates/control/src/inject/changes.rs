//! A patch in the making: operations of RFC 6902, few of them.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::{Map, Value};
use twox_hash::XxHash3_64;

/// Most operations of a patch.
pub(super) const OPERATIONS_MAX: usize = 12;

/// Changes of one pod, in order.
#[derive(Default)]
pub(super) struct Changes<'a> {
    list: Vec<Change<'a>>,
    /// All values, one behind the other.
    digest: Vec<u8>,
    /// Lists and maps that are there and empty, by the names under which they are asked for again.
    pub(super) restore: Map<String, Value>,
}

enum Change<'a> {
    One(PatchOperation),
    Append {
        list: PointerBuf,
        present: &'a [Value],
        more: Vec<Value>,
    },
}

impl<'a> Changes<'a> {
    /// Sets `path`, whatever is there.
    pub(super) fn add(&mut self, path: PointerBuf, value: Value) {
        self.digest(&value);
        self.list.push(Change::One(add(path, value)));
    }

    /// Sets `path`, where something is.
    pub(super) fn replace(&mut self, path: PointerBuf, value: Value) {
        self.digest(&value);
        self.list.push(Change::One(replace(path, value)));
    }

    /// Puts `more` behind what is in `list`, which is made if it is not there; `key` is the name
    /// under which an empty one is restored.
    pub(super) fn append(
        &mut self,
        list: PointerBuf,
        key: &str,
        present: Option<&'a Value>,
        more: Vec<Value>,
    ) {
        if more.is_empty() {
            return;
        }
        for value in &more {
            self.digest(value);
        }
        match present {
            Some(Value::Array(present)) if !present.is_empty() => {
                self.list.push(Change::Append {
                    list,
                    present,
                    more,
                });
            }
            _ => {
                self.keep(key, present);
                self.list.push(Change::One(add(list, more.into())));
            }
        }
    }

    /// Remembers what stands where a list or map is made.
    pub(super) fn keep(&mut self, key: &str, present: Option<&Value>) {
        if let Some(present) = present {
            self.restore.insert(key.to_owned(), present.clone());
        }
    }

    /// Of all values so far.
    pub(super) fn digested(&self) -> String {
        format!("{:016x}", XxHash3_64::oneshot(&self.digest))
    }

    /// The patch. Lists are written as a whole where the operations would be too many otherwise, and
    /// those of them with which the patch stays shortest.
    pub(super) fn finish(mut self) -> Patch {
        let excess = self.operations().saturating_sub(OPERATIONS_MAX);
        if excess > 0 {
            let lists: Vec<Whole> = (0..).zip(&self.list).filter_map(Whole::of).collect();
            for index in shortest(&lists, excess) {
                if let Some(change) = self.list.get_mut(index) {
                    change.make_whole();
                }
            }
        }
        let operations = self.list.into_iter().flat_map(Change::into_operations);
        Patch(operations.collect())
    }

    fn operations(&self) -> usize {
        let each = self.list.iter().map(|change| match change {
            Change::One(_) => 1,
            Change::Append { more, .. } => more.len(),
        });
        each.sum()
    }

    fn digest(&mut self, value: &Value) {
        // writing into memory does not fail
        serde_json::to_writer(&mut self.digest, value).unwrap_or_default();
    }
}

impl Change<'_> {
    fn make_whole(&mut self) {
        if let Self::Append {
            list,
            present,
            more,
        } = self
        {
            let whole = present.iter().cloned().chain(more.drain(..));
            *self = Self::One(add(std::mem::take(list), whole.collect::<Vec<_>>().into()));
        }
    }

    fn into_operations(self) -> Vec<PatchOperation> {
        match self {
            Self::One(operation) => vec![operation],
            Self::Append { list, more, .. } => {
                let each = more.into_iter();
                each.map(|value| add(list.with_trailing_token("-"), value))
                    .collect()
            }
        }
    }
}

/// What it would mean to write a list as a whole.
struct Whole {
    index: usize,
    operations_saved: usize,
    bytes: usize,
}

impl Whole {
    fn of((index, change): (usize, &Change<'_>)) -> Option<Self> {
        match change {
            Change::Append { present, more, .. } if more.len() > 1 => Some(Self {
                index,
                operations_saved: more.len() - 1,
                bytes: serde_json::to_vec(present).map_or(usize::MAX, |text| text.len()),
            }),
            _ => None,
        }
    }
}

/// Which of a few lists save `excess` operations with the fewest bytes; all if nothing does.
fn shortest(lists: &[Whole], excess: usize) -> Vec<usize> {
    let chosen = |set: u32| {
        (0..)
            .zip(lists)
            .filter(move |(bit, _)| set & (1 << bit) != 0)
    };
    let all = (1 << lists.len()) - 1;
    let saves = |set: &u32| {
        let saved = chosen(*set).map(|(_, list)| list.operations_saved);
        saved.sum::<usize>() >= excess
    };
    let bytes = |set: &u32| {
        let bytes = chosen(*set).map(|(_, list)| list.bytes);
        bytes.fold(0, usize::saturating_add)
    };
    let best = (1..=all).filter(saves).min_by_key(bytes).unwrap_or(all);
    chosen(best).map(|(_, list)| list.index).collect()
}

/// A path of names.
pub(super) fn path<const N: usize>(names: [&str; N]) -> PointerBuf {
    PointerBuf::from_tokens(names)
}

/// The path of what is called `name` below `parent`.
pub(super) fn below<'t>(parent: &PointerBuf, name: impl Into<Token<'t>>) -> PointerBuf {
    parent.with_trailing_token(name)
}

/// Sets `path`, whatever is there.
pub(super) fn add(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

/// Sets `path`, where something is.
pub(super) fn replace(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path, value })
}

/// Refuses the whole patch if another value is at `path`.
pub(super) fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}

/// Takes away what is at `path`.
pub(super) fn remove(path: PointerBuf) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path })
}
