//! Compares what was written with what was delivered, and what was claimed with what is true.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use testkit::latency::Latency;
use testkit::manifest::Expected;
use testkit::oracle::{Lane, Lines, Report};
use testkit::stored::StoredLine;
use testkit::truth::{Attribution, Scorer};

use super::floors::{self, Floor};
use super::promises::{self, Judged};
use super::receipts::Receipts;
use super::sidecar::{Cost, Spans};
use super::traces::Traces;

/// The result of a run. Its keys are a contract: other programs read them.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether anything was lost, doubled or wrong.
    pub(crate) passed: bool,
    /// Where the workload came from.
    pub(crate) workload: String,
    /// The account of all lanes and of each.
    pub(crate) lines: LinesByLane,
    /// The comparison with the truth.
    pub(crate) attribution: Attribution,
    /// Lines about which two lanes say different things.
    pub(crate) lanes_differ: u64,
    /// Spans of all sidecars.
    pub(crate) spans: Spans,
    /// What became of those that were exported.
    pub(crate) traces: Traces,
    /// From written to stored.
    pub(crate) latency_ms: Latency,
    /// What each sidecar cost.
    pub(crate) sidecars: Vec<Cost>,
    /// How many sidecars were killed on the way.
    pub(crate) kills: u32,
    /// Promises that were broken, one sentence each.
    pub(crate) promises_broken: Vec<String>,
    /// Floors of attribution that were missed, if they were asked for.
    pub(crate) floors_missed: Vec<String>,
    /// Examples of trouble.
    pub(crate) trouble: Vec<String>,
}

impl Outcome {
    /// Fails a run whose attribution is below one of these.
    pub(crate) fn hold_to(&mut self, floors: &[Floor]) {
        self.floors_missed = floors::missed(floors, &self.attribution);
        self.passed &= self.floors_missed.is_empty();
    }
}

/// The worst of all lanes, and each lane by its name.
#[derive(Debug, Serialize)]
pub(crate) struct LinesByLane {
    /// For each number the worst lane's.
    #[serde(flatten)]
    pub(crate) all: Lines,
    /// Each lane's.
    #[serde(flatten)]
    pub(crate) by_lane: BTreeMap<&'static str, LaneLines>,
}

/// One lane.
#[derive(Debug, Serialize)]
pub(crate) struct LaneLines {
    /// The account.
    #[serde(flatten)]
    pub(crate) lines: Lines,
    /// Documents that nobody wrote.
    pub(crate) unexpected: u64,
    /// Documents whose content is not what was written.
    pub(crate) altered: u64,
    /// Documents of requests.
    pub(crate) requests: u64,
    /// How often a document came again and said something else than before.
    pub(crate) conflicts: u64,
}

/// What is judged.
pub(crate) struct Case<'a> {
    /// What was written.
    pub(crate) expected: &'a Expected,
    /// What each lane delivered.
    pub(crate) receipts: &'a [Receipts],
    /// Ids in dead-letter files, by lane.
    pub(crate) dead_letters: &'a BTreeMap<&'static str, Vec<String>>,
    /// What the sidecars did with spans and cost.
    pub(crate) sidecars: Vec<(Cost, Spans)>,
    /// What the lab has of traces.
    pub(crate) traces: Traces,
    /// Where the workload came from.
    pub(crate) workload: String,
    /// How many sidecars were killed.
    pub(crate) kills: u32,
}

/// Judges a run.
pub(crate) fn judge(case: Case<'_>) -> Outcome {
    let mut trouble = Vec::new();
    let mut by_lane = BTreeMap::new();
    for receipts in case.receipts {
        let report = account(&case, receipts);
        let name = receipts.lane.name();
        trouble.extend(
            report
                .samples
                .iter()
                .map(|sample| format!("{name}: {sample}")),
        );
        trouble.extend(
            receipts
                .conflicting
                .iter()
                .map(|id| format!("{name}: {id} came again and said something else")),
        );
        by_lane.insert(
            name,
            LaneLines {
                lines: report.lines,
                unexpected: report.unexpected,
                altered: report.altered,
                requests: receipts.requests,
                conflicts: receipts.conflicts,
            },
        );
    }
    let attribution = case
        .receipts
        .first()
        .map(|receipts| score(case.expected, &receipts.lines))
        .unwrap_or_default();
    trouble.extend(attribution.samples.iter().cloned());
    trouble.extend(case.traces.samples.iter().cloned());
    let lanes_differ = differences(case.receipts);
    let lines = LinesByLane {
        all: worst(by_lane.values().map(|lane| lane.lines)),
        by_lane,
    };
    let (sidecars, spans) = costs(case.sidecars);
    let promises_broken = promises::broken(&Judged {
        lines: &lines,
        attribution: &attribution,
        lanes_differ,
        traces: &case.traces,
        kills: case.kills,
    });
    Outcome {
        passed: promises_broken.is_empty(),
        promises_broken,
        workload: case.workload,
        lines,
        attribution,
        lanes_differ,
        spans,
        traces: case.traces,
        latency_ms: latency(case.expected, case.receipts),
        sidecars,
        kills: case.kills,
        floors_missed: Vec::new(),
        trouble,
    }
}

fn account(case: &Case<'_>, receipts: &Receipts) -> Report {
    let mut lane = Lane::new(case.expected);
    for line in &receipts.lines {
        lane.receive(line);
    }
    let dead = case.dead_letters.get(receipts.lane.name());
    for id in dead.into_iter().flatten() {
        lane.dead_letter(id);
    }
    lane.report()
}

/// A joined record's claim is that of the document it came in.
fn score(expected: &Expected, stored: &[StoredLine]) -> Attribution {
    let mut lane = Lane::new(expected);
    let mut by_id = HashMap::with_capacity(stored.len());
    for line in stored {
        lane.receive(line);
        by_id.entry(line.id.as_str()).or_insert(line);
    }
    let mut newest: HashMap<(&str, &str, &str), &StoredLine> = HashMap::new();
    let mut scorer = Scorer::default();
    for record in expected.records() {
        let stream = (&*record.service, &*record.container, &*record.stream);
        let own = by_id.get(record.id.as_str()).copied();
        if let Some(own) = own {
            newest.insert(stream, own);
        }
        let joined = || {
            newest
                .get(&stream)
                .copied()
                .filter(|_| lane.is_joined(&record.id))
        };
        scorer.add(record, own.or_else(joined));
    }
    scorer.finish()
}

fn worst(lanes: impl Iterator<Item = Lines>) -> Lines {
    lanes
        .reduce(|worst, lane| Lines {
            written: worst.written.max(lane.written),
            delivered: worst.delivered.min(lane.delivered),
            stored_twice: worst.stored_twice.max(lane.stored_twice),
            lost: worst.lost.max(lane.lost),
            dead_lettered: worst.dead_lettered.max(lane.dead_lettered),
        })
        .unwrap_or_default()
}

/// How many lines two lanes tell differently.
fn differences(receipts: &[Receipts]) -> u64 {
    let Some((first, others)) = receipts.split_first() else {
        return 0;
    };
    let claims: HashMap<&str, _> = first
        .lines
        .iter()
        .map(|line| (line.id.as_str(), claim(line)))
        .collect();
    let differing = others.iter().flat_map(|other| &other.lines).filter(|line| {
        claims
            .get(line.id.as_str())
            .is_some_and(|known| *known != claim(line))
    });
    differing.count() as u64
}

type Claim<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

fn claim(line: &StoredLine) -> Claim<'_> {
    (line.trace.as_deref(), line.user.as_deref(), &line.outcome)
}

fn latency(expected: &Expected, receipts: &[Receipts]) -> Latency {
    let written: HashMap<&str, u64> = expected
        .records()
        .iter()
        .map(|record| (record.id.as_str(), record.written_ns))
        .collect();
    let delays = receipts
        .iter()
        .flat_map(|lane| &lane.lines)
        .filter_map(|line| {
            let written = written
                .get(line.id.as_str())
                .filter(|_| line.stored_ns > 0)?;
            Some(line.stored_ns.saturating_sub(*written))
        });
    Latency::of(delays.collect())
}

fn costs(sidecars: Vec<(Cost, Spans)>) -> (Vec<Cost>, Spans) {
    let mut sum = Spans::default();
    let mut costs = Vec::new();
    for (cost, spans) in sidecars {
        sum.received += spans.received;
        sum.kept += spans.kept;
        sum.dropped_by_rule += spans.dropped_by_rule;
        sum.exported += spans.exported;
        sum.not_exported += spans.not_exported;
        costs.push(cost);
    }
    (costs, sum)
}
