//! The result of a run for people.

use std::fmt::{self, Write};

use testkit::truth::Group;

use super::judge::Outcome;

/// The whole table.
pub(crate) fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _infallible = write(&mut text, outcome);
    text
}

fn write(out: &mut String, outcome: &Outcome) -> fmt::Result {
    writeln!(out, "workload  {}", outcome.workload)?;
    writeln!(
        out,
        "\n{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>10}{:>10}{:>10}",
        "lines",
        "written",
        "delivered",
        "twice",
        "lost",
        "dead",
        "unexpected",
        "altered",
        "requests",
        "conflicts"
    )?;
    for (name, lane) in &outcome.lines.by_lane {
        let lines = &lane.lines;
        writeln!(
            out,
            "{name:<14}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>10}{:>10}{:>10}",
            lines.written,
            lines.delivered,
            lines.stored_twice,
            lines.lost,
            lines.dead_lettered,
            lane.unexpected,
            lane.altered,
            lane.requests,
            lane.conflicts
        )?;
    }
    write_attribution(out, outcome)?;
    write_cost(out, outcome)?;
    for line in &outcome.trouble {
        writeln!(out, "! {line}")?;
    }
    for line in &outcome.promises_broken {
        writeln!(out, "! promise broken: {line}")?;
    }
    for line in &outcome.floors_missed {
        writeln!(out, "! floor missed: {line}")?;
    }
    writeln!(
        out,
        "\nlost {}, stored twice {}, wrong {}, lanes differ {}, kills {}: {}",
        outcome.lines.all.lost,
        outcome.lines.all.stored_twice,
        outcome.attribution.wrong(),
        outcome.lanes_differ,
        outcome.kills,
        if outcome.passed { "passed" } else { "FAILED" }
    )
}

fn write_attribution(out: &mut String, outcome: &Outcome) -> fmt::Result {
    writeln!(
        out,
        "\n{:<22}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>7} |{:>9}{:>9}{:>7}",
        "request lines",
        "total",
        "exact",
        "user",
        "inferred",
        "ambig.",
        "none",
        "wrong",
        "backgr.",
        "marked",
        "wrong"
    )?;
    let attribution = &outcome.attribution;
    write_group(out, "all", &attribution.all)?;
    for (bin, group) in &attribution.by_open_requests {
        write_group(out, &format!("  {bin} open"), group)?;
    }
    for (service, score) in &attribution.by_service {
        write_group(out, service, &score.all)?;
        for (bin, group) in &score.by_open_requests {
            write_group(out, &format!("  {bin} open"), group)?;
        }
    }
    write_group(out, "access lines", &attribution.access_lines)
}

/// Bins without a line are left out.
fn write_group(out: &mut String, name: &str, group: &Group) -> fmt::Result {
    let (request, background) = (&group.request_lines, &group.background_lines);
    if request.total + background.total == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "{name:<22}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>7} |{:>9}{:>9}{:>7}",
        request.total,
        percent(request.exact, request.total),
        percent(request.user_exact, request.total),
        request.inferred,
        request.ambiguous,
        request.none,
        request.wrong,
        background.total,
        percent(background.marked, background.total),
        background.wrong
    )
}

fn write_cost(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let spans = &outcome.spans;
    writeln!(
        out,
        "\nspans received {}, kept {}, dropped by rule {}; latency p50 {:.0} ms, p99 {:.0} ms",
        spans.received,
        spans.kept,
        spans.dropped_by_rule,
        outcome.latency_ms.p50,
        outcome.latency_ms.p99
    )?;
    let traces = &outcome.traces;
    writeln!(
        out,
        "spans acknowledged {}, left out as noise {}, lost {}, unknown {}",
        traces.acknowledged, traces.left_out, traces.lost, traces.unknown
    )?;
    writeln!(
        out,
        "spans exported {}, left out {}, stored {} of {} traces, sent twice {}, with person {}, wrong person {}",
        traces.exported,
        traces.not_exported,
        traces.stored,
        traces.requests,
        traces.sent_twice,
        traces.with_user,
        traces.wrong_user
    )?;
    writeln!(
        out,
        "\n{:<14}{:>8}{:>8}{:>8}{:>12}{:>16}",
        "sidecar", "cpu s", "lines s", "spans s", "peak KiB", "first read ms"
    )?;
    for cost in &outcome.sidecars {
        let first = cost
            .start_to_first_read_ms
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        writeln!(
            out,
            "{:<14}{:>8.2}{:>8.2}{:>8.2}{:>12}{first:>16}",
            cost.service,
            cost.cpu_seconds,
            cost.cpu_seconds_lines,
            cost.cpu_seconds_spans,
            cost.peak_rss_bytes / 1024
        )?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of lines, shown as a share"
)]
fn percent(part: u64, total: u64) -> String {
    if total == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / total as f64)
}
