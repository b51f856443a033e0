use super::*;

const MS: u64 = 1_000_000;
const T0: u64 = 1_795_406_976 * SECOND;

fn at(millis: u64) -> UnixNanos {
    UnixNanos(T0 + millis * MS)
}

fn line(path: &str, status: u16, printed: u64) -> AccessLine<'_> {
    AccessLine {
        method: "GET",
        path,
        status,
        started: UnixNanos((T0 + printed * MS) / SECOND * SECOND),
        printed: at(printed),
    }
}

fn heard(path: &str, status: u16, end: u64) -> Heard<'_> {
    Heard {
        method: "get",
        path,
        status,
        start: at(end - 10),
        end: at(end),
    }
}

fn left<T>(census: &mut Census<T>, now: u64) -> Vec<T> {
    let mut left = Vec::new();
    census.without_line(at(now), |request| left.push(request));
    left
}

#[test]
fn line_and_request_meet_in_either_order() {
    let mut census = Census::default();
    assert_eq!(census.line(&line("/v2/Projects/p1?x=1", 404, 500)), None);
    let met = census.request(&heard("/v2/projects/p1", 0, 499), 1, at(510));
    assert_eq!(met, Ok(Some((1, 404))));
    assert_eq!(census.request(&heard("/b", 200, 600), 2, at(600)), Ok(None));
    assert_eq!(census.line(&line("/b", 500, 601)), None, "another status");
    assert_eq!(census.line(&line("/B", 200, 602)), Some(2));
    assert_eq!(census.waiting(), 0);
    census.line(&line("/a%20B%3fc%zz?d", 200, 700));
    let met = census.request(&heard("/a b?c%zz", 0, 700), 3, at(700));
    assert_eq!(met, Ok(None), "a query ends the path of a span, too");
    let met = census.request(&heard("/a b%3Fc%zz", 0, 700), 3, at(700));
    assert_eq!(met, Ok(Some((3, 200))));
}

#[test]
fn equal_requests_have_a_line_each() {
    let mut census = Census::default();
    for printed in [100, 300] {
        assert_eq!(census.line(&line("/a", 200, printed)), None);
    }
    for (request, end) in [(1, 299), (2, 99)] {
        let met = census.request(&heard("/a", 200, end), request, at(400));
        assert_eq!(met, Ok(Some((request, 200))));
    }
    assert_eq!(census.request(&heard("/a", 200, 301), 3, at(400)), Ok(None));
}

#[test]
fn a_request_without_a_line_goes_when_later_lines_were_read() {
    let mut census = Census::default();
    assert_eq!(census.request(&heard("/a", 503, 100), 1, at(200)), Ok(None));
    let deadline = census.deadline().unwrap();
    assert!(left(&mut census, 200).is_empty());
    // a backlog is read: nothing is said about that time yet
    census.read(at(50), at(3_000));
    assert!(left(&mut census, 3_000).is_empty());
    census.read(at(2_500), at(3_100));
    assert_eq!(left(&mut census, 3_100), [1]);
    assert_eq!(deadline, at(2_200));
}

#[test]
fn a_silent_log_is_waited_for_only_so_long() {
    let mut census = Census::default();
    census.read(at(90), at(95));
    assert_eq!(census.request(&heard("/a", 503, 100), 1, at(100)), Ok(None));
    assert!(left(&mut census, 2_000).is_empty());
    let deadline = census.deadline().unwrap();
    assert_eq!(left(&mut census, (deadline.0 - T0) / MS), [1]);
    assert_eq!(census.deadline(), None);
}

#[test]
fn what_does_not_fit_in_time_is_another_request() {
    let mut census: Census<u8> = Census::default();
    census.line(&line("/a", 200, 100));
    for end in [5_000, 20_000] {
        assert_eq!(
            census.request(&heard("/a", 200, end), 1, at(end)),
            Ok(None),
            "{end}"
        );
    }
    let mut released = 0;
    census.release(|_| released += 1);
    assert_eq!(released, 2);
}

#[test]
fn lines_are_forgotten_when_the_log_is_silent() {
    let mut census = Census::default();
    census.read(at(90), at(95));
    census.line(&line("/a", 200, 90));
    let deadline = census.deadline().unwrap();
    assert_eq!(deadline, UnixNanos(at(95).0 + REMEMBER));
    assert!(left::<u8>(&mut census, (deadline.0 - T0) / MS - 1).is_empty());
    assert_eq!(census.lines_held, 1);
    // the one that is read in between postpones it
    census.read(at(1_000), at(1_000));
    assert!(left(&mut census, (deadline.0 - T0) / MS).is_empty());
    assert_eq!(census.lines_held, 1);
    let deadline = census.deadline().unwrap();
    assert!(left(&mut census, (deadline.0 - T0) / MS).is_empty());
    assert_eq!((census.lines_held, census.lines.capacity()), (0, 0));
    assert_eq!(census.deadline(), None, "nothing wakes for it again");
}

#[test]
fn requests_with_long_paths_are_bounded_by_their_bytes() {
    let mut census = Census::default();
    let path = "/x".repeat(1 << 15);
    let fit = WAITING_BYTES_MAX / path.len();
    for number in 0..fit {
        let waits = census.request(&heard(&path, 0, 100), number, at(100));
        assert_eq!(waits, Ok(None));
    }
    assert_eq!(census.request(&heard(&path, 0, 100), 7, at(100)), Err(7));
    assert_eq!(census.line(&line(&path, 200, 100)), Some(0));
    assert_eq!(census.request(&heard(&path, 0, 100), 8, at(100)), Ok(None));
    census.read(at(10_000), at(10_000));
    assert_eq!(left(&mut census, 10_000).len(), fit);
    assert_eq!(census.waiting_bytes, 0);
}

#[test]
fn memory_is_bounded() {
    let mut census = Census::default();
    for number in 0..=LINES_MAX as u64 {
        census.line(&line(&format!("/{number}"), 200, number));
    }
    assert_eq!(census.lines_held, LINES_MAX);
    for number in 0..WAITING_MAX {
        let waits = census.request(&heard("/none", 0, 1_000_000), number, at(0));
        assert_eq!(waits, Ok(None));
    }
    let turned_away = census.request(&heard("/none", 0, 1_000_000), 7, at(0));
    assert_eq!(turned_away, Err(7));
    census.read(at(1_000_000), at(1_000_000));
    left(&mut census, 1_000_000);
    assert_eq!((census.lines_held, census.lines.len()), (0, 0));
}
