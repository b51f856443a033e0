//! What programs print while they run, as far as somebody wants to know it when they have ended.

use std::collections::VecDeque;
use std::fmt;
use std::process::ExitStatus;

use anyhow::{Result, anyhow, ensure};

/// How many of its last lines tell why a program failed.
const LAST_LINES: usize = 15;

/// Is told each line that a program prints, without what ends it.
pub(crate) trait Hear: Default + Send + 'static {
    /// Whether the person who watches sees each line as it comes, too.
    const IS_SHOWN: bool = true;

    /// Takes note of a line.
    fn line(&mut self, line: &str);
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Finished<H> {
    /// How it ended, or why it did not.
    pub(crate) ended: Result<ExitStatus>,
    /// What it printed until then.
    pub(crate) heard: H,
}

impl<H> Finished<H> {
    /// Whether it ended, and well.
    pub(crate) fn is_success(&self) -> bool {
        self.ended.as_ref().is_ok_and(ExitStatus::success)
    }
}

impl Finished<Last> {
    /// Nothing, or how it ended with its last lines.
    pub(crate) fn success(self, name: &str) -> Result<()> {
        let Self { ended, heard } = self;
        let status = ended.map_err(|error| anyhow!("{error:#}, it said at last\n{heard}"))?;
        ensure!(
            status.success(),
            "{name} failed with {status}, it said at last\n{heard}"
        );
        Ok(())
    }
}

/// The last lines that say something.
#[derive(Debug, Default)]
pub(crate) struct Last(VecDeque<String>);

impl Last {
    /// These lines, in their order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Hear for Last {
    fn line(&mut self, line: &str) {
        // What shows progress writes over the line before.
        let line = line.trim_start_matches('\r').trim_end();
        if line.is_empty() {
            return;
        }
        if self.0.len() == LAST_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            let before = if index == 0 { "" } else { "\n" };
            write!(f, "{before}{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_that_say_something_are_kept() {
        let mut last = Last::default();
        for line in 0..100 {
            last.line(&format!("\rline {line}"));
            last.line("  ");
        }
        let expected: Vec<String> = (85..100).map(|line| format!("line {line}")).collect();
        assert_eq!(last.to_string(), expected.join("\n"));
    }
}
