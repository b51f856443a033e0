//! What the lab has of the traces, compared with what the sidecars say and with what is true.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use testkit::manifest::Expected;

use super::sidecar::{Cost, Spans};
use crate::http;

const BOUND: Duration = Duration::from_mins(1);
const PAGE: usize = 50_000;
/// Examples of trouble that are kept.
const SAMPLES_MAX: usize = 10;

/// The account of spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Traces {
    /// Spans that the sidecars received.
    pub(crate) received: u64,
    /// Spans that the lab answered for, as the sidecars count; those of the last moments before a kill
    /// are not among them.
    pub(crate) exported: u64,
    /// Spans that noise rules left out, or that could not be exported.
    pub(crate) not_exported: u64,
    /// Spans that the lab has, each once.
    pub(crate) stored: u64,
    /// Requests that they belong to, by their trace ids.
    pub(crate) requests: u64,
    /// Arrivals of spans that it had already.
    pub(crate) sent_twice: u64,
    /// Arrivals that said something else than the first time.
    pub(crate) conflicts: u64,
    /// Spans that failed.
    pub(crate) errors: u64,
    /// Spans that name a person.
    pub(crate) with_user: u64,
    /// Spans that name another person than the one who made the request.
    pub(crate) wrong_user: u64,
    /// Spans by service.
    pub(crate) by_service: BTreeMap<String, u64>,
    /// Examples of trouble.
    #[serde(skip)]
    pub(crate) samples: Vec<String>,
}

/// One span, as the lab says it.
#[derive(Debug, Deserialize)]
struct Span {
    receipt: i64,
    trace: String,
    id: String,
    service: String,
    status: String,
    #[serde(default)]
    user: String,
    arrivals: u64,
    conflicts: u64,
}

impl Traces {
    /// Asks the lab for all of them and compares them with what the `sidecars` say.
    pub(crate) fn of(
        lab: SocketAddr,
        sidecars: &[(Cost, Spans)],
        expected: &Expected,
    ) -> Result<Self> {
        let mut judge = Judge::new(said(sidecars), expected);
        let mut after = 0;
        loop {
            let path = format!("/api/v1/spans?after={after}&limit={PAGE}");
            let page = http::get(lab, &path, BOUND)?;
            let mut count = 0;
            for line in page
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let span: Span =
                    serde_json::from_slice(line).context("understand a span of the lab")?;
                after = span.receipt;
                count += 1;
                judge.add(&span);
            }
            if count < PAGE {
                return Ok(judge.finish());
            }
        }
    }

    /// Whether nothing is lost, doubled or wrong. A sidecar that is killed may send its last batch
    /// again, and may know more by then.
    pub(crate) fn are_clean(&self, kills: u32) -> bool {
        let complete = self.stored + self.sent_twice >= self.exported;
        let is_accounted = self.received == self.exported + self.not_exported;
        let once = self.sent_twice == 0 && self.conflicts == 0 && self.stored == self.exported;
        let once = once && is_accounted;
        complete && (once || kills > 0) && self.wrong_user == 0
    }
}

/// What all sidecars say together.
fn said(sidecars: &[(Cost, Spans)]) -> Traces {
    let sum = |of: fn(&Spans) -> u64| sidecars.iter().map(|(_, spans)| of(spans)).sum();
    Traces {
        received: sum(|spans| spans.received),
        exported: sum(|spans| spans.exported),
        not_exported: sum(|spans| spans.not_exported),
        ..Traces::default()
    }
}

struct Judge<'a> {
    users: HashMap<&'a str, &'a str>,
    seen: HashSet<String>,
    result: Traces,
}

impl<'a> Judge<'a> {
    fn new(said: Traces, expected: &'a Expected) -> Self {
        let truths = expected
            .records()
            .iter()
            .filter_map(|record| record.truth.as_ref());
        let users =
            truths.filter_map(|truth| Some((truth.trace.as_deref()?, truth.user.as_deref()?)));
        Self {
            users: users.collect(),
            seen: HashSet::new(),
            result: said,
        }
    }

    fn add(&mut self, span: &Span) {
        let result = &mut self.result;
        result.stored += 1;
        result.sent_twice += span.arrivals.saturating_sub(1);
        result.conflicts += span.conflicts;
        result.errors += u64::from(span.status == "error");
        *result.by_service.entry(span.service.clone()).or_default() += 1;
        if self.seen.insert(span.trace.clone()) {
            result.requests += 1;
        }
        if span.user.is_empty() {
            return;
        }
        result.with_user += 1;
        let is_true = self.users.get(span.trace.as_str()) == Some(&span.user.as_str());
        if !is_true {
            result.wrong_user += 1;
            if result.samples.len() < SAMPLES_MAX {
                let Span {
                    trace,
                    id,
                    service,
                    user,
                    ..
                } = span;
                let sample = format!("span {id} of trace {trace} ({service}) names {user}");
                result.samples.push(sample);
            }
        }
    }

    fn finish(self) -> Traces {
        self.result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::manifest::{Record, Truth};

    fn span(number: u64, trace: &str, user: &str, arrivals: u64) -> Span {
        Span {
            receipt: 1,
            trace: trace.to_owned(),
            id: format!("{number:016x}"),
            service: "rsync".to_owned(),
            status: if number == 1 { "error" } else { "unset" }.to_owned(),
            user: user.to_owned(),
            arrivals,
            conflicts: arrivals - 1,
        }
    }

    fn judged(exported: u64, spans: &[Span]) -> Traces {
        let mut expected = Expected::default();
        expected.push(Record {
            id: "a-0".to_owned(),
            truth: Some(Truth {
                trace: Some("t1".to_owned()),
                user: Some("eve".to_owned()),
                ..Truth::default()
            }),
            ..Record::default()
        });
        let said = Traces {
            received: exported + 3,
            exported,
            not_exported: 3,
            ..Traces::default()
        };
        let mut judge = Judge::new(said, &expected);
        for span in spans {
            judge.add(span);
        }
        judge.finish()
    }

    #[test]
    fn every_span_once_with_its_person_is_clean() {
        let traces = judged(2, &[span(1, "t1", "eve", 1), span(2, "t2", "", 1)]);
        assert!(traces.are_clean(0));
        assert_eq!((traces.stored, traces.requests, traces.errors), (2, 2, 1));
        assert_eq!((traces.with_user, traces.by_service["rsync"]), (1, 2));
    }

    #[test]
    fn each_fault_is_seen() {
        assert!(!judged(2, &[span(1, "t1", "eve", 1)]).are_clean(1), "lost");
        let mut unknown = judged(1, &[span(1, "t1", "", 1)]);
        unknown.received += 1;
        assert!(!unknown.are_clean(0), "received and never heard of again");
        let twice = judged(1, &[span(1, "t1", "", 2)]);
        assert!(
            !twice.are_clean(0) && twice.are_clean(1),
            "only a kill excuses it"
        );
        for (trace, user) in [("t1", "adam"), ("unknown", "eve")] {
            let wrong = judged(1, &[span(1, trace, user, 1)]);
            assert_eq!(wrong.wrong_user, 1);
            assert!(!wrong.are_clean(1) && !wrong.samples.is_empty());
        }
    }
}
