//! Was every span stored that a sidecar took, unless it is noise?
//!
//! Fed with the bodies that EMCO's exporter sent and with what the receiver of traces has. A span is known
//! by its service, trace and id.
//!
//! | a span … | is |
//! |---|---|
//! | that was acknowledged and is stored | stored |
//! | that was acknowledged, is not stored and may be noise | `left_out` |
//! | that was acknowledged, is not stored and is no noise | `lost` |
//! | that is stored and that nobody sent | `unknown` |
//!
//! What was sent and not acknowledged may be stored or not: the sidecar may have died in between.
//!
//! What may be noise is judged from the spans alone. A span that failed never is.
//!
//! | may be noise | because |
//! |---|---|
//! | all of a trace with a span `get-metrics` | it is one pass of a metrics poller |
//! | a service's calls of one parent that was never sent, begun after its last pass had ended | the workload ended within a pass |
//! | `get /metrics` | it is a scrape |
//! | a read from etcd 0.9 s to 2 s after some earlier call of the same parent had ended | a worker asks whether it is to stop |

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Deserialize;

/// Most examples of trouble a report quotes.
pub const SAMPLES_MAX: usize = 20;

const POLLER: &str = "get-metrics";
const SCRAPE: &str = "get /metrics";
const CLIENT: &str = "CLIENT";
const ETCD: &str = "etcdserverpb.";
const ETCD_READ: &str = "etcdserverpb.kv/range";
/// Pause of a worker that asks again, in microseconds.
const POLL_PAUSE: Range<u64> = 900_000..2_000_000;

/// What became of the spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Spans whose body was acknowledged.
    pub acknowledged: u64,
    /// Those of them that are nowhere and may be noise.
    pub left_out: u64,
    /// Those of them that are nowhere and are no noise.
    pub lost: u64,
    /// Spans that are stored and that nobody sent.
    pub unknown: u64,
    /// Examples, at most [`SAMPLES_MAX`], one sentence each.
    pub samples: Vec<String>,
}

/// The account of all spans.
#[derive(Debug, Default)]
pub struct SpanAccount {
    sent: HashMap<Key, Sent>,
    /// When each parent's calls of etcd ended, in microseconds since the epoch.
    calls: HashMap<(String, String), Vec<u64>>,
    /// Traces of metrics pollers.
    polls: HashSet<String>,
    /// When the last pass of each service's poller ended.
    passes: HashMap<String, u64>,
    /// What each service did for each trace.
    shapes: HashMap<(String, String), Shape>,
    unknown: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: String,
    trace: String,
    span: String,
}

#[derive(Debug)]
struct Sent {
    is_acknowledged: bool,
    is_stored: bool,
    noise: Noise,
}

/// What one service did for one trace.
#[derive(Debug)]
struct Shape {
    start: u64,
    parent: String,
    /// Nothing but calls of `parent`.
    is_calls: bool,
}

/// What about a span may make it noise.
#[derive(Debug)]
enum Noise {
    /// Nothing but its trace.
    Trace,
    /// It asks for metrics.
    Scrape,
    /// It reads from etcd: its parent, and when it began.
    Read(String, u64),
    /// It failed.
    Never,
}

/// A span as EMCO's exporter writes it, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Zipkin {
    trace_id: String,
    id: String,
    #[serde(default)]
    parent_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    timestamp: u64,
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    local_endpoint: Endpoint,
    #[serde(default)]
    tags: HashMap<String, String>,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    service_name: String,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    #[serde(default)]
    value: String,
}

impl SpanAccount {
    /// Takes a body that was sent.
    ///
    /// # Errors
    /// If it is no list of spans.
    pub fn send(&mut self, body: &[u8], is_acknowledged: bool) -> Result<(), serde_json::Error> {
        for span in serde_json::from_slice::<Vec<Zipkin>>(body)? {
            let key = Key::new(&span.local_endpoint.service_name, &span.trace_id, &span.id);
            let end = span.timestamp.saturating_add(span.duration);
            if span.name == POLLER {
                self.polls.insert(key.trace.clone());
                let last = self.passes.entry(key.service.clone()).or_default();
                *last = end.max(*last);
            }
            let shape = (key.service.clone(), key.trace.clone());
            let shape = self.shapes.entry(shape).or_insert_with(|| Shape {
                start: span.timestamp,
                parent: span.parent_id.clone(),
                is_calls: true,
            });
            shape.start = shape.start.min(span.timestamp);
            shape.is_calls &= span.kind == CLIENT && span.parent_id == shape.parent;
            if span.is_call() {
                let parent = (key.trace.clone(), span.parent_id.clone());
                self.calls.entry(parent).or_default().push(end);
            }
            let noise = span.noise();
            let sent = self.sent.entry(key).or_insert(Sent {
                is_acknowledged,
                is_stored: false,
                noise,
            });
            sent.is_acknowledged |= is_acknowledged;
        }
        Ok(())
    }

    /// Takes a span that is stored.
    pub fn store(&mut self, service: &str, trace: &str, span: &str) {
        let key = Key::new(service, trace, span);
        match self.sent.get_mut(&key) {
            Some(sent) => sent.is_stored = true,
            None => self.unknown.push(key),
        }
    }

    /// The account, when everything was fed.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report {
            unknown: self.unknown.len() as u64,
            ..Report::default()
        };
        for key in self.unknown.iter().take(SAMPLES_MAX) {
            report.samples.push(format!("{key} was never sent"));
        }
        for (key, sent) in &self.sent {
            report.acknowledged += u64::from(sent.is_acknowledged);
            if sent.is_stored || !sent.is_acknowledged {
                continue;
            }
            if self.may_be_noise(key, &sent.noise) {
                report.left_out += 1;
                continue;
            }
            report.lost += 1;
            if report.samples.len() < SAMPLES_MAX {
                report.samples.push(format!("{key} is lost"));
            }
        }
        report
    }

    fn may_be_noise(&self, key: &Key, noise: &Noise) -> bool {
        match noise {
            Noise::Never => false,
            Noise::Scrape => true,
            Noise::Trace => self.polls.contains(&key.trace) || self.is_last_pass(key),
            Noise::Read(parent, start) => {
                let calls = self.calls.get(&(key.trace.clone(), parent.clone()));
                let ends = calls.into_iter().flatten();
                let mut pauses = ends.filter_map(|end| start.checked_sub(*end));
                self.polls.contains(&key.trace)
                    || self.is_last_pass(key)
                    || pauses.any(|pause| POLL_PAUSE.contains(&pause))
            }
        }
    }
}

impl SpanAccount {
    /// Whether the span is of a pass that had not ended when the workload did.
    fn is_last_pass(&self, key: &Key) -> bool {
        let shape = self.shapes.get(&(key.service.clone(), key.trace.clone()));
        let Some(shape) = shape.filter(|shape| shape.is_calls && !shape.parent.is_empty()) else {
            return false;
        };
        let parent = Key::new(&key.service, &key.trace, &shape.parent);
        let last = self.passes.get(&key.service);
        last.is_some_and(|end| *end <= shape.start) && !self.sent.contains_key(&parent)
    }
}

impl Key {
    /// Ids may be written without leading zeros.
    fn new(service: &str, trace: &str, span: &str) -> Self {
        Self {
            service: service.to_owned(),
            trace: format!("{:0>32}", trace.to_ascii_lowercase()),
            span: format!("{:0>16}", span.to_ascii_lowercase()),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            service,
            trace,
            span,
        } = self;
        write!(f, "span {span} of trace {trace} ({service})")
    }
}

impl Zipkin {
    fn is_call(&self) -> bool {
        self.kind == CLIENT && self.name.starts_with(ETCD)
    }

    fn failed(&self) -> bool {
        let tag = |key| self.tags.get(key).map(String::as_str);
        let code = tag("otel.status_code").unwrap_or_default();
        tag("error").is_some_and(|error| error != "false")
            || code.eq_ignore_ascii_case("error")
            || self
                .annotations
                .iter()
                .any(|annotation| annotation.value.starts_with("exception"))
    }

    fn noise(&self) -> Noise {
        if self.failed() {
            Noise::Never
        } else if self.is_call() && self.name == ETCD_READ && !self.parent_id.is_empty() {
            Noise::Read(self.parent_id.clone(), self.timestamp)
        } else if self.kind.is_empty() && self.name == SCRAPE {
            Noise::Scrape
        } else {
            Noise::Trace
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `id`, name, kind, start in milliseconds, failed.
    type Span = (u32, &'static str, &'static str, u64, bool);

    const READ: &str = "etcdserverpb.kv/range";
    const PUT: &str = "etcdserverpb.kv/put";

    fn body(trace: &str, spans: &[Span]) -> Vec<u8> {
        let span = |(id, name, kind, start, failed): &Span| {
            let tags = if *failed { r#""error":"no""# } else { "" };
            let kind = if kind.is_empty() {
                String::new()
            } else {
                format!(r#""kind":"{kind}","#)
            };
            format!(
                r#"{{"traceId":"{trace}","id":"{id:x}","parentId":"9",{kind}"name":"{name}","timestamp":{},"duration":1000,"localEndpoint":{{"serviceName":"rsync"}},"tags":{{{tags}}}}}"#,
                start * 1000
            )
        };
        let spans: Vec<String> = spans.iter().map(span).collect();
        format!("[{}]", spans.join(",")).into_bytes()
    }

    /// What is reported if of these spans only those with the ids in `stored` came.
    fn report(spans: &[Span], stored: &[u32]) -> Report {
        let mut account = SpanAccount::default();
        account.send(&body("A1", spans), true).unwrap();
        for id in stored {
            let trace = format!("{:032x}", 0xa1);
            account.store("rsync", &trace, &format!("{id:016x}"));
        }
        account.report()
    }

    #[test]
    fn what_is_no_noise_has_to_be_there() {
        let spans = [
            (1, "installapp/installapp", "SERVER", 0, false),
            (2, PUT, "CLIENT", 1, false),
            (3, READ, "CLIENT", 2, false),
        ];
        let all = report(&spans, &[1, 2, 3]);
        assert_eq!((all.acknowledged, all.lost, all.left_out), (3, 0, 0));
        for (place, stored) in [[2, 3], [1, 3], [1, 2]].iter().enumerate() {
            let report = report(&spans, stored);
            assert_eq!((report.lost, report.left_out), (1, 0), "without {place}");
            assert!(report.samples[0].ends_with("is lost"), "{report:?}");
        }
    }

    #[test]
    fn a_read_a_second_after_another_call_may_be_left_out() {
        let read = |start, failed| {
            let spans = [
                (1, PUT, "CLIENT", 0, false),
                (2, PUT, "CLIENT", 500, false),
                (3, READ, "CLIENT", start, failed),
            ];
            let report = report(&spans, &[1, 2]);
            (report.left_out, report.lost)
        };
        assert_eq!(read(1100, false), (1, 0));
        assert_eq!(read(1600, false), (1, 0), "after the second call");
        assert_eq!(read(800, false), (0, 1), "too soon");
        assert_eq!(read(2600, false), (0, 1), "too late");
        assert_eq!(read(1100, true), (0, 1), "it failed");
    }

    #[test]
    fn a_pollers_trace_and_a_scrape_may_be_left_out() {
        let pass = [
            (1, "get-metrics", "", 0, false),
            (2, "mongo.find", "CLIENT", 1, false),
        ];
        assert_eq!(
            (report(&pass, &[]).left_out, report(&pass, &[]).lost),
            (2, 0)
        );
        let failed = [
            (1, "get-metrics", "", 0, false),
            (2, "find", "CLIENT", 1, true),
        ];
        assert_eq!(report(&failed, &[]).lost, 1);
        assert_eq!(
            report(&[(1, "get /metrics", "", 0, false)], &[]).left_out,
            1
        );
        assert_eq!(
            report(&[(1, "get /v2/projects", "", 0, false)], &[]).lost,
            1
        );
    }

    #[test]
    fn the_pass_that_goes_on_at_the_end_may_be_left_out() {
        let lost = |last: &[Span]| {
            let mut account = SpanAccount::default();
            account
                .send(&body("a1", &[(1, "get-metrics", "", 1000, false)]), true)
                .unwrap();
            account.send(&body("a2", last), true).unwrap();
            let report = account.report();
            assert_eq!(report.left_out + report.lost, 1 + last.len() as u64);
            report.lost
        };
        let find = "resources.find";
        let pass = [
            (2, find, "CLIENT", 2000, false),
            (3, find, "CLIENT", 2010, false),
        ];
        assert_eq!(lost(&pass), 0);
        let with_reads = [pass[0], (3, READ, "CLIENT", 2010, false)];
        assert_eq!(lost(&with_reads), 0);
        let earlier = [(2, find, "CLIENT", 900, false)];
        assert_eq!(lost(&earlier), 1, "before the last pass had ended");
        let other = [pass[0], (3, "a handler", "", 2010, false)];
        assert_eq!(lost(&other), 2, "not only calls");
        let with_parent = [pass[0], (9, find, "CLIENT", 2010, false)];
        assert_eq!(lost(&with_parent), 2, "its parent is known");
    }

    #[test]
    fn nobody_owes_what_was_not_acknowledged_and_nothing_comes_from_nowhere() {
        let mut account = SpanAccount::default();
        let spans = [(1, "a", "", 0, false), (2, "b", "", 0, false)];
        account.send(&body("a1", &spans), false).unwrap();
        account.store("rsync", "a1", "1");
        assert_eq!(account.report(), Report::default());
        account.store("rsync", "a1", "7");
        account.store("clm", "a1", "1");
        assert_eq!(account.report().unknown, 2);
        assert!(account.send(b"<html>", true).is_err());
    }

    #[test]
    fn what_was_refused_first_and_taken_later_is_owed() {
        let mut account = SpanAccount::default();
        let spans = [(1, "a", "", 0, false)];
        for is_acknowledged in [false, true, false] {
            account.send(&body("a1", &spans), is_acknowledged).unwrap();
        }
        assert_eq!(account.report().lost, 1);
    }
}
