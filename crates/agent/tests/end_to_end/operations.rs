//! The page for operators names counters: each is on the page of metrics, from the first moment, so that
//! a rise from nothing can be seen.

use crate::common::bulk::Server;
use crate::common::forward::Receiver;
use crate::common::otlp;
use crate::common::pod::now;
use crate::common::requests::Request;
use crate::common::sidecar::{Setup, free_addresses};

const PAGE: &str = include_str!("../../../../docs/operations.md");
/// Counters whose labels depend on what happens: they are there once it has.
const LATER: [&str; 2] = [
    "emco_observer_lane_dead_lettered_records_total",
    "emco_observer_hub_client_failures_total",
];

/// A counter as the page for operators writes it: name, and labels as `key="value"`.
fn counters() -> Vec<(&'static str, Vec<&'static str>)> {
    let quoted = PAGE.split('`').skip(1).step_by(2);
    let counters = quoted.filter(|quoted| quoted.starts_with("emco_observer_"));
    let split = counters.map(|counter| {
        let (name, labels) = counter.split_once('{').unwrap_or((counter, ""));
        let labels = labels.trim_end_matches('}').split(',');
        (name, labels.filter(|label| !label.is_empty()).collect())
    });
    split.collect()
}

/// Whether a line of the metrics is a series of that name with these labels.
fn is_series(line: &str, name: &str, labels: &[&str]) -> bool {
    let rest = line.strip_prefix(name);
    let is_name = rest.is_some_and(|rest| rest.starts_with(['{', ' ']));
    is_name && labels.iter().all(|label| line.contains(label))
}

#[tokio::test]
async fn every_counter_of_the_page_is_shown() {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let traces = otlp::Receiver::start().await;
    let [hub] = free_addresses();
    let setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address)
        .otlp(traces.address, "")
        .hub(hub);
    let sidecar = setup.start().await;
    let counters = counters();
    assert!(counters.len() > 20, "{counters:?}");
    let page = sidecar.page().await;
    let missing = counters.iter().filter(|(name, labels)| {
        !LATER.contains(name) && !page.lines().any(|line| is_series(line, name, labels))
    });
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    elastic.refuse("of no use");
    setup.service().logrus("of no use");
    let request = Request::new(1, now());
    let record = request.access_start();
    setup.pod.container("istio-proxy").says(&record, "");
    for name in LATER {
        assert!(counters.iter().any(|(counter, _)| *counter == name));
        sidecar.counts(name, &[], 1).await;
    }
}
