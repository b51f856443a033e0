//! The rules that neither the compiler nor clippy enforces. Each rule is a module that turns sources
//! or metadata into findings and has a test in which it finds something.

mod generated;
mod licences;
mod operations;
mod pure;
mod sizes;
mod source;
mod uses;
mod words;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

use crate::{say, workspace};

pub(crate) use source::Source;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// File, with line where there is one, or package.
    pub(crate) place: String,
    /// What is wrong, and what to do.
    pub(crate) what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Checks everything and prints what it finds.
pub(crate) fn run() -> Result<ExitCode> {
    let findings = findings()?;
    for finding in &findings {
        say::note(format_args!("tidy: {finding}"));
    }
    say::note(format_args!("tidy: {} findings", findings.len()));
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything that breaks a rule.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let root = workspace::root();
    let sources = source::read_all(&root)?;
    let own = workspace::metadata(&["--no-deps"])?;
    let all = workspace::metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"])?;
    let allowed = licences::allowed(&workspace::read_text(&root.join("deny.toml"))?)?;
    let mut findings = uses::check(&own);
    findings.extend(uses::check_lints(&own)?);
    findings.extend(licences::check(&all, &allowed));
    for source in &sources {
        findings.extend(sizes::check(source));
        findings.extend(words::check(source));
        findings.extend(pure::check(source));
    }
    findings.extend(operations::check(&sources));
    findings.extend(generated::check(&root, generated::GENERATORS)?);
    Ok(findings)
}
