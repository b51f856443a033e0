//! What the callers did: whose user is proven, and how many requests were open when.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::ids::TraceId;
use serde::Deserialize;
use twox_hash::XxHash3_64;

use super::access::AccessRecord;
use super::corpus::Corpus;

/// The access log of the ingress gateway.
pub(super) const GATEWAY_LOG: &str = "access/istio-ingressgateway.jsonl.gz";
/// Access records know milliseconds: a request may have been open this much longer.
const CLOCK_ERROR_NS: u64 = 1_000_000;

/// Who asked for what, and when.
#[derive(Debug, Default)]
pub(super) struct Provenance {
    /// Requests that came through the gateway.
    proven: HashSet<RequestKey>,
    /// Traces that the gateway began or let in, with its user.
    people: HashMap<TraceId, Arc<str>>,
    /// By service.
    open: HashMap<String, Intervals>,
}

/// A request id without the digit into which Envoy packs its reason to trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RequestKey(u64);

/// Requests of one service, by their ends.
#[derive(Debug, Default)]
struct Intervals {
    starts: Vec<u64>,
    ends: Vec<u64>,
}

/// What a caller did.
#[derive(Debug, Deserialize)]
struct Call {
    start_ns: u64,
    end_ns: u64,
    via: String,
    request_id: Option<String>,
}

impl Provenance {
    /// Reads the access logs and what the callers say.
    pub(super) fn read(corpus: &Corpus) -> anyhow::Result<Self> {
        let mut provenance = Self::default();
        let mut line = Vec::new();
        let mut logged: HashMap<&str, HashSet<RequestKey>> = HashMap::new();
        for service in corpus.services() {
            let intervals = provenance.open.entry(service.clone()).or_default();
            let keys = logged.entry(service).or_default();
            let name = format!("access/{service}.jsonl.gz");
            let Some(mut records) = corpus.lines(&name)? else {
                continue;
            };
            while let Some(record) = records.next_json::<AccessRecord>(&mut line)? {
                let (start, end) = record.interval_ns();
                intervals.add(start, end);
                keys.extend(record.request_id.as_deref().map(RequestKey::of));
            }
        }
        provenance.read_gateway(corpus)?;
        if let Some(mut calls) = corpus.lines("client.jsonl.gz")? {
            while let Some(call) = calls.next_json::<Call>(&mut line)? {
                let key = call.request_id.as_deref().map(RequestKey::of);
                if call.via == "gateway" {
                    provenance.proven.extend(key);
                    continue;
                }
                let Some(intervals) = provenance.open.get_mut(&call.via) else {
                    continue;
                };
                let keys = logged.get(call.via.as_str());
                // Without an access record only its Common Log Format line shows the request.
                if !key.is_some_and(|key| keys.is_some_and(|keys| keys.contains(&key))) {
                    intervals.add(call.start_ns, call.end_ns);
                }
            }
        }
        for intervals in provenance.open.values_mut() {
            intervals.starts.sort_unstable();
            intervals.ends.sort_unstable();
        }
        Ok(provenance)
    }

    fn read_gateway(&mut self, corpus: &Corpus) -> anyhow::Result<()> {
        let Some(mut records) = corpus.lines(GATEWAY_LOG)? else {
            return Ok(());
        };
        let mut line = Vec::new();
        let mut names: HashSet<Arc<str>> = HashSet::new();
        while let Some(record) = records.next_json::<AccessRecord>(&mut line)? {
            self.proven
                .extend(record.request_id.as_deref().map(RequestKey::of));
            if let (Some(trace), Some(user)) = (record.trace(), &record.x_user_id) {
                let name = match names.get(user.as_str()) {
                    Some(name) => Arc::clone(name),
                    None => Arc::from(user.as_str()),
                };
                names.insert(Arc::clone(&name));
                self.people.insert(trace, name);
            }
        }
        Ok(())
    }

    /// Whether the request came through the gateway.
    pub(super) fn is_proven(&self, request_id: &str) -> bool {
        self.proven.contains(&RequestKey::of(request_id))
    }

    /// Who the gateway says began a trace.
    pub(super) fn person(&self, trace: TraceId) -> Option<&str> {
        self.people.get(&trace).map(AsRef::as_ref)
    }

    /// How many requests of `service` were open at the recorded time `at_ns`.
    pub(super) fn open_at(&self, service: &str, at_ns: u64) -> u32 {
        self.open.get(service).map_or(0, |open| open.at(at_ns))
    }
}

impl RequestKey {
    fn of(id: &str) -> Self {
        let kept: Vec<u8> = id
            .bytes()
            .enumerate()
            .filter(|(place, _)| *place != 14)
            .map(|(_, byte)| byte)
            .collect();
        Self(XxHash3_64::oneshot(&kept))
    }
}

impl Intervals {
    fn add(&mut self, start: u64, end: u64) {
        self.starts.push(start);
        self.ends.push(end.saturating_add(CLOCK_ERROR_NS));
    }

    fn at(&self, at_ns: u64) -> u32 {
        let begun = self.starts.partition_point(|start| *start <= at_ns);
        let ended = self.ends.partition_point(|end| *end < at_ns);
        u32::try_from(begun.saturating_sub(ended)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digit_that_envoy_changes_does_not_count() {
        let key = |id| RequestKey::of(id);
        assert_eq!(
            key("52bb24cb-e2ff-4885-a1e8-561c4ce59508"),
            key("52bb24cb-e2ff-9885-a1e8-561c4ce59508")
        );
        assert_ne!(
            key("52bb24cb-e2ff-4885-a1e8-561c4ce59508"),
            key("52bb24cb-e2ff-4885-a1e8-561c4ce59509")
        );
    }

    #[test]
    fn a_request_is_open_from_its_start_to_its_end() {
        let mut open = Intervals::default();
        open.add(10_000_000, 20_000_000);
        open.add(15_000_000, 15_000_000);
        open.starts.sort_unstable();
        open.ends.sort_unstable();
        let at = [9, 10, 15, 17, 21, 22].map(|ms| open.at(ms * 1_000_000));
        assert_eq!(at, [0, 1, 2, 1, 1, 0]);
    }
}
