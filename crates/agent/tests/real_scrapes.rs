//! The metrics page before tools that somebody else wrote: Debian's Prometheus and promtool, and the
//! reference parser of `OpenMetrics`, all installed by `cargo xtask peers`. Without them these tests
//! fail where `CI=true` and say so elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::BTreeSet;

use common::bulk::Server;
use common::mix::{Counts, LABELS, Mix, samples};
use common::openmetrics::{OPEN_METRICS, parsed};
use common::sidecar::{Setup, Sidecar};
use common::{http, until};
use serde_json::Value;
use testkit::peers::{Prometheus, Target, check_metrics, encoded};

const ROUNDS: u64 = 5;

/// A sidecar that has counted requests of every kind; ends with this value.
struct Busy {
    sidecar: Sidecar,
    setup: Setup,
    mix: Mix,
    _elastic: Server,
}

impl Busy {
    async fn start() -> Self {
        let elastic = Server::start().await;
        let setup = Setup::new().elastic(elastic.address);
        let mix = Mix::new(&setup, ROUNDS);
        let sidecar = setup.start().await;
        for body in &mix.bodies {
            assert_eq!(sidecar.post_spans(body).await.0, 202);
        }
        until("all requests are counted", async || {
            let counted = samples(&sidecar, "emco_requests_total", &LABELS).await;
            (counted == mix.expected).then_some(())
        })
        .await;
        sidecar.is_level().await;
        Self {
            sidecar,
            setup,
            mix,
            _elastic: elastic,
        }
    }

    /// Traces whose spans were posted.
    fn traces(&self) -> BTreeSet<String> {
        let spans = self.mix.bodies.iter().flat_map(|body| {
            let spans: Vec<Value> = serde_json::from_slice(body).unwrap();
            spans
        });
        spans
            .map(|span| span["traceId"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn the_reference_parser_reads_the_page_with_its_exemplars() {
    let busy = Busy::start().await;
    let page = http::get_as(busy.setup.admin, "/metrics", OPEN_METRICS).await;
    let (status, page) = page.expect("it answers");
    assert_eq!(status, 200);
    let Some(families) = parsed(&page) else {
        return;
    };
    let family = |name: &str| {
        let mut found = families.iter().filter(|family| family["name"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("{name} is missing in {page}"))
    };
    assert!(families.len() > 40, "{} families", families.len());
    for (name, kind) in [
        ("emco_requests", "counter"),
        ("emco_request_duration_seconds", "histogram"),
        ("emco_requests_in_flight", "gauge"),
        ("emco_log_lines", "counter"),
        ("emco_dependency_calls", "counter"),
        ("emco_dependency_duration_seconds", "histogram"),
        ("emco_observer_ledger_lines", "counter"),
        ("emco_observer_ledger_waiting_lines", "gauge"),
        ("emco_observer_head_read_records", "counter"),
        ("emco_observer_lane_records", "counter"),
        ("emco_observer_lane_in_flight_records", "gauge"),
        ("emco_observer_spool_bytes", "gauge"),
        ("emco_observer_hub_client_told_facts", "counter"),
        ("emco_observer_build_info", "gauge"),
    ] {
        assert_eq!(family(name)["type"], kind, "{name}");
    }
    let traces = busy.traces();
    for name in ["emco_requests", "emco_request_duration_seconds"] {
        let exemplars = family(name)["exemplars"].as_array().unwrap();
        assert!(!exemplars.is_empty(), "{name}");
        for exemplar in exemplars {
            let trace = exemplar["labels"]["trace_id"].as_str().unwrap();
            assert!(traces.contains(trace), "{trace} has no span");
        }
        assert_ne!(family(name)["created"], 0, "{name}");
    }
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let busy = Busy::start().await;
    let page = busy.sidecar.page().await;
    let said = tokio::task::spawn_blocking(move || check_metrics(page.as_bytes()));
    let Some(said) = said.await.unwrap() else {
        return;
    };
    assert_eq!(said, "");
}

#[tokio::test]
async fn prometheus_scrapes_totals_and_exemplars() {
    let busy = Busy::start().await;
    let folder = tempfile::tempdir().unwrap();
    let target = Target {
        job: "emco".to_owned(),
        address: busy.setup.admin,
    };
    let path = folder.path().to_owned();
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::start(&path, &[target]))
        .await
        .unwrap();
    let Some(prometheus) = prometheus else { return };
    let prometheus = std::sync::Arc::new(prometheus);
    let ask = async |path: String| {
        let prometheus = std::sync::Arc::clone(&prometheus);
        tokio::task::spawn_blocking(move || prometheus.ask(&path))
            .await
            .unwrap()
    };
    until("the target is up", async || {
        let answer = ask(format!("/api/v1/query?query={}", encoded("up == 1"))).await;
        (!answer["data"]["result"].as_array()?.is_empty()).then_some(())
    })
    .await;
    let by = format!("sum by ({}) (emco_requests_total)", LABELS.join(","));
    until("the totals are those of the page", async || {
        let answer = ask(format!("/api/v1/query?query={}", encoded(&by))).await;
        let mut counts = Counts::new();
        for series in answer["data"]["result"].as_array()? {
            let values = LABELS.map(|label| series["metric"][label].as_str().unwrap());
            let value: u64 = series["value"][1].as_str()?.parse().ok()?;
            counts.insert(values.join(" "), value);
        }
        (counts == busy.mix.expected).then_some(())
    })
    .await;
    let traces = busy.traces();
    until("exemplars lead to traces", async || {
        let query = encoded("emco_request_duration_seconds_bucket");
        let all = format!("/api/v1/query_exemplars?query={query}&start=0&end=4102444800");
        let answer = ask(all).await;
        let series = answer["data"].as_array()?.clone();
        let exemplars = series
            .iter()
            .flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default());
        let found: Vec<String> = exemplars
            .map(|exemplar| exemplar["labels"]["trace_id"].as_str().unwrap().to_owned())
            .collect();
        assert!(
            found.iter().all(|trace| traces.contains(trace)),
            "{found:?}"
        );
        (!found.is_empty()).then_some(())
    })
    .await;
}
