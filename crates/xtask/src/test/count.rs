//! How many tests passed and failed, read from what test runners print.

use std::fmt;

/// Passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// How many passed.
    pub(crate) passed: u64,
    /// How many did not.
    pub(crate) failed: u64,
}

impl Count {
    /// One that passed.
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
    };
    /// One that failed.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    /// One step that is not made of tests.
    pub(crate) const fn step(success: bool) -> Self {
        if success { Self::PASSED } else { Self::FAILED }
    }

    /// Both together.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
        }
    }

    /// What a test runner counted, made consistent with how it ended: a runner that fails without a
    /// failed test (nothing compiled), or that ran nothing, has failed.
    pub(crate) fn of_runner(lines: &[String], success: bool) -> Self {
        let count = lines
            .iter()
            .filter_map(|line| Self::of_nextest(line).or_else(|| Self::of_libtest(line)))
            .fold(Self::default(), Self::plus);
        let consistent = success == (count.failed == 0) && count != Self::default();
        if consistent || count.failed > 0 {
            count
        } else {
            count.plus(Self::FAILED)
        }
    }

    /// Whether a line has a count.
    pub(crate) fn is_summary(line: &str) -> bool {
        Self::of_nextest(line).is_some() || Self::of_libtest(line).is_some()
    }

    /// `Summary [ 0.1s] 16 tests run: 14 passed (1 slow), 1 failed, 1 timed out, 0 skipped`.
    fn of_nextest(line: &str) -> Option<Self> {
        let line = line.trim_start();
        let (_, counts) = line.strip_prefix("Summary [")?.split_once("run: ")?;
        let number = |what: &str| {
            counts
                .split(", ")
                .filter(|part| part.split(" (").next().is_some_and(|p| p.ends_with(what)))
                .filter_map(|part| part.split(' ').next()?.parse::<u64>().ok())
                .sum::<u64>()
        };
        let failed = ["failed", "timed out", "exec failed"].map(number);
        Some(Self {
            passed: number("passed"),
            failed: failed[0] + failed[1],
        })
    }

    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn of_libtest(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut numbers = counts
            .split("; ")
            .filter_map(|part| part.split(' ').next()?.parse::<u64>().ok());
        Some(Self {
            passed: numbers.next()?,
            failed: numbers.next()?,
        })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lines: &[&str], success: bool) -> (u64, u64) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let count = Count::of_runner(&lines, success);
        (count.passed, count.failed)
    }

    #[test]
    fn runners_are_counted() {
        let nextest = "     Summary [   0.064s] 16 tests run: 16 passed, 0 skipped";
        assert_eq!(count(&[nextest], true), (16, 0));
        let slow = "     Summary [  64.0s] 9/16 tests run: 6 passed (2 slow), 2 failed, 1 timed out, 7 skipped";
        assert_eq!(count(&[slow], false), (6, 3));
        let leaky = "Summary [ 1s] 3 tests run: 3 passed (1 leaky), 0 skipped";
        assert_eq!(count(&[leaky], true), (3, 0));
        let libtest = [
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ];
        assert_eq!(count(&libtest, false), (4, 2));
    }

    #[test]
    fn a_runner_that_ran_nothing_or_broke_has_failed() {
        assert_eq!(count(&[], true), (0, 1));
        assert_eq!(count(&[], false), (0, 1));
        let passed = "Summary [ 1s] 3 tests run: 3 passed, 0 skipped";
        assert_eq!(count(&[passed], false), (3, 1));
    }

    #[test]
    fn the_closing_line_has_both_numbers() {
        assert_eq!(
            Count::PASSED.plus(Count::FAILED).to_string(),
            "1 passed, 1 failed"
        );
        assert_eq!(Count::step(true), Count::PASSED);
        assert_eq!(Count::step(false), Count::FAILED);
    }
}
