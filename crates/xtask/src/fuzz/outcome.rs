//! What libFuzzer said, as far as it matters.

use std::fmt;
use std::path::{Path, PathBuf};

/// What became of one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Its name.
    pub(super) target: String,
    /// How many inputs were tried.
    pub(super) runs: u64,
    /// How many places of the program they reached.
    pub(super) reached: u64,
    /// What broke, in a few words; empty if nothing did.
    pub(super) said: String,
    /// The input that broke it.
    pub(super) input: Option<PathBuf>,
    /// Everything that was said.
    pub(super) log: PathBuf,
}

impl Outcome {
    /// Reads a log; `success`: how the program ended.
    pub(super) fn read(target: &str, log: &Path, text: &str, success: bool) -> Self {
        let mut outcome = Self {
            target: target.to_owned(),
            log: log.to_path_buf(),
            ..Self::default()
        };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            outcome.line(line);
            if line.starts_with("thread '") && line.contains(" panicked at ") {
                lines
                    .peek()
                    .map_or(line, |next| next)
                    .clone_into(&mut outcome.said);
            }
        }
        if !success && outcome.said.is_empty() {
            "it ended without a word".clone_into(&mut outcome.said);
        }
        outcome
    }

    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix('#') {
            // `#76211	NEW    cov: 769 ft: 3718 corp: …`
            self.runs = self.runs.max(number(rest));
            let reached = line.split_once(" cov: ").map_or(0, |(_, at)| number(at));
            self.reached = self.reached.max(reached);
        } else if let Some((_, error)) = line.split_once("ERROR: libFuzzer: ") {
            if self.said.is_empty() {
                error.clone_into(&mut self.said);
            }
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(PathBuf::from(path));
        }
    }

    /// Whether every promise held.
    pub(super) const fn is_clean(&self) -> bool {
        self.said.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<14} {:>10} inputs {:>6} places  {}",
            self.target,
            self.runs,
            self.reached,
            if self.is_clean() { "ok" } else { "BROKEN" }
        )
    }
}

fn number(text: &str) -> u64 {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .map_or(text, |end| text.get(..end).unwrap_or_default());
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_run_is_read() {
        let text = "#2\tINITED cov: 12 ft: 12 corp: 1/1b\n#900\tDONE   cov: 31 ft: 40\n\
                    Done 900 runs in 5 second(s)\n";
        let outcome = Outcome::read("spans", Path::new("log"), text, true);
        assert_eq!((outcome.runs, outcome.reached), (900, 31));
        assert!(outcome.is_clean());
    }

    #[test]
    fn what_broke_is_read() {
        let text = "#7\tNEW    cov: 3 ft: 3\nthread '<unnamed>' (1) panicked at src/a.rs:1:2:\n\
                    index out of bounds\n==1== ERROR: libFuzzer: deadly signal\n\
                    artifact_prefix='x/'; Test unit written to x/crash-1\n";
        let outcome = Outcome::read("spans", Path::new("log"), text, false);
        assert_eq!(outcome.said, "index out of bounds");
        assert_eq!(outcome.input.as_deref(), Some(Path::new("x/crash-1")));
        let slow = "==1== ERROR: libFuzzer: timeout after 10 seconds\n";
        let outcome = Outcome::read("spans", Path::new("log"), slow, false);
        assert_eq!(outcome.said, "timeout after 10 seconds");
    }

    #[test]
    fn a_program_that_ends_badly_is_not_clean() {
        assert!(!Outcome::read("spans", Path::new("log"), "", false).is_clean());
    }
}
