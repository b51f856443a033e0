//! Numbers that are kept in the verdict log: they move in the same write as the entries they count,
//! so a crash at any moment changes none of them.
//!
//! A *series* is a few neighbouring numbers (*cells*) under one name that the caller chooses; a
//! histogram is one series. What is added is *pending* until the batch with it is written; only then
//! [`Totals`] shows it, so that nobody sees a number that a crash takes back.
//!
//! # Layout
//! Part of a batch of the verdict log. `v` is an unsigned LEB128 integer, text is `v` length and
//! bytes.
//! ```text
//! tally   series v | of each: first cell v | cells v | created v (Unix nanoseconds) | name text
//!         values v | of each: cell v | value v
//! ```
//! The first batch of a segment has all series and all values but zeros; later ones have the series
//! that are new and the values that changed. Values are absolute, so reading one twice changes
//! nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::time::UnixNanos;

use crate::varint::{Cursor, Malformed, push, push_text};

/// Most cells; series beyond them are refused.
pub const CELLS_MAX: u32 = 1 << 16;

/// Stands for one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell(u32);

impl Cell {
    /// The cell that stands `places` after this one in the same series.
    #[must_use]
    pub const fn plus(self, places: u32) -> Self {
        Self(self.0.saturating_add(places))
    }
}

/// Neighbouring numbers under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// What the caller calls it.
    pub name: Box<str>,
    /// Its first number.
    pub first: Cell,
    /// How many numbers it has.
    pub cells: u32,
    /// When it began to count.
    pub created: UnixNanos,
}

/// The numbers, at the side that counts.
#[derive(Debug, Default)]
pub struct Tally {
    series: Vec<Series>,
    by_name: HashMap<Box<str>, usize>,
    values: Vec<u64>,
    /// Cells whose value differs from what is written, and whether a cell is one of them.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    /// Series that are written.
    written: usize,
    shown: Totals,
}

/// The numbers that are written, for those who show them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Totals(Arc<Mutex<Vec<u64>>>);

impl Tally {
    /// The series called `name`, made now if there is none; `None` if there is no room for it, or it
    /// has another number of cells.
    pub fn series(&mut self, name: &str, cells: u32, now: UnixNanos) -> Option<&Series> {
        if let Some(place) = self.by_name.get(name) {
            let known = self.series.get(*place);
            return known.filter(|series| series.cells == cells);
        }
        let first = u32::try_from(self.values.len()).ok()?;
        if cells > CELLS_MAX.saturating_sub(first) {
            return None;
        }
        self.adopt(Series {
            name: name.into(),
            first: Cell(first),
            cells,
            created: now,
        });
        self.series.last()
    }

    /// All series, in the order in which they were made.
    pub fn all(&self) -> &[Series] {
        &self.series
    }

    /// Adds to a number.
    pub fn add(&mut self, cell: Cell, by: u64) {
        let value = self.value(cell).saturating_add(by);
        self.set(cell, value);
    }

    /// Sets a number, e.g. a place up to which something was counted.
    pub fn set(&mut self, cell: Cell, value: u64) {
        let place = cell.0 as usize;
        let (Some(held), Some(changed)) =
            (self.values.get_mut(place), self.is_changed.get_mut(place))
        else {
            return;
        };
        if *held != value && !std::mem::replace(changed, true) {
            self.changed.push(cell.0);
        }
        *held = value;
    }

    /// A number, with what is pending.
    pub fn value(&self, cell: Cell) -> u64 {
        self.values.get(cell.0 as usize).copied().unwrap_or(0)
    }

    /// What is written, for those who show it.
    pub fn totals(&self) -> Totals {
        self.shown.clone()
    }

    /// Whether something is pending.
    pub fn is_pending(&self) -> bool {
        !self.changed.is_empty() || self.written < self.series.len()
    }

    /// Appends what is pending, or everything if `whole`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, whole: bool) {
        let from = if whole { 0 } else { self.written };
        let new = self.series.get(from..).unwrap_or_default();
        push(out, new.len() as u64);
        for series in new {
            push(out, u64::from(series.first.0));
            push(out, u64::from(series.cells));
            push(out, series.created.0);
            push_text(out, &series.name);
        }
        let mut told: Vec<u32> = Vec::new();
        if whole {
            let numbered = (0_u32..).zip(&self.values);
            told.extend(
                numbered
                    .filter(|(_, value)| **value > 0)
                    .map(|(cell, _)| cell),
            );
        }
        let told = if whole { &told } else { &self.changed };
        push(out, told.len() as u64);
        for cell in told {
            push(out, u64::from(*cell));
            push(out, self.value(Cell(*cell)));
        }
    }

    /// What was pending is written: it is shown from now on.
    pub(crate) fn written(&mut self) {
        self.written = self.series.len();
        if self.changed.is_empty() {
            return;
        }
        let mut shown = lock(&self.shown.0);
        shown.resize(self.values.len(), 0);
        for cell in self.changed.drain(..) {
            let place = cell as usize;
            let slots = (shown.get_mut(place), self.is_changed.get_mut(place));
            if let (Some(slot), Some(changed)) = slots {
                *slot = self.values.get(place).copied().unwrap_or(0);
                *changed = false;
            }
        }
    }

    /// Takes what a batch says; `whole` replaces everything before.
    ///
    /// # Errors
    /// If the bytes are not what [`Tally::write`] writes; what stood in front of that is taken.
    pub(crate) fn read(&mut self, bytes: &[u8], whole: bool) -> Result<(), Malformed> {
        if whole {
            *self = Self::default();
        }
        let mut cursor = Cursor(bytes);
        for _ in 0..cursor.unsigned()? {
            let series = Series {
                first: Cell(cursor.small()?),
                cells: cursor.small()?,
                created: UnixNanos(cursor.unsigned()?),
                name: cursor.text()?.into(),
            };
            let fits = series.first.0.checked_add(series.cells);
            if fits.is_none_or(|end| end > CELLS_MAX) {
                return Err(Malformed);
            }
            if !self.by_name.contains_key(&series.name) {
                self.adopt(series);
            }
        }
        for _ in 0..cursor.unsigned()? {
            let cell = Cell(cursor.small()?);
            let value = cursor.unsigned()?;
            self.set(cell, value);
        }
        self.written();
        Ok(())
    }

    fn adopt(&mut self, series: Series) {
        let cells = (series.first.0.saturating_add(series.cells)) as usize;
        let cells = cells.max(self.values.len());
        self.values.resize(cells, 0);
        self.is_changed.resize(cells, false);
        self.by_name.insert(series.name.clone(), self.series.len());
        self.series.push(series);
    }
}

impl Totals {
    /// Shows the numbers to `show`, as they were written last, by the places of their cells.
    pub fn see<R>(&self, show: impl FnOnce(Seen<'_>) -> R) -> R {
        show(Seen(&lock(&self.0)))
    }
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a>(&'a [u64]);

impl Seen<'_> {
    /// A number.
    pub fn value(&self, cell: Cell) -> u64 {
        self.0.get(cell.0 as usize).copied().unwrap_or(0)
    }
}

fn lock(shown: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixNanos = UnixNanos(1_000);

    fn bytes(tally: &Tally, whole: bool) -> Vec<u8> {
        let mut out = Vec::new();
        tally.write(&mut out, whole);
        out
    }

    fn first(tally: &mut Tally, name: &str, cells: u32) -> Cell {
        tally.series(name, cells, NOW).unwrap().first
    }

    #[test]
    fn what_is_pending_is_not_shown() {
        let mut tally = Tally::default();
        let totals = tally.totals();
        let shown = |cell| totals.see(|seen| seen.value(cell));
        let lines = first(&mut tally, "lines", 2);
        assert_eq!(first(&mut tally, "lines", 2), lines);
        assert!(tally.series("lines", 3, NOW).is_none());
        tally.add(lines.plus(1), 5);
        assert_eq!((tally.value(lines.plus(1)), shown(lines.plus(1))), (5, 0));
        tally.written();
        assert_eq!((shown(lines.plus(1)), tally.is_pending()), (5, false));
        tally.add(Cell(7), 1);
        assert_eq!((tally.value(Cell(7)), tally.is_pending()), (0, false));
        assert!(tally.series("many", CELLS_MAX, NOW).is_none());
    }

    proptest! {
        /// Read back from any whole statement and what follows it, the numbers are the same; a series
        /// whose announcement is lost takes nobody else's numbers.
        #[test]
        fn numbers_come_back(
            steps in prop::collection::vec((0_u8..6, 1_u32..4, 0_u64..9, any::<bool>()), 1..40),
            from in any::<prop::sample::Index>(),
        ) {
            let mut tally = Tally::default();
            let mut batches = Vec::new();
            for (name, cells, by, flush) in steps {
                let name = format!("series-{name}-{cells}");
                let cell = first(&mut tally, &name, cells);
                tally.add(cell.plus(cells - 1), by);
                if flush {
                    batches.push((bytes(&tally, true), bytes(&tally, false)));
                    tally.written();
                }
            }
            batches.push((bytes(&tally, true), bytes(&tally, false)));
            tally.written();
            let from = from.index(batches.len());
            let mut read = Tally::default();
            read.read(&batches[0].0, true).unwrap();
            read.read(&batches[from].0, true).unwrap();
            for (_, changes) in &batches[from + 1..] {
                read.read(changes, false).unwrap();
            }
            prop_assert_eq!(&read.series, &tally.series);
            prop_assert_eq!(&read.values, &tally.values);
            prop_assert!(!read.is_pending());
            let last = batches.last().unwrap();
            let mut late = Tally::default();
            late.read(&last.1, false).unwrap();
            for series in &late.series {
                let known = tally.series.iter().find(|known| known.name == series.name);
                prop_assert_eq!(known, Some(series));
            }
        }

        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut tally = Tally::default();
            let _judged = tally.read(&bytes, true).is_ok();
            prop_assert!(tally.values.len() <= CELLS_MAX as usize);
        }
    }
}
