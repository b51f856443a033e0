//! Lines by level, and what was concluded about them.

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

const LEVELS: usize = Severity::Fatal as usize + 1;
const OUTCOMES: usize = Outcome::None as usize + 1;

/// Counts lines.
#[derive(Debug)]
pub(crate) struct LineCounts {
    lines: Family,
    verdicts: Family,
    levels: [Option<Cell>; LEVELS],
    concluded: [[Option<Cell>; Rule::ALL.len()]; OUTCOMES],
}

impl LineCounts {
    pub(crate) fn new(
        registry: &Registry,
        side: &SideTable,
        service: &str,
        tally: &Tally,
    ) -> prometheus::Result<Self> {
        let family = |spec| Family::registered(registry, spec, service, side, tally);
        Ok(Self {
            lines: family(&LINES)?,
            verdicts: family(&VERDICTS)?,
            levels: [None; LEVELS],
            concluded: [[None; Rule::ALL.len()]; OUTCOMES],
        })
    }

    /// What a line of that level moves.
    pub(crate) fn level(
        &mut self,
        tally: &mut Tally,
        level: Severity,
        now: UnixNanos,
    ) -> Option<Cell> {
        let known = self.levels.get_mut(level as usize)?;
        if known.is_none() {
            let handle = self.lines.series(tally, &[level.name()], now);
            *known = handle.map(|handle| handle.cell());
        }
        *known
    }

    /// What a line with that verdict moves.
    pub(crate) fn verdict(
        &mut self,
        tally: &mut Tally,
        verdict: &Verdict,
        now: UnixNanos,
    ) -> Option<Cell> {
        let rules = self.concluded.get_mut(verdict.outcome as usize)?;
        let known = rules.get_mut(verdict.rule as usize)?;
        if known.is_none() {
            let values = [verdict.outcome.name(), verdict.rule.name()];
            let handle = self.verdicts.series(tally, &values, now);
            *known = handle.map(|handle| handle.cell());
        }
        *known
    }
}
