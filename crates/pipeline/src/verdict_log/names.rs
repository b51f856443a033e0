//! Field names of request documents: the model keeps them as constants, the log as text.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

// A log of another version may hold names this program does not have; so many of them are kept.
const FOREIGN_MAX: usize = 256;
const KNOWN: [&str; 13] = [
    "emco.app",
    "emco.app_context_id",
    "emco.cluster",
    "emco.cluster_provider",
    "emco.composite_app",
    "emco.composite_app_version",
    "emco.controller",
    "emco.deployment_intent_group",
    "emco.logical_cloud",
    "emco.namespace",
    "emco.project",
    "emco.resource",
    "url.query",
];

static FOREIGN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The constant of that name. Unknown names become constants for the life of the process, a bounded
/// number of them; `None` beyond that.
pub(super) fn intern(name: &str) -> Option<&'static str> {
    if let Ok(found) = KNOWN.binary_search(&name) {
        return KNOWN.get(found).copied();
    }
    let mut foreign = FOREIGN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = foreign.get(name) {
        return Some(found);
    }
    if foreign.len() >= FOREIGN_MAX || name.len() > FOREIGN_MAX {
        return None;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    foreign.insert(name);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_constants_and_bounded() {
        assert!(KNOWN.is_sorted());
        assert_eq!(intern("emco.project"), Some("emco.project"));
        let first = intern("emco.new").unwrap();
        assert!(std::ptr::eq(first, intern("emco.new").unwrap()));
        let taken = (0..FOREIGN_MAX * 2).filter(|n| intern(&format!("x.{n}")).is_some());
        assert!(taken.count() < FOREIGN_MAX);
    }
}
