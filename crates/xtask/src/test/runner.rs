//! What a test runner printed, nextest's or libtest's: how many tests passed, and which failed why.

use super::Failures;
use super::count::Count;
use super::failures::LINES_MAX;
use super::printed::Printed;
use crate::heard::Hear;

/// How many failed tests are kept with what they said.
const FAILED_MAX: usize = 100;
/// How many lines of a panic are kept: where it was, and its message.
const PANIC_LINES_MAX: usize = 4;
/// Where in nextest's line of a test its state ends.
const STATE_END: usize = 12;
/// How far nextest indents what a test printed.
const INDENT: &str = "    ";

/// What is kept of a runner's output.
#[derive(Debug, Default)]
pub(super) struct Runner {
    summaries: Vec<String>,
    failed: Vec<Failed>,
    /// The one of them whose output is being read.
    current: Option<usize>,
    printed: Printed,
}

/// A test that failed.
#[derive(Debug)]
struct Failed {
    /// How it ended.
    state: String,
    name: String,
    /// Where it panicked, and the first lines of the message.
    panic: Vec<String>,
    /// Whether that was the test's own thread.
    is_own: bool,
    /// Whether the next line belongs to the message.
    is_open: bool,
    /// What it printed last, for those that end without a panic.
    last: String,
}

impl Runner {
    /// The tests that it counted.
    pub(super) fn count(&self, success: bool) -> Count {
        Count::of_runner(&self.summaries, success)
    }

    /// Says which tests failed and why; where none did, how the output ends. Every name goes before any
    /// reason.
    pub(super) fn say(&self, failures: &mut Failures) {
        if self.failed.is_empty() {
            self.printed.say(failures);
            return;
        }
        let room = LINES_MAX.saturating_sub(self.failed.len()) / self.failed.len();
        for failed in &self.failed {
            failures.say(format_args!("{} {}", failed.state, failed.name));
            for line in failed.why().take(room) {
                failures.say(format_args!("  {line}"));
            }
        }
    }

    /// Begins with what a test printed.
    fn begin(&mut self, state: &str, name: &str) {
        // It is told when it happens, and once more at the end, with what it printed.
        let known = self.failed.iter().position(|failed| failed.name == name);
        self.current = known.or_else(|| {
            let new = self.failed.len();
            (new < FAILED_MAX).then(|| {
                self.failed.push(Failed::new(state, name));
                new
            })
        });
    }
}

impl Hear for Runner {
    fn line(&mut self, line: &str) {
        self.printed.line(line);
        if Count::is_summary(line) {
            self.summaries.push(line.to_owned());
        }
        if let Some((state, name)) = of_nextest(line) {
            self.begin(state, name);
        } else if let Some(name) = of_libtest(line) {
            self.begin("FAILED", name);
        } else if line == "failures:" || line.starts_with("error: ") {
            self.current = None;
        } else if let Some(current) = self.current.and_then(|at| self.failed.get_mut(at)) {
            current.line(line.strip_prefix(INDENT).unwrap_or(line));
        }
    }
}

impl Failed {
    fn new(state: &str, name: &str) -> Self {
        Self {
            state: state.to_owned(),
            name: name.to_owned(),
            panic: Vec::new(),
            is_own: false,
            is_open: false,
            last: String::new(),
        }
    }

    fn line(&mut self, line: &str) {
        let test = self.name.split_whitespace().last().unwrap_or_default();
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            // Of several panics of a thread the last one is what a property test has found.
            let is_own = line.starts_with(&format!("thread '{test}'"));
            self.is_open = is_own || !self.is_own;
            if self.is_open {
                self.is_own = is_own;
                self.panic = vec![line.to_owned()];
            }
        } else if line.is_empty() || line == "stack backtrace:" {
            self.is_open = false;
        } else if self.is_open && self.panic.len() < PANIC_LINES_MAX {
            self.panic.push(line.to_owned());
        } else if !is_noise(line) && line.trim_start() != test {
            line.trim().clone_into(&mut self.last);
        }
    }

    fn why(&self) -> impl Iterator<Item = &str> {
        let last = self.panic.is_empty().then_some(self.last.as_str());
        let said = self.panic.iter().map(String::as_str).chain(last);
        said.filter(|line| !line.is_empty())
    }
}

/// `        FAIL [   0.005s] (2/6) package::binary module::test`, but for tests that did not fail.
fn of_nextest(line: &str) -> Option<(&str, &str)> {
    let (state, rest) = line.split_at_checked(STATE_END)?;
    let (_, name) = rest.strip_prefix(" [")?.split_once(") ")?;
    let state = state.trim_start();
    let is_failed = ["FAIL", "TIMEOUT", "XFAIL", "ABORT", "LEAK-FAIL", "SIG"]
        .iter()
        .any(|begin| state.starts_with(begin));
    is_failed.then_some((state, name))
}

/// `---- module::test stdout ----`.
fn of_libtest(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// What runners print around what a test prints.
fn is_noise(line: &str) -> bool {
    let line = line.trim_start();
    let begins = [
        "running ",
        "test result: ",
        "note: ",
        "failures:",
        "stdout ──",
        "stderr ──",
    ];
    begins.iter().any(|begin| line.starts_with(begin))
        || (line.starts_with("test ") && line.ends_with("FAILED"))
}

#[cfg(test)]
mod tests;
