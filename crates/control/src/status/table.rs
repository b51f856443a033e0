//! What is said of pods, as a table.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inject::INJECT;
use crate::watchdog::{PodReport, Standing};

const HEAD: [&str; 8] = [
    "NAMESPACE",
    "POD",
    "SERVICE",
    "STANDING",
    "IMAGE",
    "LOGS",
    "SPANS",
    "NEXT STEP",
];
/// What is not there.
const NOTHING: &str = "-";

/// A line for each pod, and one with their number.
pub(super) fn table(pods: &[PodReport], counts: &BTreeMap<Standing, usize>) -> String {
    if pods.is_empty() {
        return format!(
            "no pods; label a namespace {INJECT}=true to give its pods sidecars, or name one with --namespace\n"
        );
    }
    let head = HEAD.map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(pods.iter().map(row)).collect();
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
    let counts = counts.iter();
    let counts: Vec<String> = counts
        .map(|(standing, count)| format!("{count} {}", standing.label()))
        .collect();
    let plural = if pods.len() == 1 { "pod" } else { "pods" };
    lines.push(String::new());
    lines.push(format!("{} {plural}: {}\n", pods.len(), counts.join(", ")));
    lines.join("\n")
}

fn line(row: &[String; 8], widths: &[usize; 8]) -> String {
    let cells = row.iter().zip(widths);
    let cells: Vec<String> = cells
        .map(|(cell, &width)| format!("{cell:width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned()
}

fn row(pod: &PodReport) -> [String; 8] {
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
    [
        pod.namespace.clone(),
        pod.pod.clone(),
        or_nothing(&pod.service),
        pod.standing.label().to_owned(),
        or_nothing(&pod.image),
        word(&pod.logs),
        word(&pod.spans),
        or_nothing(&pod.next),
    ]
}

/// A word as the JSON has it.
fn word(of: &impl Serialize) -> String {
    let word = serde_json::to_value(of).unwrap_or_default();
    word.as_str().unwrap_or(NOTHING).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::{Lines, Spans};

    fn pod(name: &str, standing: Standing) -> PodReport {
        PodReport {
            namespace: "emco".to_owned(),
            pod: name.to_owned(),
            service: None,
            standing,
            image: None,
            kind: None,
            logs: Lines::None,
            spans: Spans::None,
            next: Some("restart it".to_owned()),
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let current = PodReport {
            service: Some("orchestrator".to_owned()),
            image: Some("example.test/emco-observer:1".to_owned()),
            kind: Some("native".to_owned()),
            logs: Lines::Hostpath,
            spans: Spans::Overlay,
            next: None,
            ..pod("orchestrator-7d9c5-x2x4z", Standing::Current)
        };
        let pods = [
            current,
            pod("a", Standing::Missing),
            pod("b", Standing::OptedOut),
        ];
        let counts = pods.iter().map(|pod| (pod.standing, 1)).collect();
        insta::assert_snapshot!(table(&pods, &counts));
        assert!(table(&[], &BTreeMap::new()).starts_with("no pods; label a namespace"));
    }
}
