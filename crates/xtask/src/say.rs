//! The only place that prints: results on stdout, everything else on stderr.

use std::fmt::Arguments;

/// Prints a line of a result.
#[expect(clippy::print_stdout, reason = "results belong on stdout")]
pub(crate) fn result(line: Arguments<'_>) {
    println!("{line}");
}

/// Prints a line for the person who watches.
#[expect(clippy::print_stderr, reason = "progress belongs on stderr")]
pub(crate) fn note(line: Arguments<'_>) {
    eprintln!("{line}");
}

/// Overwrites the current line with `line`, padded; without a terminal nobody sees it.
#[expect(clippy::print_stderr, reason = "progress belongs on stderr")]
pub(crate) fn progress(line: &str) {
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        eprint!("\r{line:<78}");
    }
}
