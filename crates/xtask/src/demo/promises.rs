//! What every run promises, whatever the workload: nothing lost, doubled or wrong.

use testkit::truth::Attribution;

use super::judge::{LaneLines, LinesByLane};
use super::traces::Traces;

/// What the promises are about.
pub(super) struct Judged<'a> {
    /// The account of the lines.
    pub(super) lines: &'a LinesByLane,
    /// The comparison with the truth.
    pub(super) attribution: &'a Attribution,
    /// Lines about which two lanes say different things.
    pub(super) lanes_differ: u64,
    /// The account of the spans.
    pub(super) traces: &'a Traces,
    /// How many sidecars were killed.
    pub(super) kills: u32,
}

/// Which promises were broken, one sentence each.
pub(super) fn broken(judged: &Judged<'_>) -> Vec<String> {
    let mut said = Vec::new();
    if judged.lines.all.written == 0 {
        said.push("nothing was written".to_owned());
    }
    if judged.lines.by_lane.is_empty() {
        said.push("there was no lane".to_owned());
    }
    for (name, lane) in &judged.lines.by_lane {
        said.extend(of_lane(lane).map(|what| format!("{name}: {what}")));
    }
    let wrong = judged.attribution.wrong();
    if wrong > 0 {
        said.push(format!("{wrong} lines have the wrong request or person"));
    }
    if judged.lanes_differ > 0 {
        let differ = judged.lanes_differ;
        said.push(format!("the lanes differ about {differ} lines"));
    }
    said.extend(judged.traces.broken(judged.kills));
    said
}

fn of_lane(lane: &LaneLines) -> impl Iterator<Item = String> {
    let counts = [
        (lane.lines.lost, "lines are lost"),
        (lane.lines.stored_twice, "lines are stored twice"),
        (lane.unexpected, "documents were never written"),
        (lane.altered, "lines are not what was written"),
        (
            lane.conflicts,
            "documents came again and said something else",
        ),
    ];
    let broken = counts.into_iter().filter(|(count, _)| *count > 0);
    let undocumented = (lane.requests == 0).then(|| "there is no document of a request".to_owned());
    broken
        .map(|(count, what)| format!("{count} {what}"))
        .chain(undocumented)
}
