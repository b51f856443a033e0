//! Requests by route, and how long they took.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use correlate::routes::{Route, Routes};
use model::document::RequestSummary;
use model::ids::TraceId;
use model::time::UnixNanos;
use pipeline::tally::{Cell, Tally};
use prometheus::{IntCounter, Registry};
use telemetry::side_table::SideTable;

use super::family::{Family, Handle, Spec};
use super::labels::{GRPC_METHOD, StatusClass, UNMATCHED, method};

/// Upper bounds of the buckets: from what a lookup takes to what an instantiate may take.
const BOUNDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
const LABELS: [&str; 4] = ["route", "action", "method", "status_class"];
const TOTAL: Spec = Spec {
    key: "requests",
    name: "emco_requests_total",
    help: "Requests that the service answered, each counted once.",
    labels: &LABELS,
    bounds: &[],
};
const DURATION: Spec = Spec {
    key: "durations",
    name: "emco_request_duration_seconds",
    help: "How long requests took, where a span or the proxy says it.",
    labels: &LABELS,
    bounds: &BOUNDS,
};
/// Traces of scrapes may be dropped as noise: nobody would find them.
const SCRAPE: &str = "/metrics";

/// The route of what none serves.
pub(crate) const NO_ROUTE: Route = Route {
    template: UNMATCHED,
    action: UNMATCHED,
};

/// Counts requests.
#[derive(Debug)]
pub(crate) struct RequestCounts {
    routes: Routes,
    total: Family,
    duration: Family,
    totals: HashMap<Kind, Handle>,
    durations: HashMap<Kind, Handle>,
    without_document: IntCounter,
}

/// The labels of a request; the route by where its template lies, which is the same for all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    route: Route,
    method: &'static str,
    class: StatusClass,
}

impl RequestCounts {
    pub(crate) fn new(
        registry: &Registry,
        side: &SideTable,
        service: &str,
        routes: Routes,
        tally: &Tally,
    ) -> prometheus::Result<Self> {
        let family = |spec| Family::registered(registry, spec, service, side, tally);
        let without_document = IntCounter::new(
            "emco_observer_head_dropped_requests_total",
            "Requests that have no document, because the verdict log was full for long.",
        )?;
        registry.register(Box::new(without_document.clone()))?;
        Ok(Self {
            routes,
            without_document,
            total: family(&TOTAL)?,
            duration: family(&DURATION)?,
            totals: HashMap::new(),
            durations: HashMap::new(),
        })
    }

    /// So many requests found no room for their documents.
    pub(crate) fn without_document(&self, requests: u64) {
        self.without_document.inc_by(requests);
    }

    /// The labels of an HTTP request.
    pub(crate) fn http(&self, verb: &str, path: &str, status: u16) -> Kind {
        Kind {
            route: self.routes.http(verb, path).unwrap_or(NO_ROUTE),
            method: method(verb),
            class: StatusClass::http(status),
        }
    }

    /// The labels of a gRPC call.
    pub(crate) fn grpc(&self, service: &str, method: &str, failed: bool) -> Kind {
        Kind {
            route: self.routes.rpc(service, method).unwrap_or(NO_ROUTE),
            method: GRPC_METHOD,
            class: StatusClass::grpc(failed),
        }
    }

    /// Whether the service has this gRPC method.
    pub(crate) fn is_rpc(&self, service: &str, method: &str) -> bool {
        self.routes.rpc(service, method).is_some()
    }

    /// The labels of a request that has a document.
    pub(crate) fn kind(&self, request: &RequestSummary) -> Kind {
        match request.protocol {
            "grpc" => self.grpc(&request.method, &request.path, request.failed),
            _ => self.http(&request.method, &request.path, request.status),
        }
    }

    /// What a request with these labels moves.
    pub(crate) fn total(&mut self, tally: &mut Tally, kind: Kind, now: UnixNanos) -> Option<Cell> {
        handle(&mut self.totals, &self.total, tally, kind, now).map(Handle::cell)
    }

    /// Counts how long a request took, and names its trace where it can be found.
    pub(crate) fn took(
        &mut self,
        tally: &mut Tally,
        kind: Kind,
        nanos: u64,
        trace: Option<TraceId>,
        now: UnixNanos,
    ) {
        let trace = trace.filter(|_| kind.route.template != SCRAPE);
        if let Some(handle) = handle(&mut self.durations, &self.duration, tally, kind, now) {
            handle.observe(tally, nanos);
            if let Some(trace) = trace {
                handle.exemplify(trace.0, nanos, now);
            }
        }
        let total = handle(&mut self.totals, &self.total, tally, kind, now);
        if let (Some(handle), Some(trace)) = (total, trace) {
            handle.exemplify(trace.0, nanos, now);
        }
    }
}

fn handle<'a>(
    handles: &'a mut HashMap<Kind, Handle>,
    family: &Family,
    tally: &mut Tally,
    kind: Kind,
    now: UnixNanos,
) -> Option<&'a Handle> {
    match handles.entry(kind) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(unknown) => {
            let Route { template, action } = kind.route;
            let values = [template, action, kind.method, kind.class.name()];
            Some(unknown.insert(family.series(tally, &values, now)?))
        }
    }
}

impl Kind {
    fn parts(&self) -> (usize, usize, StatusClass) {
        let place = |text: &'static str| text.as_ptr() as usize;
        (place(self.route.template), place(self.method), self.class)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts() && self.route.action == other.route.action
    }
}

impl Eq for Kind {}

impl std::hash::Hash for Kind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}
