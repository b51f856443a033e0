//! Which spans are noise: what EMCO does all day whether anybody asks for something or not.
//!
//! | rule | spans | share kept |
//! |---|---|---|
//! | `metrics_poll` | the trace of a metrics poller's pass | 0.01 |
//! | `scrape` | `GET /metrics` | 0.01 |
//! | `etcd_poll` | a read from etcd about a second after the last call of the same parent: a worker asks whether it is to stop | 0.01 |
//! | `etcd_read` | every other read from etcd | 1 |
//!
//! A span that failed is never noise. Which traces are kept follows from their ids alone, so that all
//! sidecars keep the same ones and a trace is kept as a whole.

use model::evidence::{SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use serde::Deserialize;

use crate::lookup::Lookup;

/// A worker asks once a second; the call itself takes some time, and a busy machine more.
const POLL_PAUSE: std::ops::Range<u64> = 900_000_000..2_000_000_000;
/// Parents whose last call is remembered; two that share a place are both no pollers.
const PARENTS: usize = 1 << 10;

/// Why a span is noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One pass of a metrics poller.
    MetricsPoll,
    /// Prometheus asked for metrics.
    Scrape,
    /// A worker asked etcd whether it is to stop.
    EtcdPoll,
    /// Any other read from etcd.
    EtcdRead,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::MetricsPoll,
        Self::Scrape,
        Self::EtcdPoll,
        Self::EtcdRead,
    ];

    /// The value of the label `rule`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetricsPoll => "metrics_poll",
            Self::Scrape => "scrape",
            Self::EtcdPoll => "etcd_poll",
            Self::EtcdRead => "etcd_read",
        }
    }
}

/// How much of each kind of noise is kept.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseSettings {
    /// Passes of EMCO's metrics pollers.
    pub metrics_polls: Rate,
    /// `GET /metrics`.
    pub scrapes: Rate,
    /// Reads from etcd by which a worker asks once a second whether it is to stop.
    pub etcd_polls: Rate,
    /// Every other read from etcd.
    pub etcd_reads: Rate,
}

impl Default for NoiseSettings {
    fn default() -> Self {
        Self {
            metrics_polls: Rate(0.01),
            scrapes: Rate(0.01),
            etcd_polls: Rate(0.01),
            etcd_reads: Rate(1.0),
        }
    }
}

/// A share from 0 (nothing) to 1 (everything).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Rate(f64);

impl Rate {
    /// Everything.
    pub const ALL: Self = Self(1.0);
    /// Nothing.
    pub const NONE: Self = Self(0.0);

    /// Whether the trace belongs to the share.
    fn keeps(self, trace: TraceId) -> bool {
        if self.0 <= 0.0 || self.0 >= 1.0 {
            return self.0 > 0.0;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of 2^64 traces need not be exact"
        )]
        let place = mixed(trace) as f64 / u64::MAX as f64;
        place < self.0
    }
}

impl TryFrom<f64> for Rate {
    type Error = &'static str;

    fn try_from(rate: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err("a rate is a number from 0 (nothing) to 1 (everything)")
        }
    }
}

/// The rules with their memory: when each parent's last call ended.
#[derive(Debug)]
pub struct Rules {
    settings: NoiseSettings,
    /// Parents of the last calls, and their ends: two tables of which neither is so large that it keeps
    /// memory of larger things around it.
    parents: Vec<u64>,
    ends: Vec<u64>,
}

impl Rules {
    /// Rules with these shares.
    pub fn new(settings: NoiseSettings) -> Self {
        Self {
            settings,
            parents: vec![0; PARENTS],
            ends: vec![0; PARENTS],
        }
    }

    /// By which rule the span is noise, if by any, and whether it is kept all the same. Spans come
    /// in the order in which they were sent.
    pub fn judge(&mut self, span: &SpanFacts<'_>, lookup: &dyn Lookup) -> Option<(Rule, bool)> {
        match self.early(span) {
            Some((rule, false)) => Some((rule, false)),
            early => self.late(span, lookup).or(early),
        }
    }

    /// What can be told when a span arrives, in the order of arrival.
    #[inline]
    pub fn early(&mut self, span: &SpanFacts<'_>) -> Option<(Rule, bool)> {
        if span.kind != SpanKind::Client {
            return None;
        }
        let call = span.name.strip_prefix("etcdserverpb.")?;
        let pause = self.pause(span);
        if span.failed || call != "kv/range" {
            return None;
        }
        let polls = pause.is_some_and(|pause| POLL_PAUSE.contains(&pause));
        let (rule, rate) = if polls {
            (Rule::EtcdPoll, self.settings.etcd_polls)
        } else {
            (Rule::EtcdRead, self.settings.etcd_reads)
        };
        Some((rule, rate.keeps(span.trace)))
    }

    /// What can be told only when its trace and its request are known.
    pub fn late(&self, span: &SpanFacts<'_>, lookup: &dyn Lookup) -> Option<(Rule, bool)> {
        if span.failed {
            return None;
        }
        if lookup.is_metrics_poll(span.trace) {
            let rate = self.settings.metrics_polls;
            return Some((Rule::MetricsPoll, rate.keeps(span.trace)));
        }
        if span.kind != SpanKind::Unset || span.name != "get /metrics" {
            return None;
        }
        let request = lookup.request(span.trace, span.span);
        let served = request.is_none_or(|request| request.status < 400);
        served.then(|| (Rule::Scrape, self.settings.scrapes.keeps(span.trace)))
    }

    /// How long after the last call of the same parent this one began.
    fn pause(&mut self, span: &SpanFacts<'_>) -> Option<u64> {
        let parent = mixed_parent(span.trace, span.parent?);
        let place = usize::try_from(parent % PARENTS as u64).unwrap_or(0);
        let (known, end) = (self.parents.get_mut(place)?, self.ends.get_mut(place)?);
        let last = (*known == parent).then_some(*end);
        *known = parent;
        *end = span.end().0.max(last.unwrap_or(0));
        span.start.0.checked_sub(last?)
    }
}

/// Callers choose trace ids, and not always well: spreads them evenly.
fn mixed(trace: TraceId) -> u64 {
    let (halves, _) = trace.0.as_chunks::<8>();
    let fold = |bits: u64, half: &[u8; 8]| bits.rotate_left(32) ^ u64::from_be_bytes(*half);
    spread(halves.iter().fold(0, fold))
}

fn mixed_parent(trace: TraceId, parent: SpanId) -> u64 {
    spread(mixed(trace) ^ u64::from_be_bytes(parent.0))
}

/// A bijection in which each bit of the result depends on every bit of `bits` (the finaliser of
/// `SplitMix64`).
const fn spread(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
