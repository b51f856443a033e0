//! Where reading goes on after a restart.

use std::collections::BTreeMap;

use in_tail::Resume;

/// Each file at the first byte that is not in the verdict log.
pub(crate) fn resume(
    recovery: &pipeline::Recovery,
) -> impl Fn(model::ids::FileKey) -> Resume + Send + 'static {
    let covered: BTreeMap<model::ids::FileKey, u64> = recovery
        .coverage
        .iter()
        .map(|(key, coverage)| (*key, coverage.first_uncovered()))
        .collect();
    move |key| Resume {
        from: covered.get(&key).copied().unwrap_or(0),
    }
}
