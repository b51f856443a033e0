//! What was done with each workload, as a table for people.

use std::fmt;

use super::workload::Workload;
use crate::inject::{Injection, Kind, Logs, Reason};

/// What was done with one workload.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It got a sidecar.
    Injected(Box<Injection>),
    /// It had the right one.
    Current,
    /// It lost its sidecar.
    Ejected,
    /// It had none to lose.
    Bare,
    /// It was left alone.
    Skipped(Reason),
    /// What was to be changed could not be.
    Failed(String),
}

impl Outcome {
    /// Whether the workload is another now.
    pub(super) const fn is_change(&self) -> bool {
        matches!(self, Self::Injected(_) | Self::Ejected)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Injected(injection) if injection.replaces => "replaced",
            Self::Injected(_) => "injected",
            Self::Current => "current",
            Self::Ejected => "ejected",
            Self::Bare => "bare",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Injected(injection) => says(injection),
            Self::Current => "has the sidecar already".to_owned(),
            Self::Ejected => "is as it was without the sidecar".to_owned(),
            Self::Bare => "has no sidecar".to_owned(),
            Self::Skipped(reason) => reason.to_string(),
            Self::Failed(why) => format!("could not be changed: {why}"),
        }
    }
}

fn says(injection: &Injection) -> String {
    let summary = &injection.summary;
    let kind = match summary.kind {
        Kind::Native => "native sidecar",
        Kind::Plain => "plain sidecar",
    };
    let logs = match summary.logs {
        Logs::Hostpath => "lines from the node's files",
        Logs::Wrap => "lines from wrap",
        Logs::None => "no lines",
    };
    let spans = if summary.overlay {
        "spans by overlay"
    } else {
        "no overlay"
    };
    format!("{kind}, {logs}, {spans}")
}

/// What was done with all workloads.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(Workload, Outcome)>,
}

impl Report {
    pub(super) fn add(&mut self, workload: Workload, outcome: Outcome) {
        self.rows.push((workload, outcome));
    }

    /// Whether something that was to be changed could not be.
    pub fn failed(&self) -> bool {
        let mut outcomes = self.rows.iter().map(|(_, outcome)| outcome);
        outcomes.any(|outcome| matches!(outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |workload: &Workload| format!("{}/{}", workload.kind, workload.name);
        let longest = self.rows.iter().map(|(workload, _)| named(workload).len());
        let width = longest.max().unwrap_or_default();
        for (workload, outcome) in &self.rows {
            let (name, word) = (named(workload), outcome.word());
            writeln!(f, "{name:width$}  {word:8}  {}", outcome.detail())?;
            if let Outcome::Injected(injection) = outcome {
                for note in &injection.notes {
                    writeln!(f, "{:width$}  {:8}  {note}", "", "note")?;
                }
            }
        }
        if self.rows.is_empty() {
            writeln!(f, "no workload in it")?;
        }
        Ok(())
    }
}
