//! Lines by level, and what was concluded about them.

use std::collections::HashMap;

use model::line::Severity;
use model::time::UnixNanos;
use model::verdict::{Outcome, Rule, Verdict};
use pipeline::tally::{Cell, Tally};
use prometheus::Registry;
use telemetry::side_table::SideTable;

use super::family::{Family, Spec};

const LINES: Spec = Spec {
    key: "lines",
    name: "emco_log_lines_total",
    help: "Lines that the service printed, by level.",
    labels: &["level"],
    bounds: &[],
};
const VERDICTS: Spec = Spec {
    key: "verdicts",
    name: "emco_observer_ledger_lines_total",
    help: "Lines that the ledger decided, by what it concluded and by which rule.",
    labels: &["outcome", "rule"],
    bounds: &[],
};

/// Counts lines.
#[derive(Debug)]
pub(crate) struct LineCounts {
    lines: Family,
    verdicts: Family,
    levels: HashMap<Severity, Cell>,
    concluded: HashMap<(Outcome, Rule), Cell>,
}

impl LineCounts {
    pub(crate) fn new(
        registry: &Registry,
        side: &SideTable,
        service: &str,
        tally: &Tally,
    ) -> prometheus::Result<Self> {
        let family = |spec| {
            let family = Family::new(spec, service, side, tally)?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        Ok(Self {
            lines: family(&LINES)?,
            verdicts: family(&VERDICTS)?,
            levels: HashMap::new(),
            concluded: HashMap::new(),
        })
    }

    /// What a line of that level moves.
    pub(crate) fn level(
        &mut self,
        tally: &mut Tally,
        level: Severity,
        now: UnixNanos,
    ) -> Option<Cell> {
        if let Some(cell) = self.levels.get(&level) {
            return Some(*cell);
        }
        let handle = self.lines.series(tally, &[level.name()], now)?;
        self.levels.insert(level, handle.cell());
        Some(handle.cell())
    }

    /// What a line with that verdict moves.
    pub(crate) fn verdict(
        &mut self,
        tally: &mut Tally,
        verdict: &Verdict,
        now: UnixNanos,
    ) -> Option<Cell> {
        let kind = (verdict.outcome, verdict.rule);
        if let Some(cell) = self.concluded.get(&kind) {
            return Some(*cell);
        }
        let values = [verdict.outcome.name(), verdict.rule.name()];
        let handle = self.verdicts.series(tally, &values, now)?;
        self.concluded.insert(kind, handle.cell());
        Some(handle.cell())
    }
}
