//! Is what the lines claim what really happened?
//!
//! | class of a request's line | means |
//! |---|---|
//! | `wrong` | it claims a trace or a person that differs from the truth, or a person that nobody proved (the request did not come through the gateway) |
//! | `exact` | it claims the true trace and is not wrong |
//! | `user_exact` | exact, and it claims the true person (or nobody, where there is none) |
//! | `inferred` | it claims no trace, but names a likely one as such |
//! | `ambiguous` | it claims no trace and says that there are several |
//! | `none` | it claims no trace: it says so, takes itself for background, or never arrived |
//!
//! `total = exact + inferred + ambiguous + none + wrong`, each line in one of them; `user_exact` is a
//! part of `exact`: lines of requests whose person nobody proved rightly name nobody and are not in it.
//! A line that no request caused is `marked` if it says so and `wrong` if it claims a trace or a person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{Kind, Record, Truth};
use crate::stored::StoredLine;

/// Most examples of wrong lines a score quotes.
pub const SAMPLES_MAX: usize = 20;

/// Numbers of open requests that are scored apart. What is printed while none is open (by workers that
/// outlive their requests) is in none of the others.
pub const BINS: [&str; 4] = ["0", "1-5", "6-10", "more"];

/// How right the lines of requests are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLines {
    /// Lines with an owner.
    pub total: u64,
    /// The true trace.
    pub exact: u64,
    /// The true trace and the true person.
    pub user_exact: u64,
    /// No claim, but a likely one that is labelled as such.
    pub inferred: u64,
    /// Several possible requests.
    pub ambiguous: u64,
    /// No claim, or taken for background work.
    pub none: u64,
    /// A false claim.
    pub wrong: u64,
}

/// How right the lines without a request are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundLines {
    /// Lines without an owner.
    pub total: u64,
    /// Known to be without.
    pub marked: u64,
    /// Given to a request or a person.
    pub wrong: u64,
}

/// Both, for some part of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Lines of requests.
    pub request_lines: RequestLines,
    /// Lines without a request.
    pub background_lines: BackgroundLines,
}

/// The score of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceScore {
    /// All of its lines.
    #[serde(flatten)]
    pub all: Group,
    /// By how many of its requests were open: each of [`BINS`], also where no line is.
    pub by_open_requests: BTreeMap<String, Group>,
}

/// The score of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// All lines.
    #[serde(flatten)]
    pub all: Group,
    /// The same by service.
    pub by_service: BTreeMap<String, ServiceScore>,
    /// The same by how many requests of the line's service were open, each of [`BINS`].
    pub by_open_requests: BTreeMap<String, Group>,
    /// The proxies' own access lines: their trace stands in them.
    pub access_lines: Group,
    /// Examples of wrong lines, at most [`SAMPLES_MAX`], one sentence each.
    pub samples: Vec<String>,
}

/// Compares line by line.
#[derive(Clone, Debug, Default)]
pub struct Scorer {
    score: Attribution,
}

/// What one line's claim is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Exact { user: bool },
    Inferred,
    Ambiguous,
    Background,
    None,
    Wrong,
}

impl Attribution {
    /// False claims of all kinds, access lines included.
    pub const fn wrong(&self) -> u64 {
        self.all.wrong() + self.access_lines.wrong()
    }
}

impl Group {
    /// False claims of both kinds.
    pub const fn wrong(&self) -> u64 {
        self.request_lines.wrong + self.background_lines.wrong
    }

    fn count(&mut self, is_background: bool, class: Class) {
        if is_background {
            self.background_lines.count(class);
        } else {
            self.request_lines.count(class);
        }
    }
}

impl RequestLines {
    fn count(&mut self, class: Class) {
        self.total += 1;
        match class {
            Class::Exact { user } => {
                self.exact += 1;
                self.user_exact += u64::from(user);
            }
            Class::Inferred => self.inferred += 1,
            Class::Ambiguous => self.ambiguous += 1,
            Class::Background | Class::None => self.none += 1,
            Class::Wrong => self.wrong += 1,
        }
    }
}

impl BackgroundLines {
    fn count(&mut self, class: Class) {
        self.total += 1;
        self.marked += u64::from(class == Class::Background);
        self.wrong += u64::from(class == Class::Wrong);
    }
}

impl Scorer {
    /// Counts one written record with the document that holds it, if any arrived. Records without
    /// known truth are not counted.
    pub fn add(&mut self, record: &Record, stored: Option<&StoredLine>) {
        let Some(truth) = &record.truth else { return };
        let class = stored.map_or(Class::None, |stored| classify(truth, stored));
        let is_background = truth.is_background();
        if class == Class::Wrong
            && let Some(stored) = stored
            && self.score.samples.len() < SAMPLES_MAX
        {
            self.score.samples.push(explain(record, truth, stored));
        }
        if record.kind != Kind::Line {
            self.score.access_lines.count(is_background, class);
            return;
        }
        let bin = bin(record.open_requests);
        let service = self
            .score
            .by_service
            .entry(record.service.clone())
            .or_default();
        for group in [
            &mut self.score.all,
            &mut service.all,
            service.by_open_requests.entry(bin.to_owned()).or_default(),
            self.score
                .by_open_requests
                .entry(bin.to_owned())
                .or_default(),
        ] {
            group.count(is_background, class);
        }
    }

    /// The score of what was added.
    #[must_use]
    pub fn finish(mut self) -> Attribution {
        let services = self.score.by_service.values_mut();
        let bins = services.map(|service| &mut service.by_open_requests);
        for bins in bins.chain([&mut self.score.by_open_requests]) {
            for bin in BINS {
                bins.entry(bin.to_owned()).or_default();
            }
        }
        self.score
    }
}

/// The bin of a number of open requests.
#[must_use]
pub const fn bin(open_requests: u32) -> &'static str {
    match open_requests {
        0 => "0",
        1..=5 => "1-5",
        6..=10 => "6-10",
        _ => "more",
    }
}

fn classify(truth: &Truth, stored: &StoredLine) -> Class {
    let trace_differs = stored.trace.is_some() && stored.trace != truth.trace;
    let user_differs = stored.user.is_some() && stored.user != truth.user;
    let user_unproven = stored.user.is_some() && !truth.proven;
    if trace_differs || user_differs || user_unproven {
        return Class::Wrong;
    }
    if stored.trace.is_some() {
        return Class::Exact {
            user: stored.user == truth.user,
        };
    }
    match (&stored.inferred_trace, stored.outcome.as_str()) {
        (Some(_), _) => Class::Inferred,
        (None, "ambiguous") => Class::Ambiguous,
        (None, "background") => Class::Background,
        (None, _) => Class::None,
    }
}

fn explain(record: &Record, truth: &Truth, stored: &StoredLine) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nobody".to_owned());
    format!(
        "{} of {} claims {} by {}, true is {} by {}{}: {:.80}",
        record.id,
        record.service,
        word(&stored.trace),
        word(&stored.user),
        word(&truth.trace),
        word(&truth.user),
        if truth.proven { "" } else { " (unproven)" },
        record.text,
    )
}

#[cfg(test)]
mod tests;
