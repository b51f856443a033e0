//! What runners printed, with the backtraces cut short.

use super::*;

const NEXTEST: &str = include_str!("nextest.txt");
const LIBTEST: &str = include_str!("libtest.txt");

fn read(text: &str) -> Runner {
    let mut runner = Runner::default();
    text.lines().for_each(|line| runner.line(line));
    runner
}

fn said(text: &str) -> Vec<String> {
    let mut failures = Failures::default();
    read(text).say(&mut failures);
    failures.shown(LINES_MAX)
}

#[test]
fn nextest_is_read_test_by_test() {
    assert_eq!(
        said(NEXTEST),
        [
            "SIGABRT rv tests::aborts",
            "  (test aborted with signal 6: SIGABRT)",
            "FAIL rv tests::errs",
            "  Error: \"no such thing\"",
            "FAIL rv tests::equal",
            "  thread 'tests::equal' (6572) panicked at src/lib.rs:9:23:",
            "  assertion `left == right` failed: the number of floors",
            "    left: 1",
            "   right: 2",
            "FAIL rv tests::says",
            "  thread 'tests::says' (6580) panicked at src/lib.rs:10:45:",
            "  line one",
            "  line two",
            "TIMEOUT rv tests::hangs",
            "  (test timed out)",
        ]
    );
    let count = read(NEXTEST).count(false);
    assert_eq!((count.passed, count.failed), (1, 5));
}

#[test]
fn libtest_is_read_test_by_test() {
    assert_eq!(
        said(LIBTEST),
        [
            "FAILED src/lib.rs - one (line 2)",
            "  thread 'main' (6645) panicked at /tmp/rustdoctestOI4CHZ/doctest_bundle_2024.rs:6:1:",
            "  assertion `left == right` failed",
            "    left: 1",
            "   right: 2",
        ]
    );
    assert_eq!(read(LIBTEST).count(false).failed, 1);
}

#[test]
fn names_are_there_even_if_the_runner_was_ended_before_it_told_more() {
    let (until, _) = NEXTEST.split_once("     Summary [").unwrap();
    let names = [
        "SIGABRT rv tests::aborts",
        "FAIL rv tests::errs",
        "FAIL rv tests::equal",
        "FAIL rv tests::says",
        "TIMEOUT rv tests::hangs",
    ];
    let said = said(until);
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(
        said.iter()
            .filter(|line| !line.starts_with(' '))
            .copied()
            .collect::<Vec<_>>(),
        names
    );
}

#[test]
fn what_a_test_prints_is_not_taken_for_the_state_of_a_test() {
    let nested = NEXTEST.replace('\n', &format!("\n{INDENT}"));
    let text =
        format!("        FAIL [   0.005s] (1/1) xtask reads\n  stdout ───\n{INDENT}{nested}");
    let names = said(&text);
    assert_eq!(names[0], "FAIL xtask reads");
    assert!(
        names[1..].iter().all(|line| line.starts_with(' ')),
        "{names:?}"
    );
}

#[test]
fn every_name_goes_before_any_reason() {
    let tests = (0..30).map(|test| {
        format!("        FAIL [   0.005s] (1/99) a t{test:02}\n    thread 't{test:02}' (1) panicked at a.rs:1:1:\n    why\n")
    });
    let tests: Vec<String> = tests.collect();
    let all = said(&tests.concat());
    assert_eq!(all[24], "FAIL a t24");
    assert_eq!(all[25], "… 5 lines more");
    let few = said(&tests[..8].concat());
    assert_eq!(
        few[21..],
        [
            "FAIL a t07",
            "  thread 't07' (1) panicked at a.rs:1:1:",
            "  why"
        ]
    );
}

#[test]
fn the_last_panic_of_the_own_thread_is_what_counts() {
    let text = "        FAIL [   0.005s] (1/9) a case\n\
                    thread 'worker' (2) panicked at a.rs:1:1:\n    other\n\n\
                    thread 'case' (1) panicked at a.rs:2:1:\n    tried\n\n\
                    thread 'case' (1) panicked at a.rs:3:1:\n    minimal input: 7\n\n\
                    thread 'worker' (2) panicked at a.rs:4:1:\n    late\n";
    let expected = [
        "FAIL a case",
        "  thread 'case' (1) panicked at a.rs:3:1:",
        "  minimal input: 7",
    ];
    assert_eq!(said(text), expected);
}

#[test]
fn what_does_not_compile_says_its_errors() {
    let said = said("error[E0425]: no such name\n --> a.rs:1:1\nerror: could not compile `a`\n");
    assert_eq!(
        said,
        [
            "error[E0425]: no such name",
            " --> a.rs:1:1",
            "error: could not compile `a`"
        ]
    );
}
