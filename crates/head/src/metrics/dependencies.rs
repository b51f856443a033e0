//! Calls of the document store, etcd and other services, from the spans that the service sends.
//!
//! Spans are in the spool before they are counted here, and what was counted is written with the
//! verdict log together with the place in the spool up to which it counts. After a crash the spans
//! behind that place are counted again, and no others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use in_spans::{SpanScratch, SpanSink};
use model::evidence::{SpanFacts, SpanKind};
use model::time::UnixNanos;
use pipeline::tally::{Cell, Tally};
use prometheus::Registry;
use spool::{Position, Spool};
use telemetry::side_table::SideTable;

use super::family::{Family, Handle, Spec};

/// Upper bounds of the buckets: a call within the cluster takes a millisecond or less.
const BOUNDS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0,
];
const LABELS: [&str; 3] = ["kind", "operation", "outcome"];
const TOTAL: Spec = Spec {
    key: "calls",
    name: "emco_dependency_calls_total",
    help: "Calls that the service made, from its client spans.",
    labels: &LABELS,
    bounds: &[],
};
const DURATION: Spec = Spec {
    key: "call_durations",
    name: "emco_dependency_duration_seconds",
    help: "How long calls took that the service made.",
    labels: &LABELS,
    bounds: &BOUNDS,
};
/// The place in the spool, in the tally: segment and offset.
const PLACE: &str = "calls_counted_until";
/// Numbers wait for others to be written with, but no longer than this.
const WRITE_WITHIN: u64 = 5_000_000_000;
/// Most span names whose operation is remembered.
const NAMES_MAX: usize = 256;

const OTHER: &str = "other";
const OUTCOMES: [&str; 2] = ["ok", "error"];
const MONGO: &str = "mongo";
const ETCD: &str = "etcd";
const GRPC: &str = "grpc";

/// What is called, by kind; span names are lower-cased and begin with a collection or a package.
const OPERATIONS: [(&str, &[&str]); 3] = [
    (
        MONGO,
        &[
            "aggregate",
            "count",
            "createIndexes",
            "delete",
            "distinct",
            "find",
            "findAndModify",
            "getMore",
            "insert",
            "listCollections",
            "update",
        ],
    ),
    (
        ETCD,
        &[
            "Authenticate",
            "Compact",
            "DeleteRange",
            "LeaseGrant",
            "LeaseKeepAlive",
            "LeaseRevoke",
            "Put",
            "Range",
            "Txn",
            "Watch",
        ],
    ),
    (
        GRPC,
        &[
            "ClmControllerEventChannel/Publish",
            "PlacementController/FilterClusters",
            "StatusNotify/StatusDeregister",
            "StatusNotify/StatusRegister",
            "contextupdate/PostEvent",
            "contextupdate/TerminateAppContext",
            "contextupdate/UpdateAppContext",
            "events.events/EventUpdate",
            "installapp/InstallApp",
            "installapp/ReadAppContext",
            "installapp/UninstallApp",
            "readyNotify/Alert",
            "readyNotify/Unsubscribe",
            "updateapp/RollbackApp",
            "updateapp/UpdateApp",
        ],
    ),
];

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Operation {
    kind: &'static str,
    name: &'static str,
}

/// Durations in nanoseconds, at the side where spans come in.
#[derive(Clone, Debug, Default)]
struct Durations {
    /// One for each bucket, the last for what is beyond.
    counts: [u64; BOUNDS.len() + 1],
    sum: u64,
}

/// The calls of one operation that have not been handed over.
#[derive(Clone, Debug)]
struct Calls {
    operation: Operation,
    /// Those that succeeded, and those that failed.
    outcomes: [Durations; 2],
    is_changed: bool,
}

/// Counts spans as they come; the other end is `Dependencies`.
#[derive(Debug)]
pub struct DependencyCalls {
    /// Operations by the names of spans.
    names: HashMap<Box<str>, usize>,
    calls: Vec<Calls>,
    shared: Arc<Mutex<Shared>>,
    spool: Spool,
}

/// What is on its way to the tally.
#[derive(Debug, Default)]
struct Shared {
    calls: Vec<Calls>,
    counted_until: Option<Position>,
    /// Since when something waits.
    since: Option<UnixNanos>,
}

/// What `Dependencies` takes from [`DependencyCalls`].
#[derive(Clone, Debug)]
pub struct CallFeed {
    shared: Arc<Mutex<Shared>>,
    spool: Spool,
}

/// Counts calls in the tally.
#[derive(Debug)]
pub(crate) struct Dependencies {
    shared: Arc<Mutex<Shared>>,
    total: Family,
    duration: Family,
    handles: HashMap<(Operation, usize), (Handle, Handle)>,
    place: Option<Cell>,
}

impl DependencyCalls {
    /// Counts spans that are in `spool` already when they are shown.
    pub fn new(spool: Spool) -> Self {
        Self {
            names: HashMap::new(),
            calls: Vec::new(),
            shared: Arc::default(),
            spool,
        }
    }

    /// Where what is counted comes out.
    pub fn feed(&self) -> CallFeed {
        CallFeed {
            shared: Arc::clone(&self.shared),
            spool: self.spool.clone(),
        }
    }

    /// Counts a span.
    pub fn span(&mut self, span: &SpanFacts<'_>) {
        if span.kind != SpanKind::Client {
            return;
        }
        let place = match self.names.get(span.name) {
            Some(place) => *place,
            None => self.meet(span.name),
        };
        if let Some(calls) = self.calls.get_mut(place) {
            calls.is_changed = true;
            let [good, failed] = &mut calls.outcomes;
            let durations = if span.failed { failed } else { good };
            durations.add(span.duration);
        }
    }

    /// All spans that are in the spool by now have been counted.
    pub fn end_of_piece(&mut self, now: UnixNanos) {
        let until = self.spool.end();
        self.hand_over(until, now);
    }

    fn hand_over(&mut self, until: Position, now: UnixNanos) {
        if !self.calls.iter().any(|calls| calls.is_changed) {
            return;
        }
        let mut shared = lock(&self.shared);
        shared.since.get_or_insert(now);
        shared.counted_until = Some(until);
        let changed = self.calls.iter_mut().filter(|calls| calls.is_changed);
        for calls in changed {
            shared.add(calls);
            calls.outcomes = Default::default();
            calls.is_changed = false;
        }
    }

    fn meet(&mut self, name: &str) -> usize {
        let operation = Operation::of(name);
        let mut known = self.calls.iter();
        let place = known.position(|calls| calls.operation == operation);
        let place = place.unwrap_or_else(|| {
            self.calls.push(Calls {
                operation,
                outcomes: Default::default(),
                is_changed: false,
            });
            self.calls.len() - 1
        });
        if self.names.len() < NAMES_MAX {
            self.names.insert(name.into(), place);
        }
        place
    }
}

impl Dependencies {
    /// Takes what comes out of `feed`. Spans in front of `until` that `tally` does not count yet are
    /// counted first.
    pub(crate) fn new(
        registry: &Registry,
        side: &SideTable,
        service: &str,
        tally: &mut Tally,
        (feed, until): (CallFeed, Position),
        now: UnixNanos,
    ) -> prometheus::Result<Self> {
        let family = |spec, tally: &Tally| Family::registered(registry, spec, service, side, tally);
        let place = tally.series(PLACE, 2, now).map(|series| series.first);
        let dependencies = Self {
            shared: Arc::clone(&feed.shared),
            total: family(&TOTAL, tally)?,
            duration: family(&DURATION, tally)?,
            handles: HashMap::new(),
            place,
        };
        if let Some(place) = place {
            let from = Position {
                segment: tally.value(place),
                offset: tally.value(place.plus(1)),
            };
            dependencies.recount(&feed.spool, from..until, now);
        }
        Ok(dependencies)
    }

    /// Counts spans that a process before this one may have received and not counted.
    fn recount(&self, spool: &Spool, places: std::ops::Range<Position>, now: UnixNanos) {
        let mut again = DependencyCalls {
            shared: Arc::clone(&self.shared),
            ..DependencyCalls::new(spool.clone())
        };
        let mut scratch = SpanScratch::default();
        let mut reader = spool.reader(places.start);
        while let Ok(Some(batch)) = reader.next() {
            if batch.position < places.start {
                continue;
            }
            if batch.position >= places.end {
                break;
            }
            if batch.kind != in_spans::KIND_SPANS {
                continue;
            }
            let mut sink = Recounted(&mut again);
            let read = in_spans::replay_record(batch.kind, batch.payload, &mut sink, &mut scratch);
            if let Err(error) = read {
                tracing::warn!(%error, "calls in kept spans cannot be counted");
            }
        }
        // what was received since then is counted already
        let until = lock(&self.shared).counted_until.unwrap_or(places.end);
        again.hand_over(until.max(places.end), now);
    }

    /// Moves what was counted into the tally.
    pub(crate) fn drain(&mut self, tally: &mut Tally, now: UnixNanos) {
        let mut shared = lock(&self.shared);
        if shared.since.take().is_none() {
            return;
        }
        let calls = std::mem::take(&mut shared.calls);
        let until = shared.counted_until;
        drop(shared);
        for calls in calls {
            for (outcome, durations) in calls.outcomes.iter().enumerate() {
                self.move_in(tally, calls.operation, outcome, durations, now);
            }
        }
        if let (Some(place), Some(until)) = (self.place, until) {
            tally.set(place, until.segment);
            tally.set(place.plus(1), until.offset);
        }
    }

    /// When something has to be written at the latest.
    pub(crate) fn deadline(&self) -> Option<UnixNanos> {
        let since = lock(&self.shared).since?;
        Some(since.plus(WRITE_WITHIN))
    }

    fn move_in(
        &mut self,
        tally: &mut Tally,
        operation: Operation,
        outcome: usize,
        durations: &Durations,
        now: UnixNanos,
    ) {
        let calls: u64 = durations.counts.iter().sum();
        if calls == 0 {
            return;
        }
        let key = (operation, outcome);
        if !self.handles.contains_key(&key) {
            let outcome = OUTCOMES.get(outcome).copied().unwrap_or(OTHER);
            let values = [operation.kind, operation.name, outcome];
            let total = self.total.series(tally, &values, now);
            let duration = self.duration.series(tally, &values, now);
            if let (Some(total), Some(duration)) = (total, duration) {
                self.handles.insert(key, (total, duration));
            }
        }
        if let Some((total, duration)) = self.handles.get(&key) {
            tally.add(total.cell(), calls);
            duration.observe_all(tally, &durations.counts, durations.sum);
        }
    }
}

/// Spans that are shown once more, for their calls only.
struct Recounted<'a>(&'a mut DependencyCalls);

impl SpanSink for Recounted<'_> {
    fn span(&mut self, span: &SpanFacts<'_>) {
        self.0.span(span);
    }
}

impl Shared {
    fn add(&mut self, new: &Calls) {
        let mut known = self.calls.iter_mut();
        let Some(known) = known.find(|known| known.operation == new.operation) else {
            self.calls.push(new.clone());
            return;
        };
        for (known, new) in known.outcomes.iter_mut().zip(&new.outcomes) {
            known.sum = known.sum.saturating_add(new.sum);
            for (known, new) in known.counts.iter_mut().zip(&new.counts) {
                *known += new;
            }
        }
    }
}

impl Durations {
    #[expect(clippy::cast_precision_loss, reason = "bounds are no finer")]
    fn add(&mut self, nanos: u64) {
        let seconds = nanos as f64 / 1e9;
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(nanos);
    }
}

impl Operation {
    /// By the span's name: `etcdserverpb.kv/range`, `installapp/installapp`, `resources.find`.
    fn of(span: &str) -> Self {
        let (kind, name) = match span.split_once('/') {
            Some((package, method)) if package.starts_with("etcdserverpb.") => (ETCD, method),
            Some(_) => (GRPC, span),
            None => (MONGO, span.rsplit('.').next().unwrap_or(span)),
        };
        let of_kind = OPERATIONS.iter().find(|(known, _)| *known == kind);
        let mut names = of_kind.map_or(&[][..], |(_, names)| names).iter();
        let known = names.find(|known| known.eq_ignore_ascii_case(name));
        let name = known.copied().unwrap_or(OTHER);
        Self { kind, name }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
