//! How long files may be.

use super::{Finding, Source};

/// Most code lines of a file: what is longer has two subjects.
const CODE_LINES_MAX: usize = 500;
/// Most lines of an inline test module; longer ones go into `tests.rs` beside the module.
const TEST_LINES_MAX: usize = 150;
/// Most code lines of `main.rs`: parse, build, run, map the error to an exit code.
const MAIN_LINES_MAX: usize = 60;

/// Sizes beyond the limits.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.is_test || source.is_generated() {
        return Vec::new();
    }
    let is_main = source.path.ends_with("/src/main.rs");
    let limit = if is_main {
        MAIN_LINES_MAX
    } else {
        CODE_LINES_MAX
    };
    let (code, tests) = (source.code().count(), source.test_lines());
    let mut findings = Vec::new();
    if code > limit {
        findings.push(Finding::new(
            &source.path,
            format!("has {code} code lines, {limit} are allowed: split it by subject"),
        ));
    }
    if tests > TEST_LINES_MAX {
        findings.push(Finding::new(
            &source.path,
            format!("has {tests} lines of inline tests: move them into tests.rs beside it"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, code: usize, tests: usize) -> Source {
        let tests = "    fn t() {}\n".repeat(tests);
        let code = "fn a() {}\n".repeat(code);
        let text = format!("{code}#[cfg(test)]\nmod tests {{\n{tests}}}\n");
        Source::new(path.to_owned(), text)
    }

    #[test]
    fn files_beyond_a_limit_are_found() {
        for (path, code, tests, expected) in [
            ("crates/a/src/b.rs", CODE_LINES_MAX, 10, 0),
            ("crates/a/src/b.rs", CODE_LINES_MAX + 1, 10, 1),
            ("crates/a/src/b.rs", 10, TEST_LINES_MAX + 1, 1),
            ("crates/a/src/main.rs", MAIN_LINES_MAX + 1, 10, 1),
            ("crates/a/src/b/tests.rs", CODE_LINES_MAX + 1, 10, 0),
            ("crates/a/src/b.md", CODE_LINES_MAX + 1, 10, 0),
        ] {
            let found = check(&source(path, code, tests));
            assert_eq!(found.len(), expected, "{path} {code} {tests}: {found:?}");
        }
    }
}
