//! What the lab has of the traces, compared with what the workload sent, with what the sidecars say, and
//! with what is true.
//!
//! Which spans must be there follows from what the workload got an acknowledgement for and from the spans
//! themselves ([`testkit::spans`]); no sidecar is asked. What the sidecars count has to agree where none
//! was killed: what one counted between its last reading and its death is not known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use testkit::manifest::Expected;
use testkit::spans::SpanAccount;

use super::sent;
use super::sidecar::{Cost, Spans};
use crate::http;

const BOUND: Duration = Duration::from_mins(1);
const PAGE: usize = 50_000;
/// Examples of trouble that are kept.
const SAMPLES_MAX: usize = 10;
/// Spans that a sidecar may send again after it was killed: one request of them.
const BATCH_SPANS: u64 = 512;

/// The account of spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Traces {
    /// Spans of bodies that a sidecar acknowledged to the workload.
    pub(crate) acknowledged: u64,
    /// Those of them that are not stored and may be noise.
    pub(crate) left_out: u64,
    /// Those of them that are not stored and are no noise.
    pub(crate) lost: u64,
    /// Spans that are stored and that nobody sent.
    pub(crate) unknown: u64,
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
    /// Asks the lab for all of them and compares them with what was sent from the recording in `corpus`
    /// and with what the `sidecars` say.
    pub(crate) fn of(
        lab: SocketAddr,
        corpus: &Path,
        sidecars: &[(Cost, Spans)],
        expected: &Expected,
    ) -> Result<Self> {
        let sent = sent::read(corpus, expected.bodies())?;
        let mut judge = Judge::new(said(sidecars), expected, sent);
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

    /// What is lost, doubled or wrong, one sentence each. A sidecar that is killed may send its last
    /// request again, and may know more by then.
    pub(crate) fn broken(&self, kills: u32) -> Vec<String> {
        let again = u64::from(kills) * BATCH_SPANS;
        let counts = [
            (self.lost, "are lost"),
            (self.unknown, "are stored and were never sent"),
            (self.wrong_user, "name the wrong person"),
            (self.sent_twice.saturating_sub(again), "too many came twice"),
            (
                self.conflicts.saturating_sub(self.sent_twice),
                "said something else without coming twice",
            ),
        ];
        let broken = counts.iter().filter(|(count, _)| *count > 0);
        let mut said: Vec<String> = broken
            .map(|(count, what)| format!("spans: {count} {what}"))
            .collect();
        let agree = self.received == self.acknowledged
            && self.received == self.exported + self.not_exported
            && self.stored == self.exported;
        if !agree && kills == 0 {
            said.push(format!(
                "spans: acknowledged {}, received {}, exported {} and not {}, stored {}: they do not agree",
                self.acknowledged, self.received, self.exported, self.not_exported, self.stored
            ));
        }
        said
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
    sent: SpanAccount,
    result: Traces,
}

impl<'a> Judge<'a> {
    fn new(said: Traces, expected: &'a Expected, sent: SpanAccount) -> Self {
        let truths = expected
            .records()
            .iter()
            .filter_map(|record| record.truth.as_ref());
        let users =
            truths.filter_map(|truth| Some((truth.trace.as_deref()?, truth.user.as_deref()?)));
        Self {
            users: users.collect(),
            seen: HashSet::new(),
            sent,
            result: said,
        }
    }

    fn add(&mut self, span: &Span) {
        self.sent.store(&span.service, &span.trace, &span.id);
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
        let report = self.sent.report();
        let mut result = self.result;
        result.acknowledged = report.acknowledged;
        result.left_out = report.left_out;
        result.lost = report.lost;
        result.unknown = report.unknown;
        let samples = report.samples.into_iter().take(SAMPLES_MAX);
        result.samples.extend(samples);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::manifest::{Record, Truth};

    fn span(number: u64, user: &str, arrivals: u64) -> Span {
        Span {
            receipt: 1,
            trace: trace(number),
            id: format!("{number:016x}"),
            service: "rsync".to_owned(),
            status: if number == 1 { "error" } else { "unset" }.to_owned(),
            user: user.to_owned(),
            arrivals,
            conflicts: arrivals - 1,
        }
    }

    /// Three noisy spans and those with numbers up to `sent` were sent.
    fn sent(sent: u64) -> SpanAccount {
        let mut account = SpanAccount::default();
        let mut send = |trace: &str, number: u64, name: &str| {
            let body = format!(
                r#"[{{"traceId":"{trace}","id":"{number:x}","name":"{name}","localEndpoint":{{"serviceName":"rsync"}}}}]"#
            );
            account.send(body.as_bytes(), true).unwrap();
        };
        for number in 1..=sent {
            send(&trace(number), number, "installapp");
        }
        for number in 101..=103 {
            send("ffff", number, "get /metrics");
        }
        account
    }

    /// Spans with an odd number are of one trace, the others of another.
    fn trace(number: u64) -> String {
        format!("{:032x}", if number % 2 == 1 { 1 } else { 2 })
    }

    fn judged(exported: u64, spans: &[Span]) -> Traces {
        let mut expected = Expected::default();
        expected.push(Record {
            id: "a-0".to_owned(),
            truth: Some(Truth {
                trace: Some(trace(1)),
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
        let mut judge = Judge::new(said, &expected, sent(exported));
        for span in spans {
            judge.add(span);
        }
        judge.finish()
    }

    #[test]
    fn every_span_once_with_its_person_is_clean() {
        let traces = judged(2, &[span(1, "eve", 1), span(2, "", 1)]);
        assert!(traces.broken(0).is_empty(), "{traces:?}");
        assert_eq!((traces.stored, traces.requests, traces.errors), (2, 2, 1));
        assert_eq!((traces.with_user, traces.by_service["rsync"]), (1, 2));
        assert_eq!((traces.acknowledged, traces.left_out), (5, 3));
    }

    #[test]
    fn a_span_that_was_acknowledged_and_is_nowhere_is_lost_kills_or_not() {
        let traces = judged(2, &[span(1, "eve", 1)]);
        assert_eq!(traces.lost, 1);
        assert!(
            !traces.broken(0).is_empty() && !traces.broken(20).is_empty(),
            "{traces:?}"
        );
        // Also where the sidecars count it as one of those that they left out on purpose.
        let hidden = Traces {
            exported: 1,
            not_exported: 4,
            ..traces
        };
        assert!(!hidden.broken(0).is_empty() && !hidden.broken(20).is_empty());
    }

    #[test]
    fn a_span_that_nobody_sent_is_seen() {
        let traces = judged(1, &[span(1, "", 1), span(3, "", 1)]);
        assert_eq!(traces.unknown, 1);
        assert!(!traces.broken(1).is_empty() && !traces.samples.is_empty());
    }

    #[test]
    fn what_the_sidecars_count_has_to_agree() {
        let clean = judged(1, &[span(1, "", 1)]);
        assert!(clean.broken(0).is_empty());
        let changed: [fn(&mut Traces); 3] = [
            |traces| traces.received += 1,
            |traces| traces.not_exported -= 1,
            |traces| traces.exported -= 1,
        ];
        for change in changed {
            let mut traces = clean.clone();
            change(&mut traces);
            assert!(!traces.broken(0).is_empty(), "{traces:?}");
        }
    }

    #[test]
    fn only_kills_excuse_a_span_that_came_twice_and_only_one_request_each() {
        let twice = judged(1, &[span(1, "", 2)]);
        assert!(!twice.broken(0).is_empty() && twice.broken(1).is_empty());
        let often = judged(1, &[span(1, "", 2 * BATCH_SPANS)]);
        assert!(!often.broken(1).is_empty() && often.broken(2).is_empty());
    }

    #[test]
    fn another_person_than_the_true_one_is_wrong() {
        for (number, user) in [(1, "adam"), (2, "eve")] {
            let spans: Vec<Span> = (1..=number)
                .map(|each| span(each, if each == number { user } else { "" }, 1))
                .collect();
            let wrong = judged(number, &spans);
            assert_eq!(wrong.wrong_user, 1);
            assert!(!wrong.broken(1).is_empty() && !wrong.samples.is_empty());
        }
    }
}
