//! The judge, fed with runs in which something is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use testkit::manifest::{Expected, How, Record, Truth, digest};
use testkit::stored::StoredLine;

use super::args::LaneName;
use super::floors;
use super::judge::{Case, Outcome, judge};
use super::receipts::{Receipts, Source};
use super::sidecar::{Cost, Spans};
use super::table;
use super::traces::Traces;

fn expected() -> Expected {
    let mut expected = Expected::default();
    for (id, text, user) in [("a-0", "one", Some("eve")), ("a-9", "two", None)] {
        expected.push(Record {
            service: "clm".to_owned(),
            id: id.to_owned(),
            text: text.to_owned(),
            text_digest: digest(text.as_bytes()),
            written_ns: 1_000_000,
            truth: Some(Truth {
                how: if user.is_some() {
                    How::Http
                } else {
                    How::Background
                },
                trace: user.map(|_| "t1".to_owned()),
                user: user.map(str::to_owned),
                proven: user.is_some(),
                ..Truth::default()
            }),
            open_requests: 1,
            ..Record::default()
        });
    }
    expected
}

fn stored(id: &str, text: &str, user: Option<&str>) -> StoredLine {
    StoredLine {
        id: id.to_owned(),
        service: "clm".to_owned(),
        message: text.to_owned(),
        trace: user.map(|_| "t1".to_owned()),
        user: user.map(str::to_owned),
        outcome: user.map_or("background", |_| "attributed").to_owned(),
        stored_ns: 5_000_000,
        ..StoredLine::default()
    }
}

fn good() -> Vec<StoredLine> {
    vec![
        stored("a-0", "one", Some("eve")),
        stored("a-9", "two", None),
    ]
}

fn judged(forward: Vec<StoredLine>, elastic: Vec<StoredLine>) -> Outcome {
    judged_with(forward, elastic, 1)
}

fn judged_with(forward: Vec<StoredLine>, elastic: Vec<StoredLine>, requests: u64) -> Outcome {
    let mut forward = received(LaneName::Forward, forward);
    forward.requests = requests;
    judged_lanes(&[forward, received(LaneName::Elastic, elastic)])
}

fn received(lane: LaneName, lines: Vec<StoredLine>) -> Receipts {
    let mut receipts = Receipts::new(lane, Source::File(PathBuf::new()));
    receipts.lines = lines;
    receipts.requests = 1;
    receipts
}

fn judged_lanes(receipts: &[Receipts]) -> Outcome {
    judge(Case {
        expected: &expected(),
        receipts,
        dead_letters: &BTreeMap::new(),
        sidecars: vec![(
            Cost {
                service: "clm".to_owned(),
                ..Cost::default()
            },
            Spans {
                received: 7,
                kept: 7,
                dropped_by_rule: 0,
                exported: 5,
                not_exported: 2,
            },
        )],
        traces: Traces {
            acknowledged: 7,
            left_out: 2,
            received: 7,
            exported: 5,
            not_exported: 2,
            stored: 5,
            ..Traces::default()
        },
        workload: "a test".to_owned(),
        kills: 0,
    })
}

#[test]
fn a_run_without_fault_passes() {
    let outcome = judged(good(), good());
    assert!(outcome.passed, "{:?}", outcome.trouble);
    assert_eq!(outcome.lines.all.delivered, 2);
    assert_eq!(outcome.attribution.all.request_lines.user_exact, 1);
    assert_eq!(outcome.attribution.all.background_lines.marked, 1);
    assert!((outcome.latency_ms.p50 - 4.0).abs() < 1e-9);
}

#[test]
fn each_fault_of_one_lane_fails_the_run() {
    let without = good().into_iter().take(1).collect();
    let lost = judged(good(), without);
    assert_eq!((lost.passed, lost.lines.all.lost), (false, 1));
    let said = ["elastic: 1 lines are lost"];
    assert_eq!(lost.promises_broken, said);
    assert_eq!(lost.lines.by_lane["forward"].lines.lost, 0);

    let mut twice = good();
    twice.push(stored("b-0", "one", Some("eve")));
    let twice = judged(good(), twice);
    assert_eq!((twice.passed, twice.lines.all.stored_twice), (false, 1));

    let altered = vec![
        stored("a-0", "changed", Some("eve")),
        stored("a-9", "two", None),
    ];
    let altered = judged(altered, good());
    assert_eq!(
        (altered.passed, altered.lines.by_lane["forward"].altered),
        (false, 1)
    );
}

#[test]
fn a_run_without_documents_of_requests_fails() {
    let outcome = judged_with(good(), good(), 0);
    assert!(!outcome.passed);
    let said = "forward: there is no document of a request";
    assert_eq!(outcome.promises_broken, [said]);
    let text = table::render(&outcome);
    assert!(
        text.contains(&format!("! promise broken: {said}\n")),
        "{text}"
    );
}

#[test]
fn a_document_that_came_with_two_contents_fails_the_run() {
    let mut elastic = received(LaneName::Elastic, good());
    elastic.conflicts = 1;
    elastic.conflicting.push("a-9".to_owned());
    let outcome = judged_lanes(&[received(LaneName::Forward, good()), elastic]);
    assert!(!outcome.passed);
    assert_eq!(outcome.lines.by_lane["elastic"].conflicts, 1);
    let said = "elastic: a-9 came again and said something else".to_owned();
    assert!(outcome.trouble.contains(&said), "{:?}", outcome.trouble);
}

#[test]
fn a_wrong_person_fails_the_run() {
    let wrong = || {
        vec![
            stored("a-0", "one", Some("mallory")),
            stored("a-9", "two", None),
        ]
    };
    let outcome = judged(wrong(), wrong());
    assert_eq!((outcome.passed, outcome.attribution.wrong()), (false, 1));
    let said = "1 lines have the wrong request or person";
    assert_eq!(outcome.promises_broken, [said]);
}

#[test]
fn lanes_that_tell_different_stories_fail_the_run() {
    let other = vec![stored("a-0", "one", None), stored("a-9", "two", None)];
    let outcome = judged(good(), other);
    assert_eq!((outcome.passed, outcome.lanes_differ), (false, 1));
    let said = "the lanes differ about 1 lines";
    assert_eq!(outcome.promises_broken, [said]);
}

#[test]
fn a_missed_floor_fails_the_run_and_is_said() {
    let mut outcome = judged(good(), good());
    outcome.hold_to(&[]);
    assert!(outcome.passed);
    outcome.hold_to(floors::TRACED);
    assert!(!outcome.passed);
    let text = table::render(&outcome);
    let missed = "! floor missed: orchestrator with 1-5 requests open: there is no line";
    assert!(
        text.contains(missed) && text.trim_end().ends_with("FAILED"),
        "{text}"
    );
}

#[test]
fn nothing_written_is_no_success() {
    let outcome = judge(Case {
        expected: &Expected::default(),
        receipts: &[Receipts::new(
            LaneName::Forward,
            Source::File(PathBuf::new()),
        )],
        dead_letters: &BTreeMap::new(),
        sidecars: Vec::new(),
        traces: Traces::default(),
        workload: String::new(),
        kills: 0,
    });
    assert!(!outcome.passed);
}

/// The keys of an object.
fn keys(value: &serde_json::Value) -> Vec<&str> {
    let keys = value.as_object().unwrap().keys();
    keys.map(String::as_str).collect()
}

/// The numbers under `keys`, which are all the keys there are.
fn numbers(value: &serde_json::Value, expected: &[&str]) -> Vec<u64> {
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    assert_eq!(keys(value), sorted);
    let numbers = expected.iter().map(|key| value[key].as_u64().unwrap());
    numbers.collect()
}

const LINES: [&str; 5] = [
    "written",
    "delivered",
    "stored_twice",
    "lost",
    "dead_lettered",
];
const REQUEST_LINES: [&str; 7] = [
    "total",
    "exact",
    "user_exact",
    "inferred",
    "ambiguous",
    "none",
    "wrong",
];

#[test]
fn the_keys_of_lines_are_those_that_others_read() {
    let json = serde_json::to_value(judged(good(), good())).unwrap();
    let lines = &json["lines"];
    for key in LINES {
        assert!(lines[key].is_u64(), "lines.{key}");
    }
    let beside = ["unexpected", "altered", "requests", "conflicts"];
    for lane in ["forward", "elastic"] {
        let numbers = numbers(&lines[lane], &[&LINES[..], &beside[..]].concat());
        assert_eq!(numbers, [2, 2, 0, 0, 0, 0, 0, 1, 0]);
    }
}

#[test]
fn the_keys_of_attribution_are_those_that_others_read() {
    let json = serde_json::to_value(judged(good(), good())).unwrap();
    let attribution = &json["attribution"];
    let service = &attribution["by_service"]["clm"];
    let mut groups = vec![attribution, service];
    for bins in [attribution, service].map(|group| &group["by_open_requests"]) {
        assert_eq!(keys(bins), ["0", "1-5", "6-10", "more"]);
        groups.extend(bins.as_object().unwrap().values());
    }
    for group in groups {
        let [total, exact, user_exact, inferred, ambiguous, none, wrong] =
            numbers(&group["request_lines"], &REQUEST_LINES)[..]
        else {
            panic!("not seven numbers");
        };
        assert_eq!(exact + inferred + ambiguous + none + wrong, total);
        assert!(user_exact <= exact);
        numbers(&group["background_lines"], &["total", "marked", "wrong"]);
    }
}

#[test]
fn the_keys_of_spans_times_and_costs_are_those_that_others_read() {
    let json = serde_json::to_value(judged(good(), good())).unwrap();
    for key in ["received", "kept", "dropped_by_rule"] {
        assert!(json["spans"][key].is_u64(), "spans.{key}");
    }
    for key in [
        "acknowledged",
        "left_out",
        "lost",
        "stored",
        "sent_twice",
        "wrong_user",
    ] {
        assert!(json["traces"][key].is_u64(), "traces.{key}");
    }
    assert!(json["latency_ms"]["p50"].is_f64() && json["latency_ms"]["p99"].is_f64());
    let mut expected = [
        "service",
        "cpu_seconds",
        "cpu_seconds_lines",
        "cpu_seconds_spans",
        "peak_rss_bytes",
        "start_to_first_read_ms",
    ];
    expected.sort_unstable();
    assert_eq!(keys(&json["sidecars"][0]), expected);
}

#[test]
fn the_table_says_whether_it_passed() {
    let text = table::render(&judged(good(), Vec::new()));
    assert!(text.contains("lost 2, stored twice 0, wrong 0"), "{text}");
    assert!(text.trim_end().ends_with("FAILED"), "{text}");
}
