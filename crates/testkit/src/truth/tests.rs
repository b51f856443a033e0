//! The score on trial: small attributors, sound and with one bug each, on one made-up afternoon.

use super::*;
use crate::manifest::How;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Whoever touched an AppContext first owns all of its lines for ever.
    FirstOwnerWins,
    /// A line printed while one request is open is given to that request.
    PollerToOpenRequest,
    /// The user header of a caller inside the mesh is believed.
    UnprovenHeader,
}

/// Something somebody asked for.
struct Operation {
    trace: &'static str,
    user: &'static str,
    app_context: u32,
    from: u32,
    to: u32,
    proven: bool,
}

const OPERATIONS: [Operation; 3] = [
    Operation {
        trace: "aa",
        user: "petra",
        app_context: 7,
        from: 0,
        to: 10,
        proven: true,
    },
    Operation {
        trace: "bb",
        user: "quentin",
        app_context: 7,
        from: 20,
        to: 30,
        proven: true,
    },
    Operation {
        trace: "cc",
        user: "sven",
        app_context: 8,
        from: 40,
        to: 50,
        proven: false,
    },
];

/// A line at `at`: of an operation, or of the poller.
struct Line {
    at: u32,
    app_context: Option<u32>,
}

fn afternoon() -> Vec<Line> {
    let of = |at, app_context| Line {
        at,
        app_context: Some(app_context),
    };
    vec![
        of(3, 7),
        of(22, 7),
        of(25, 7),
        of(44, 8),
        Line {
            at: 5,
            app_context: None,
        },
        Line {
            at: 35,
            app_context: None,
        },
    ]
}

fn open_at(at: u32) -> Option<&'static Operation> {
    OPERATIONS
        .iter()
        .find(|operation| (operation.from..=operation.to).contains(&at))
}

fn truth_of(line: &Line) -> Truth {
    match line.app_context.and_then(|_| open_at(line.at)) {
        Some(operation) => Truth {
            how: How::Event,
            trace: Some(operation.trace.into()),
            user: Some(operation.user.into()),
            proven: operation.proven,
            ..Truth::default()
        },
        None => Truth {
            how: How::Background,
            ..Truth::default()
        },
    }
}

fn attribute(bug: Bug, line: &Line) -> StoredLine {
    let owner = match (line.app_context, bug) {
        (None, Bug::PollerToOpenRequest) => open_at(line.at),
        (None, _) => None,
        (Some(id), Bug::FirstOwnerWins) => OPERATIONS
            .iter()
            .find(|operation| operation.app_context == id),
        (Some(id), _) => open_at(line.at).filter(|operation| operation.app_context == id),
    };
    match owner {
        Some(operation) => StoredLine {
            trace: Some(operation.trace.into()),
            user: (operation.proven || bug == Bug::UnprovenHeader).then(|| operation.user.into()),
            outcome: "attributed".into(),
            ..StoredLine::default()
        },
        None => StoredLine {
            outcome: "background".into(),
            ..StoredLine::default()
        },
    }
}

fn score(bug: Bug) -> Attribution {
    let mut scorer = Scorer::default();
    for line in afternoon() {
        let record = Record {
            service: "rsync".into(),
            truth: Some(truth_of(&line)),
            open_requests: u32::from(open_at(line.at).is_some()),
            ..Record::default()
        };
        scorer.add(&record, Some(&attribute(bug, &line)));
    }
    scorer.finish()
}

#[test]
fn a_sound_attributor_is_never_wrong() {
    let score = score(Bug::None);
    let RequestLines {
        total,
        exact,
        user_exact,
        wrong,
        ..
    } = score.all.request_lines;
    assert_eq!((total, exact, user_exact, wrong), (4, 4, 3, 0));
    assert_eq!(
        score.all.background_lines,
        BackgroundLines {
            total: 2,
            marked: 2,
            wrong: 0
        }
    );
}

#[test]
fn the_first_owner_of_an_object_is_not_the_owner_of_its_lines() {
    let score = score(Bug::FirstOwnerWins);
    assert_eq!((score.wrong(), score.all.request_lines.wrong), (2, 2));
    assert_eq!(score.samples.len(), 2);
}

#[test]
fn a_poller_is_not_the_request_that_happens_to_be_open() {
    let score = score(Bug::PollerToOpenRequest);
    assert_eq!((score.wrong(), score.all.background_lines.wrong), (1, 1));
}

#[test]
fn a_person_whom_nobody_proved_is_wrong_even_if_it_is_true() {
    let score = score(Bug::UnprovenHeader);
    assert_eq!((score.wrong(), score.all.request_lines.wrong), (1, 1));
}

#[test]
fn classes_add_up_by_service_and_by_open_requests() {
    let request = Truth {
        how: How::Http,
        trace: Some("aa".into()),
        user: Some("petra".into()),
        proven: true,
        ..Truth::default()
    };
    let says = |outcome: &str, inferred: Option<&str>| StoredLine {
        outcome: outcome.into(),
        inferred_trace: inferred.map(str::to_owned),
        ..StoredLine::default()
    };
    let mut scorer = Scorer::default();
    for (service, open, stored) in [
        ("orchestrator", 1, Some(says("ambiguous", None))),
        ("orchestrator", 6, Some(says("ambiguous", Some("bb")))),
        ("orchestrator", 11, Some(says("none", None))),
        ("clm", 0, Some(says("background", None))),
        ("clm", 5, None),
    ] {
        let record = Record {
            service: service.into(),
            truth: Some(request.clone()),
            open_requests: open,
            ..Record::default()
        };
        scorer.add(&record, stored.as_ref());
    }
    let score = scorer.finish();
    let RequestLines {
        total,
        inferred,
        ambiguous,
        none,
        ..
    } = score.all.request_lines;
    assert_eq!((total, inferred, ambiguous, none), (5, 1, 1, 3));
    assert_eq!(score.by_service["orchestrator"].all.request_lines.total, 3);
    let bins: Vec<(&str, u64)> = score
        .by_open_requests
        .iter()
        .map(|(bin, group)| (bin.as_str(), group.request_lines.total))
        .collect();
    assert_eq!(bins, [("0", 1), ("1-5", 2), ("6-10", 1), ("more", 1)]);
}

#[test]
fn each_line_is_in_one_class_and_each_bin_is_there() {
    let claims = [
        ("attributed", Some("aa"), Some("petra"), None),
        ("attributed", Some("aa"), None, None),
        ("attributed", Some("bb"), None, None),
        ("ambiguous", None, None, None),
        ("ambiguous", None, None, Some("aa")),
        ("background", None, None, None),
        ("none", None, None, None),
        ("", None, None, None),
        ("of a version to come", None, None, None),
    ];
    let mut scorer = Scorer::default();
    for (number, (outcome, trace, user, inferred)) in claims.into_iter().enumerate() {
        let record = Record {
            service: "clm".into(),
            truth: Some(Truth {
                how: How::Http,
                trace: Some("aa".into()),
                user: Some("petra".into()),
                proven: true,
                ..Truth::default()
            }),
            open_requests: if number < 5 { 1 } else { 11 },
            ..Record::default()
        };
        let text = |value: Option<&str>| value.map(str::to_owned);
        let stored = StoredLine {
            outcome: outcome.into(),
            trace: text(trace),
            user: text(user),
            inferred_trace: text(inferred),
            ..StoredLine::default()
        };
        scorer.add(&record, Some(&stored));
    }
    let score = scorer.finish();
    let services = score.by_service.values();
    let bins = services.clone().map(|service| &service.by_open_requests);
    for bins in bins.chain([&score.by_open_requests]) {
        assert!(BINS.iter().all(|bin| bins.contains_key(*bin)), "{bins:?}");
        for group in bins.values().chain([&score.all]) {
            let lines = group.request_lines;
            let classes = lines.exact + lines.inferred + lines.ambiguous + lines.none + lines.wrong;
            assert_eq!(classes, lines.total, "{lines:?}");
        }
    }
    let expected = RequestLines {
        total: 9,
        exact: 2,
        user_exact: 1,
        inferred: 1,
        ambiguous: 1,
        none: 4,
        wrong: 1,
    };
    assert_eq!(score.all.request_lines, expected);
}
