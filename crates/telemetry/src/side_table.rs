//! What the registry cannot hold: created times and exemplars, by family and label values.
//!
//! An exemplar names one request (its trace) that a sample counted. The newest of each sample is
//! kept, so the table is as large as what is exposed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The table; clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct SideTable {
    families: Arc<Mutex<HashMap<&'static str, Family>>>,
}

/// Series by the hash of their label values, in the order of the label names: two of one family do
/// not meet in 64 bits.
type Family = HashMap<u64, Extras>;

/// What is known about one series besides its values; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Extras {
    created_seconds: f64,
    exemplars: Arc<Mutex<Vec<Option<Exemplar>>>>,
}

/// One request that a sample counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace, shown as 32 hex digits.
    pub trace_id: [u8; 16],
    /// What was measured.
    pub value: f64,
    /// When, in seconds since the epoch.
    pub at_seconds: f64,
}

impl SideTable {
    /// Where the exemplars of a series of `family` (the name as registered) go; the series is noted
    /// when it is asked for first. `values` stand in the order of their label names.
    pub fn series(&self, family: &'static str, values: &[&str], created_seconds: f64) -> Extras {
        let values = hash(values.iter().copied());
        let mut families = self.lock();
        let series = families.entry(family).or_default().entry(values);
        let extras = series.or_insert_with(|| Extras {
            created_seconds,
            exemplars: Arc::default(),
        });
        extras.clone()
    }

    /// Shows the series of `family` to `show`, if there are any.
    pub(crate) fn family<R>(&self, name: &str, show: impl FnOnce(Lookup<'_>) -> R) -> R {
        let families = self.lock();
        show(Lookup(families.get(name)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The series of one family.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a>(Option<&'a Family>);

impl Lookup<'_> {
    /// The series with the label values that `values` gives.
    pub(crate) fn find<'a>(&self, values: impl Iterator<Item = &'a str>) -> Option<&Extras> {
        let family = self.0?;
        family.get(&hash(values))
    }
}

impl Extras {
    /// Puts the exemplar of the sample number `place`: 0 for a counter, the bucket's for a histogram.
    pub fn put(&self, place: usize, exemplar: Exemplar) {
        let mut exemplars = self.lock();
        if exemplars.len() <= place {
            exemplars.resize(place + 1, None);
        }
        if let Some(slot) = exemplars.get_mut(place) {
            *slot = Some(exemplar);
        }
    }

    pub(crate) fn created_seconds(&self) -> f64 {
        self.created_seconds
    }

    pub(crate) fn exemplar(&self, place: usize) -> Option<Exemplar> {
        self.lock().get(place).copied().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Exemplar>>> {
        self.exemplars
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash<'a>(values: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.for_each(|value| value.hash(&mut hasher));
    hasher.finish()
}
