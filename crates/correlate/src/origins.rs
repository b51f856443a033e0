//! The table of origins and how evidence fills it.
//!
//! One request may be told of by several sources in any order: the start and end records of the
//! proxy, its own server span, its client spans. They are the same request when the span ids fit
//! (the server span's parent is the proxy's span), or when only one request of the trace is left
//! that could be meant.

use std::collections::HashMap;

use model::evidence::{AccessFacts, Phase, SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use model::line::NameKey;
use model::time::UnixNanos;

use crate::callmap::{CallMap, Roots};
use crate::calls::CallKind;
use crate::origin::{Kind, NO_ENTRY, Origin, RequestFacts};
use crate::poller::Poller;
use crate::proxied::Proxied;
use crate::request::{Request, http_request, rpc_of_path, rpc_request};
use crate::settings::Settings;

/// All origins, oldest first.
#[derive(Debug)]
pub(crate) struct Origins {
    rows: Vec<Origin>,
    by_trace: HashMap<TraceId, Vec<u32>>,
    poller: Poller,
    /// First moment of the first request that the process served; it has started up by then.
    pub(crate) first_request: u64,
    pub(crate) proxied: Proxied,
    /// Whether calls are kept: there are workers.
    pub(crate) keep_calls: bool,
    /// Traces that began and whose person is to be asked for.
    pub(crate) unasked: Vec<TraceId>,
    /// First and last moment of rows that were thrown away before their time because there were too
    /// many, until that is noted as a gap in the evidence.
    pub(crate) forgotten: Option<(u64, u64)>,
}

/// An origin without an end that has given no sign for so long is not waited for any more.
const ABANDONED: u64 = 3_600_000_000_000;

/// The root span of one pass of the metrics poller.
const POLLER_SPAN: &str = "get-metrics";

/// Root spans that EMCO opens itself, and the goroutine roots that work inside them (lower case).
const ROOT_SPANS: [(&str, &[&str]); 8] = [
    (POLLER_SPAN, &["metrics.start.func1"]),
    (
        "appcontextroutine",
        &[
            "context.handleappcontext",
            "context.(*context).appcontextroutine",
            "context.(*context).run",
        ],
    ),
    ("resourcesready", &["depend.resourcesready"]),
    ("schedulestatus", &["k8s.schedulestatus"]),
    ("deletestatuscr", &["context.scheduledeletestatustracker"]),
    ("processalert", &["module.processalert"]),
    (
        "sendstatusnotifications",
        &["statusnotifyserver.sendstatusnotifications"],
    ),
    ("readrefschema", &["db.(*mongostore).readrefschema"]),
];

impl Origins {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            rows: Vec::new(),
            by_trace: HashMap::new(),
            poller: Poller::new(settings.poll_interval),
            first_request: u64::MAX,
            proxied: Proxied::default(),
            keep_calls: false,
            unasked: Vec::new(),
            forgotten: None,
        }
    }

    pub(crate) fn rows(&self) -> &[Origin] {
        &self.rows
    }

    /// The status of the request in that row; 0 while it is not known.
    pub(crate) fn status(&self, row: usize) -> u16 {
        let request = self
            .rows
            .get(row)
            .and_then(|origin| origin.request.as_ref());
        request.map_or(0, |request| request.status)
    }

    pub(crate) fn row_mut(&mut self, index: usize) -> Option<&mut Origin> {
        self.rows.get_mut(index)
    }

    pub(crate) fn of_trace(&self, trace: TraceId) -> impl Iterator<Item = (usize, &Origin)> {
        let rows = self.by_trace.get(&trace).map_or(&[][..], Vec::as_slice);
        rows.iter()
            .filter_map(|row| Some((*row as usize, self.rows.get(*row as usize)?)))
    }

    /// Takes a span of this service.
    pub(crate) fn span(
        &mut self,
        span: &SpanFacts<'_>,
        map: Option<&CallMap>,
        settings: &Settings,
    ) -> Option<usize> {
        match span.kind {
            SpanKind::Client => {
                self.client_span(span, map, settings);
                None
            }
            SpanKind::Server => Some(self.server_span(span, rpc_request(span, map), settings)),
            SpanKind::Unset => {
                if let Some(request) = http_request(span, map) {
                    Some(self.server_span(span, request, settings))
                } else {
                    self.root_span(span, map, settings);
                    None
                }
            }
        }
    }

    fn client_span(&mut self, span: &SpanFacts<'_>, map: Option<&CallMap>, settings: &Settings) {
        // a call made without the request's context: it belongs to nobody and silences nobody
        let Some(parent) = span.parent else { return };
        let start = span.start.0;
        let row = self
            .row_of_span(span.trace, parent, start)
            .unwrap_or_else(|| {
                let mut origin =
                    Origin::new(Kind::Unknown, start.saturating_sub(settings.unseen_start));
                origin.trace = Some(span.trace);
                origin.span = Some(parent);
                self.add(origin, settings)
            });
        if let Some(origin) = self.rows.get_mut(row) {
            origin.busy.add(start, span.end().0);
            origin.call(start, span.end().0, span.failed);
            if self.keep_calls {
                origin.calls.add(span.end().0, CallKind::of(span.name));
            }
            if start >= origin.first_call {
                return;
            }
            origin.first_call = start;
            if origin.kind == Kind::Unknown {
                origin.start = origin
                    .start
                    .min(start.saturating_sub(settings.unseen_start));
                self.expect_pass(row, map);
            }
        }
    }

    /// The only unknown trace that begins when the poller's next pass has to begin is that pass.
    fn expect_pass(&mut self, row: usize, map: Option<&CallMap>) {
        let Some(first_call) = self.rows.get(row).map(|origin| origin.first_call) else {
            return;
        };
        if !self.poller.expects(first_call) {
            return;
        }
        let poller = &self.poller;
        let rival = |(other, origin): (usize, &Origin)| {
            other != row
                && !origin.complete
                && matches!(origin.kind, Kind::Unknown | Kind::Root(_))
                && poller.expects(origin.first_call)
        };
        let rivals: Vec<usize> = self
            .rows
            .iter()
            .enumerate()
            .filter(|row| rival(*row))
            .map(|(row, _)| row)
            .collect();
        let kind = if rivals.is_empty() {
            Kind::Root(root_set(POLLER_SPAN, map))
        } else {
            Kind::Unknown
        };
        for row in rivals.into_iter().chain([row]) {
            if let Some(origin) = self.rows.get_mut(row) {
                origin.kind = kind;
            }
        }
    }

    /// The origin whose own span is `span`; an origin of the trace that has no span yet and is the
    /// only one it can be takes it.
    fn row_of_span(&mut self, trace: TraceId, span: SpanId, at: u64) -> Option<usize> {
        if let Some((row, _)) = self
            .of_trace(trace)
            .find(|(_, origin)| origin.span == Some(span))
        {
            return Some(row);
        }
        let row = {
            let mut free = self
                .of_trace(trace)
                .filter(|(_, origin)| origin.span.is_none() && origin.open_at(at));
            match (free.next(), free.next()) {
                (Some((row, _)), None) => row,
                _ => return None,
            }
        };
        self.rows.get_mut(row)?.span = Some(span);
        Some(row)
    }

    fn server_span(
        &mut self,
        span: &SpanFacts<'_>,
        request: Request,
        settings: &Settings,
    ) -> usize {
        let own = |origin: &Origin| origin.span == Some(span.span);
        let proxied = |origin: &Origin| {
            !origin.complete && span.parent.is_some() && origin.proxy_span == span.parent
        };
        let row = self
            .of_trace(span.trace)
            .find(|(_, origin)| own(origin))
            .map(|(row, _)| row);
        let front = self
            .of_trace(span.trace)
            .find(|(_, origin)| proxied(origin) && !own(origin))
            .map(|(row, _)| row);
        let row = match (row, front) {
            (Some(row), Some(front)) => self.merge(row, front),
            (Some(row), None) => row,
            (None, Some(front)) => front,
            (None, None) => {
                let mut origin = Origin::new(Kind::Unknown, span.start.0);
                origin.trace = Some(span.trace);
                self.add(origin, settings)
            }
        };
        self.first_request = self.first_request.min(span.start.0);
        if let Some(origin) = self.rows.get_mut(row) {
            origin.span = Some(span.span);
            origin.parent = span.parent;
            origin.start = span.start.0.saturating_sub(settings.span_error);
            origin.end = span.end().0.saturating_add(settings.span_error);
            origin.complete = true;
            if std::mem::take(&mut origin.untraced) {
                self.proxied.traced_late();
            }
            request.give_to(origin, span.start, span.end());
            if let Some(facts) = &mut origin.request {
                facts.failed |= span.failed;
            }
        }
        row
    }

    /// Moves what the access record `front` knows into `row`; the front row stays as an empty shell. If
    /// `row` has the record of another request of the trace, whose calls went to `front`, the two
    /// change records.
    fn merge(&mut self, row: usize, front: usize) -> usize {
        let Some(origin) = self.rows.get_mut(row) else {
            return row;
        };
        let record = Record::take(origin);
        let Some(shell) = self.rows.get_mut(front) else {
            return row;
        };
        let donor = Record::take(shell);
        if record.proxy_span.is_some() {
            record.give_to(shell);
        } else {
            *shell = Origin::new(
                Kind::Request {
                    entry: NO_ENTRY,
                    routed: false,
                },
                0,
            );
            shell.end = 0;
            shell.complete = true;
        }
        if let Some(origin) = self.rows.get_mut(row) {
            donor.give_to(origin);
        }
        row
    }

    fn root_span(&mut self, span: &SpanFacts<'_>, map: Option<&CallMap>, settings: &Settings) {
        let row = if let Some(row) = self.row_of_span(span.trace, span.span, span.start.0) {
            row
        } else {
            let mut origin = Origin::new(Kind::Unknown, span.start.0);
            origin.trace = Some(span.trace);
            self.add(origin, settings)
        };
        let roots = root_set(span.name, map);
        if let Some(origin) = self.rows.get_mut(row) {
            origin.span = Some(span.span);
            origin.kind = Kind::Root(roots);
            origin.start = span.start.0.saturating_sub(settings.span_error);
            origin.end = span.end().0.saturating_add(settings.span_error);
            origin.complete = true;
            // a worker has goroutines of its own; a poller is one loop
            origin.multi_threaded = span.name != POLLER_SPAN;
        }
        if span.name == POLLER_SPAN {
            self.poller.pass(span.start.0, span.end().0);
        }
    }

    /// Takes a record of the proxy in front of this service.
    pub(crate) fn access(
        &mut self,
        access: &AccessFacts<'_>,
        map: Option<&CallMap>,
        settings: &Settings,
    ) -> usize {
        let start = access.start.0;
        let end = start
            .saturating_add(access.duration)
            .saturating_add(2 * settings.access_error);
        let grpc = access
            .path
            .split('?')
            .next()
            .and_then(|path| rpc_of_path(path, map));
        let request = match grpc {
            Some((entry, name)) => Request::rpc(entry, name),
            None => Request::http(access.method, access.path, true, map),
        };
        let row = self.row_of_access(access, end).unwrap_or_else(|| {
            let mut origin = Origin::new(Kind::Unknown, start);
            origin.trace = access.trace;
            self.add(origin, settings)
        });
        if let Some(origin) = self.rows.get_mut(row) {
            origin.proxy_span = origin.proxy_span.or(access.span);
            if !origin.complete {
                origin.start = start;
                if access.phase == Phase::End {
                    origin.end = end;
                }
            }
            let until = UnixNanos(start.saturating_add(access.duration));
            request.give_to(origin, access.start, until);
            if let (Some(facts), Phase::End) = (&mut origin.request, access.phase) {
                facts.status = access.status;
                facts.failed |= facts.grpc && access.call_failed();
            }
        }
        row
    }

    /// The request that the record is about, if another source told of it already.
    fn row_of_access(&self, access: &AccessFacts<'_>, until: u64) -> Option<usize> {
        let trace = access.trace?;
        let same_proxy = |origin: &Origin| {
            access.span.is_some()
                && (origin.proxy_span == access.span || origin.parent == access.span)
        };
        if let Some((row, _)) = self.of_trace(trace).find(|(_, origin)| same_proxy(origin)) {
            return Some(row);
        }
        let could_be = |origin: &Origin| {
            origin.proxy_span.is_none()
                && !matches!(origin.kind, Kind::Root(_))
                && origin.surely_since().saturating_add(1_000_000) >= access.start.0
                && (access.phase == Phase::Start || origin.start <= until)
                && origin
                    .request
                    .as_ref()
                    .is_none_or(|request| request.same_path(access))
        };
        let mut rows = self.of_trace(trace).filter(|(_, origin)| could_be(origin));
        match (rows.next(), rows.next()) {
            (Some((row, _)), None) => Some(row),
            _ => None,
        }
    }

    /// Everything is known about the request in that row: did it come through the proxy?
    pub(crate) fn count_proxied(&mut self, row: usize, mapped: bool) {
        if let Some(origin) = self.rows.get_mut(row) {
            self.proxied.count(origin, mapped);
        }
    }

    pub(crate) fn add(&mut self, origin: Origin, settings: &Settings) -> usize {
        if self.rows.len() >= settings.origins_max {
            self.forget_oldest();
        }
        let row = self.rows.len();
        if let Some(trace) = origin.trace {
            let rows = self.by_trace.entry(trace).or_default();
            rows.push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        self.rows.push(origin);
        row
    }

    /// A new process began at `time`: nothing that began before it runs on.
    pub(crate) fn begin_at(&mut self, time: u64) {
        self.first_request = u64::MAX;
        for origin in &mut self.rows {
            if origin.start < time {
                origin.end = origin.end.min(time);
            } else if matches!(origin.kind, Kind::Request { .. }) && origin.span.is_some() {
                self.first_request = self.first_request.min(origin.start);
            }
        }
    }

    /// Forgets what ended before `time`; answers how many rows went.
    pub(crate) fn forget_before(&mut self, time: u64) -> usize {
        let before = self.rows.len();
        let abandoned = time.saturating_sub(ABANDONED);
        self.rows
            .retain(|origin| origin.end >= time && origin.last_sign() >= abandoned);
        self.reindex();
        before - self.rows.len()
    }

    /// Gives back the room that is not needed, and moves the tables out of theirs.
    pub(crate) fn rest(&mut self) {
        for origin in &mut self.rows {
            origin.shrink();
        }
        self.rows.reserve_exact(self.rows.len());
        self.by_trace.reserve(self.by_trace.capacity());
    }

    /// How many rows there is room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.rows.capacity()
    }

    /// Moves the tables to where they have just enough room.
    pub(crate) fn settle(&mut self) {
        self.rows.shrink_to_fit();
        self.by_trace.shrink_to_fit();
    }

    /// Makes room: the half that ended first goes, before those that go on, the oldest first. Lines of
    /// theirs may still wait, or be printed later.
    fn forget_oldest(&mut self) {
        self.rows.sort_by_key(|origin| origin.end);
        let half = self.rows.len().div_ceil(2);
        for origin in self.rows.drain(..half) {
            let to = origin.end.min(origin.last_sign().saturating_add(ABANDONED));
            let (from, until) = self.forgotten.unwrap_or((origin.start, to));
            self.forgotten = Some((from.min(origin.start), until.max(to)));
        }
        self.rows.sort_by_key(|origin| origin.start);
        self.reindex();
    }

    fn reindex(&mut self) {
        self.by_trace.clear();
        for (row, origin) in self.rows.iter().enumerate() {
            if let Some(trace) = origin.trace {
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                self.by_trace.entry(trace).or_default().push(row);
            }
        }
    }
}

/// What the proxy's records say of a request.
struct Record {
    proxy_span: Option<SpanId>,
    kind: Kind,
    names: Vec<(NameKey, Box<str>)>,
    request: Option<Box<RequestFacts>>,
    start: u64,
    end: u64,
}

impl Record {
    fn take(origin: &mut Origin) -> Self {
        Self {
            proxy_span: origin.proxy_span.take(),
            kind: origin.kind,
            names: std::mem::take(&mut origin.names),
            request: origin.request.take(),
            start: origin.start,
            end: origin.end,
        }
    }

    fn give_to(self, origin: &mut Origin) {
        origin.proxy_span = self.proxy_span;
        origin.kind = self.kind;
        origin.names = self.names;
        origin.request = self.request;
        origin.start = self.start;
        origin.end = self.end;
    }
}

/// The goroutine roots of the metrics poller.
pub(crate) fn poll_roots(map: &CallMap) -> Roots {
    root_set(POLLER_SPAN, Some(map))
}

/// The goroutine roots that work inside a root span of that name; all of them if it is unknown.
fn root_set(name: &str, map: Option<&CallMap>) -> Roots {
    let Some((_, functions)) = ROOT_SPANS.iter().find(|(span, _)| *span == name) else {
        return Roots::MAX;
    };
    let Some(map) = map else { return Roots::MAX };
    map.roots(Roots::MAX)
        .filter(|(_, root)| {
            let function = root.name.to_ascii_lowercase();
            functions.iter().any(|prefix| function.starts_with(prefix))
        })
        .fold(0, |set, (id, _)| set | 1 << id)
}
