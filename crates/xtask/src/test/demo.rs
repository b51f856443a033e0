//! What a whole run printed: the promises that it broke.

use super::Failures;
use crate::heard::{Hear, Last};

/// How many lines of a kind are kept of a run, and how many of a whole output.
const OF_A_KIND_MAX: usize = 30;
const LINES_MAX: usize = 2000;
/// How many lines a run says: two runs of one step have room.
const SAID_MAX: usize = 10;

/// What is kept of a run's output.
#[derive(Debug, Default)]
pub(super) struct Demo {
    /// What was broken or missed, how it was judged, what went wrong, where more is to be seen.
    reasons: Vec<String>,
    /// Examples.
    examples: Vec<String>,
    last: Last,
}

impl Demo {
    /// Says why the run named `name` failed.
    pub(super) fn say(&self, name: &str, failures: &mut Failures) {
        failures.say(format_args!("{name}:"));
        let mut said: Vec<&str> = self.reasons.iter().map(String::as_str).collect();
        said.extend(self.examples.iter().map(String::as_str));
        if self.reasons.is_empty() {
            said.extend(self.last.lines());
        }
        for line in said.iter().take(SAID_MAX) {
            failures.say(format_args!("  {line}"));
        }
        if said.len() > SAID_MAX {
            failures.say(format_args!("  … {} lines more", said.len() - SAID_MAX));
        }
    }
}

impl Hear for Demo {
    fn line(&mut self, line: &str) {
        self.last.line(line);
        let is_judgement = line.starts_with("lost ") && line.ends_with(": FAILED");
        let is_reason = [
            "! promise broken: ",
            "! floor missed: ",
            "xtask: ",
            "look into ",
        ]
        .iter()
        .any(|begin| line.starts_with(begin));
        let kind = if is_judgement || is_reason {
            &mut self.reasons
        } else if line.starts_with("! ") {
            &mut self.examples
        } else {
            return;
        };
        if kind.len() < OF_A_KIND_MAX {
            kind.push(line.to_owned());
        }
    }
}

/// A run beside another one: shown when both are over.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// All lines.
    pub(super) lines: Vec<String>,
    /// What is kept of them.
    pub(super) demo: Demo,
}

impl Hear for Beside {
    const IS_SHOWN: bool = false;

    fn line(&mut self, line: &str) {
        self.demo.line(line);
        if self.lines.len() < LINES_MAX {
            self.lines.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let mut beside = Beside::default();
        text.lines().for_each(|line| beside.line(line));
        assert_eq!(beside.lines.len(), text.lines().count());
        let mut said = Failures::default();
        beside.demo.say("with kills", &mut said);
        said.shown(failures::LINES_MAX)
    }

    #[test]
    fn what_was_missed_goes_before_examples() {
        let examples: String = (0..40).map(|_| "! forward: a-0 is lost\n").collect();
        let text = format!(
            "workload  truth/traced\n{examples}\
             ! promise broken: forward: 40 lines lost\n\
             ! floor missed: ncm: 90.1 % of 79 request lines are exact, 0.6 points below\n\n\
             lost 40, stored twice 0, wrong 0, lanes differ 0, kills 20: FAILED\n\
             look into /tmp/emco-demo-7\n"
        );
        let said = said(&text);
        assert_eq!(
            said[..6],
            [
                "with kills:",
                "  ! promise broken: forward: 40 lines lost",
                "  ! floor missed: ncm: 90.1 % of 79 request lines are exact, 0.6 points below",
                "  lost 40, stored twice 0, wrong 0, lanes differ 0, kills 20: FAILED",
                "  look into /tmp/emco-demo-7",
                "  ! forward: a-0 is lost",
            ]
        );
        assert_eq!(said[11..], ["  … 24 lines more"]);
    }

    #[test]
    fn a_run_that_was_not_judged_says_how_it_ended() {
        assert_eq!(said("one\ntwo\n"), ["with kills:", "  one", "  two"]);
        let error = "one\nxtask: emco-lab does not answer\n";
        assert_eq!(
            said(error),
            ["with kills:", "  xtask: emco-lab does not answer"]
        );
    }
}
