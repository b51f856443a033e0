//! What a command printed that is no test runner: its first errors with their places, its last lines.

use super::Failures;
use crate::heard::{Hear, Last};

/// How many lines of errors are kept beside the last ones.
const ERROR_LINES_MAX: usize = 10;

/// What is kept of a command's output.
#[derive(Debug, Default)]
pub(super) struct Printed {
    errors: Vec<String>,
    /// Whether the place of the last error is still to come.
    has_no_place: bool,
    last: Last,
}

impl Printed {
    /// Says what is kept, each line once.
    pub(super) fn say(&self, failures: &mut Failures) {
        let last: Vec<&str> = self.last.lines().collect();
        for error in &self.errors {
            if !last.contains(&error.as_str()) {
                failures.say(error);
            }
        }
        for line in last {
            failures.say(line);
        }
    }
}

impl Hear for Printed {
    fn line(&mut self, line: &str) {
        self.last.line(line);
        // `error[E0425]: …`, `error: …` of rustc, clippy and rustdoc; `Diff in …` of rustfmt.
        let is_error = ["error: ", "error[", "Diff in "]
            .iter()
            .any(|begin| line.starts_with(begin));
        let is_place = self.has_no_place && line.trim_start().starts_with("--> ");
        if (is_error || is_place) && self.errors.len() < ERROR_LINES_MAX {
            self.errors.push(line.trim_end().to_owned());
            self.has_no_place = is_error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let mut printed = Printed::default();
        text.lines().for_each(|line| printed.line(line));
        let mut failures = Failures::default();
        printed.say(&mut failures);
        failures.shown(super::super::failures::LINES_MAX)
    }

    #[test]
    fn an_error_is_said_with_its_place_however_much_comes_behind_it() {
        let behind: Vec<String> = (0..40).map(|line| format!("line {line}")).collect();
        let text = format!(
            "    Checking xtask v0.1.0\n\
             error[E0425]: cannot find value `x` in this scope\n \
             --> crates/xtask/src/main.rs:7:5\n  |\n\
             7 |     x\n  |     ^ not found in this scope\n \
             --> crates/other.rs:1:1\n{}",
            behind.join("\n")
        );
        let said = said(&text);
        assert_eq!(
            said[..3],
            [
                "error[E0425]: cannot find value `x` in this scope",
                " --> crates/xtask/src/main.rs:7:5",
                "line 25"
            ]
        );
        assert_eq!((said.len(), said[16].as_str()), (17, "line 39"));
    }

    #[test]
    fn what_is_among_the_last_lines_is_said_once() {
        assert_eq!(said("one\nerror: two\n"), ["one", "error: two"]);
    }

    #[test]
    fn many_errors_leave_room_for_the_last_lines() {
        let text: Vec<String> = (0..90)
            .map(|line| format!("Diff in a.rs:{line}:"))
            .collect();
        let said = said(&text.join("\n"));
        assert_eq!(said.len(), 25);
        assert_eq!(
            (said[9].as_str(), said[24].as_str()),
            ("Diff in a.rs:9:", "Diff in a.rs:89:")
        );
    }
}
