use super::*;
use correlate::Ledger;
use model::document::RequestSummary;
use model::verdict::Verdict;
use pipeline::head::Container;
use pipeline::{Limits, LineEntry, Metrics};
use prometheus::Registry;
use telemetry::side_table::SideTable;

const T0: UnixNanos = UnixNanos(1_795_406_976_000_000_000);

fn ended(trace: u8, span: u8) -> RequestEnded {
    RequestEnded {
        trace: TraceId([trace; 16]),
        span: SpanId([span; 8]),
        summary: RequestSummary {
            protocol: "grpc",
            start: T0,
            ..RequestSummary::default()
        },
        verdict: Verdict::default(),
        traced: true,
        front: None,
        parent: None,
    }
}

/// With the record of a proxy whose span is this.
fn proxied(request: RequestEnded, front: u8) -> RequestEnded {
    RequestEnded {
        front: Some(SpanId([front; 8])),
        ..request
    }
}

/// With a span of this parent.
fn child(request: RequestEnded, parent: u8) -> RequestEnded {
    RequestEnded {
        parent: Some(SpanId([parent; 8])),
        ..request
    }
}

fn opened(dir: &std::path::Path, registry: &Registry) -> (VerdictLog, Requests) {
    opened_with(dir, registry, Limits::default())
}

fn opened_with(
    dir: &std::path::Path,
    registry: &Registry,
    limits: Limits,
) -> (VerdictLog, Requests) {
    let queue = spool::QueueMetrics::default();
    let (log, _) = VerdictLog::open(dir, limits, &[], queue).unwrap();
    let routes = Ledger::new(correlate::Settings::of("rsync")).routes();
    let side = SideTable::default();
    let counts = RequestCounts::new(registry, &side, "rsync", routes, log.tally()).unwrap();
    let known = Requests::recall(&log, "rsync", counts, T0);
    (log, known)
}

/// Tells of requests, writes them, and answers how many there are in the log.
fn told(dir: &std::path::Path, requests: &[RequestEnded]) -> usize {
    let registry = Registry::new();
    let (mut log, mut known) = opened(dir, &registry);
    let sequence = log.sequence();
    let mut order = OrderQueue::new(8, Metrics::new(&registry).unwrap().head(sequence));
    for request in requests {
        known.ended(request.clone(), T0);
    }
    known.drain(&mut order, &mut log, T0);
    log.flush().unwrap();
    let mut documents = 0;
    log.recent(UnixNanos(0), |_| documents += 1).unwrap();
    documents
}

#[test]
fn a_call_without_a_trace_counts_by_how_its_proxy_says_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let (mut log, mut known) = opened(dir.path(), &registry);
    let head = Metrics::new(&registry).unwrap().head(log.sequence());
    let mut order = OrderQueue::new(8, head);
    for (grpc_status, cut_short) in [(Some(0), false), (Some(14), false), (None, true)] {
        let record = AccessFacts {
            side: ProxySide::Inbound,
            phase: Phase::End,
            trace: None,
            span: None,
            user: None,
            method: "POST",
            path: "/installapp/InstallApp",
            status: 200,
            grpc_status,
            cut_short,
            request_id: None,
            start: T0,
            duration: 1,
        };
        let line = order.offer(Container(0), LineEntry::default()).unwrap();
        known.untraced(log.tally_mut(), &record, (line, true), T0);
        let moved: Vec<_> = known.moved().collect();
        assert_eq!(moved[0].0, line);
        log.tally_mut().add(moved[0].1.unwrap(), 1);
    }
    log.flush_tally().unwrap();
    let families = registry.gather();
    let mut families = families.iter();
    let family = families.find(|family| family.name() == "emco_requests_total");
    let mut counted: Vec<_> = family
        .unwrap()
        .get_metric()
        .iter()
        .map(|metric| {
            let mut labels = metric.get_label().iter();
            let class = labels.find(|label| label.name() == "status_class").unwrap();
            (class.value().to_owned(), metric.get_counter().get_value())
        })
        .collect();
    counted.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(counted, [("error".to_owned(), 2.0), ("ok".to_owned(), 1.0)]);
}

#[test]
fn a_request_that_is_told_of_again_has_one_document() {
    let dir = tempfile::tempdir().unwrap();
    let requests = [ended(1, 1), ended(2, 1), ended(1, 1)];
    assert_eq!(told(dir.path(), &requests), 2);
    assert_eq!(told(dir.path(), &requests), 2, "after a restart");
}

#[test]
fn a_request_whose_own_span_comes_late_is_the_one_its_proxy_told_of() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(told(dir.path(), &[proxied(ended(1, 9), 9)]), 1);
    // after a restart the spool is read first
    let late = child(ended(1, 2), 9);
    assert_eq!(told(dir.path(), &[late.clone(), proxied(late, 9)]), 1);
}

#[test]
fn a_proxy_whose_record_comes_again_tells_of_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(told(dir.path(), &[proxied(child(ended(1, 2), 9), 9)]), 1);
    assert_eq!(
        told(dir.path(), &[proxied(ended(1, 9), 9)]),
        1,
        "its span is forgotten"
    );
}

#[test]
fn a_proxy_whose_record_comes_late_tells_of_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let record = RequestEnded {
        traced: false,
        ..proxied(ended(1, 9), 9)
    };
    let both = [child(ended(1, 2), 9), record.clone()];
    assert_eq!(told(dir.path(), &both), 1);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(told(dir.path(), &both[..1]), 1);
    assert_eq!(told(dir.path(), &[record]), 1, "after a restart");
}

#[test]
fn requests_of_one_caller_are_as_many_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let requests = [2, 3, 4].map(|span| child(ended(1, span), 7));
    assert_eq!(told(dir.path(), &requests[..2]), 2);
    assert_eq!(told(dir.path(), &requests[1..]), 3, "after a restart");
}

#[test]
fn requests_that_find_no_room_are_bounded_and_counted_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let limits = Limits {
        bytes_max: 64 << 10,
        ..Limits::default()
    };
    let (mut log, mut known) = opened_with(dir.path(), &registry, limits);
    let head = Metrics::new(&registry).unwrap().head(log.sequence());
    let mut order = OrderQueue::new(8, head);
    let told = WAITING_MAX * 2;
    for number in 0..told {
        let mut request = ended(1, 1);
        request.span = SpanId((number as u64 + 1).to_be_bytes());
        request.summary.path = "InstallApp".to_owned();
        known.ended(request, T0);
        if number % 64 == 0 {
            known.drain(&mut order, &mut log, T0);
        }
    }
    known.drain(&mut order, &mut log, T0);
    assert_eq!(known.waiting.len(), WAITING_MAX, "the log is full");
    let mut long = ended(2, 2);
    long.summary.path = "x".repeat(WAITING_BYTES_MAX);
    known.ended(long, T0);
    known.drain(&mut order, &mut log, T0);
    assert!(known.waiting_bytes <= WAITING_BYTES_MAX);
    let in_log = usize::try_from(log.sequence()).unwrap();
    let dropped = told + 1 - in_log - WAITING_MAX;
    let families = registry.gather();
    let mut families = families.iter();
    let name = "emco_observer_head_dropped_requests_total";
    let counter = families.find(|family| family.name() == name).unwrap();
    let counter = counter.get_metric()[0].get_counter().get_value();
    assert!(dropped > 1);
    assert_eq!(counter.to_string(), dropped.to_string());
    let tally = log.tally();
    let total: u64 = tally
        .all()
        .iter()
        .filter(|series| series.name.starts_with("requests\t"))
        .map(|series| tally.value(series.first))
        .sum();
    assert_eq!(total, (in_log + dropped) as u64);
}
