//! Why a step failed, for the end of the gate's output: of a long log often only the end is seen.

use std::fmt::Display;

/// How many lines a step may say.
pub(crate) const LINES_MAX: usize = 25;
/// How many of the last lines stay of a text that has more of them.
const LAST_LINES: usize = 16;
/// How much of a line is said, in characters.
const CHARS_MAX: usize = 300;
/// How many lines all steps say together, as long as each may say [`LINES_LEAST`].
const LINES_TOGETHER: usize = 100;
const LINES_LEAST: usize = 6;

/// What one step says of its failure; what matters most comes first.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    left_out: usize,
}

impl Failures {
    /// Says a text, each line cut to a length that is read.
    pub(crate) fn say(&mut self, text: impl Display) {
        let text = text.to_string();
        let lines = text.lines().map(str::trim_end);
        for line in lines.filter(|line| !line.is_empty()) {
            let cut = match line.char_indices().nth(CHARS_MAX) {
                Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
                None => line.to_owned(),
            };
            self.say_whole(cut);
        }
    }

    /// Says a line, however long: somebody copies it.
    pub(crate) fn say_whole(&mut self, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        } else {
            self.left_out += 1;
        }
    }

    /// Says an error with its causes; of a long one how it begins and how it ends.
    pub(crate) fn say_error(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        let lines: Vec<&str> = text.lines().collect();
        let first = LINES_MAX - LAST_LINES - 1;
        if lines.len() <= LINES_MAX {
            self.say(text);
            return;
        }
        for line in lines.iter().take(first) {
            self.say(line);
        }
        self.say(format_args!(
            "… {} lines more …",
            lines.len() - first - LAST_LINES
        ));
        for line in lines.iter().skip(lines.len() - LAST_LINES) {
            self.say(line);
        }
    }

    /// The same behind an error.
    pub(super) fn behind(self, error: &anyhow::Error) -> Self {
        let mut all = Self::default();
        all.say_error(error);
        for line in self.lines {
            all.say_whole(line);
        }
        all.left_out += self.left_out;
        all
    }

    /// Whether nothing was said.
    pub(crate) const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// At most `max` lines, and how many there are beyond.
    pub(crate) fn shown(&self, max: usize) -> Vec<String> {
        let mut shown: Vec<String> = self.lines.iter().take(max).cloned().collect();
        let left_out = self.left_out + self.lines.len().saturating_sub(max);
        if left_out > 0 {
            shown.push(format!("… {left_out} lines more"));
        }
        shown
    }
}

/// How many lines each of so many failed steps may say, so that all of them are seen.
pub(super) fn lines_each(failed: usize) -> usize {
    (LINES_TOGETHER / failed.max(1)).clamp(LINES_LEAST, LINES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_bounded_in_lines_and_in_their_length() {
        let mut failures = Failures::default();
        failures.say("ä".repeat(5000));
        for line in 0..100 {
            failures.say(format_args!("line {line}\n\n"));
        }
        let shown = failures.shown(LINES_MAX);
        assert_eq!(shown.len(), LINES_MAX + 1);
        assert_eq!(shown[0].chars().count(), CHARS_MAX + 1);
        assert_eq!(shown[24], "line 23");
        assert_eq!(shown[25], "… 76 lines more");
        assert_eq!(failures.shown(2)[1..], ["line 0", "… 99 lines more"]);
    }

    #[test]
    fn a_line_that_is_copied_is_whole() {
        let mut failures = Failures::default();
        failures.say_whole("a".repeat(5000));
        assert_eq!(failures.shown(LINES_MAX), ["a".repeat(5000)]);
    }

    #[test]
    fn of_an_error_its_begin_and_its_end_are_said() {
        let text: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        let mut failures = Failures::default();
        let error = anyhow::anyhow!("no such file").context(text.join("\n"));
        failures.say_error(&error);
        let shown = failures.shown(LINES_MAX);
        assert_eq!(shown.len(), LINES_MAX);
        assert_eq!(shown[0], "line 0");
        assert_eq!(shown[8], "… 76 lines more …");
        assert_eq!(shown[24], "line 99: no such file");
    }

    #[test]
    fn an_error_goes_before_what_was_said_until_then() {
        let mut failures = Failures::default();
        for line in 0..30 {
            failures.say(line);
        }
        let shown = failures.behind(&anyhow::anyhow!("too late")).shown(3);
        assert_eq!(shown, ["too late", "0", "1", "… 28 lines more"]);
    }

    #[test]
    fn many_failed_steps_share_the_lines() {
        assert_eq!([1, 4, 5, 10, 14].map(lines_each), [25, 25, 20, 10, 7]);
        assert_eq!(lines_each(50), LINES_LEAST);
    }
}
