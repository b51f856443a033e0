//! What Prometheus has counted of a whole recording, against what those who asked have written down:
//! each request of a caller once, by service, route, method and class of status, and nothing else.
//!
//! ```text
//! client.jsonl ── what callers did ──┐
//! gateway's records ── to whom ──────┼─▶ expected ═══ sum by (…) (emco_requests_total) ◀─ Prometheus
//! scrapes.jsonl ─────────────────────┤                                                         ▲
//! server spans, calls of the proxies ┘     recorded lines, records, spans ─▶ eight sidecars ───┘
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use common::bulk::Server;
use common::pod::now;
use common::recording::{self, Recording, SERVICES, Timed};
use common::sidecar::{Setup, Sidecar, targets};
use common::until;
use serde_json::Value;
use testkit::peers::Prometheus;

/// The recording is played in so many parts, and every sidecar killed between them.
const PARTS: usize = 4;
/// A request waits at most so long for what else is told of it, also when it is heard of again.
const REQUESTS_WAIT: u64 = 5_000_000_000;
/// The method by which every gRPC call is counted.
const GRPC: &str = "POST";
const TOTALS: &str = "sum by (job, service, route, method, status_class) (emco_requests_total)";
/// The gateway answers these by itself: no service has the route, and none heard of the request.
const ANSWERED_BY_GATEWAY: &str = "/v2/nosuch/route";

/// Requests by service, route, method and class of status.
type Totals = BTreeMap<[String; 4], u64>;

/// What is to be counted, from everybody but the services themselves.
fn expected(folder: &Path, recordings: &[Recording]) -> Totals {
    let mut totals = Totals::new();
    let mut add = |service: &str, route: &str, method: &str, class: &str| {
        let key = [service, route, method, class].map(str::to_owned);
        *totals.entry(key).or_default() += 1;
    };
    let gateway: HashMap<String, Value> =
        recording::objects(&folder.join("access/istio-ingressgateway.jsonl.gz"))
            .into_iter()
            .map(|record| (request_id(&record), record))
            .collect();
    for request in recording::objects(&folder.join("client.jsonl.gz")) {
        let text = |key: &str| request[key].as_str().unwrap();
        let service = match text("via") {
            "gateway" => {
                let record = &gateway[&request_id(&request)];
                let Some(cluster) = record["upstream_cluster"].as_str() else {
                    assert_eq!(text("path"), ANSWERED_BY_GATEWAY, "{request}");
                    continue;
                };
                let host = cluster.rsplit('|').next().unwrap();
                host.split('.').next().unwrap()
            }
            service => service,
        };
        let status = request["status"].as_u64().unwrap();
        let (method, path) = (text("method"), text("path"));
        let route = recording::route(method, path);
        add(service, &route, method, &format!("{}xx", status / 100));
    }
    for scrape in recording::objects(&folder.join("metrics/scrapes.jsonl.gz")) {
        let class = format!("{}xx", scrape["status"].as_u64().unwrap() / 100);
        let service = scrape["service"].as_str().unwrap();
        add(service, "/metrics", "GET", &class);
    }
    for (service, recording) in SERVICES.iter().zip(recordings) {
        for (method, outcome) in recording.remote_calls() {
            add(service, &method, GRPC, outcome);
        }
    }
    totals
}

/// The id of a request. Proxies write what they know of its trace into one digit of it.
fn request_id(of: &Value) -> String {
    let mut id = of["request_id"].as_str().unwrap().to_owned();
    id.replace_range(14..15, "x");
    id
}

/// A service with its sidecar.
struct Beside {
    setup: Setup,
    sidecar: Sidecar,
}

impl Beside {
    /// Plays what was said from `from` on, and before `to`.
    async fn play(&self, recording: &Recording, records: &[Timed], (from, to): (u64, u64)) {
        let is_now = |(time, _): &&Timed| (from..to).contains(time);
        let mut proxy = self.setup.pod.container("istio-proxy");
        for (_, record) in records.iter().filter(is_now) {
            proxy.raw(record);
        }
        for (_, body) in recording.bodies.iter().filter(is_now) {
            assert_eq!(self.sidecar.post_spans(body).await.0, 202);
        }
        let mut own = self.setup.service();
        for (_, line) in recording.lines.iter().filter(is_now) {
            own.raw(line);
        }
    }

    /// Ends the sidecar at no particular moment and starts it again.
    async fn killed(self) -> Self {
        let Self { setup, sidecar } = self;
        sidecar.kill().await;
        let sidecar = setup.start().await;
        Self { setup, sidecar }
    }
}

/// Waits until so much time has gone by.
async fn passed(nanos: u64) {
    let over = now() + nanos;
    until("time goes by", async || (now() > over).then_some(())).await;
}

/// Asks Prometheus without keeping others waiting.
async fn query(prometheus: &Arc<Prometheus>, query: &'static str) -> Vec<Value> {
    let prometheus = Arc::clone(prometheus);
    let answer = tokio::task::spawn_blocking(move || prometheus.query(query));
    answer.await.unwrap()
}

async fn counted(prometheus: &Arc<Prometheus>) -> Totals {
    let mut totals = Totals::new();
    for series in query(prometheus, TOTALS).await {
        let label = |name: &str| series["metric"][name].as_str().unwrap();
        assert_eq!(label("job"), label("service"), "each speaks of its own");
        let route = recording::anonymous(label("route"));
        let key = [
            label("service"),
            &route,
            label("method"),
            label("status_class"),
        ];
        let count: u64 = series["value"][1].as_str().unwrap().parse().unwrap();
        *totals.entry(key.map(str::to_owned)).or_default() += count;
    }
    totals.retain(|_, count| *count > 0);
    totals
}

/// What was counted and what should have been, where they differ.
fn difference(counted: &Totals, expected: &Totals) -> Vec<String> {
    let keys: BTreeSet<_> = counted.keys().chain(expected.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| counted.get(*key) != expected.get(*key));
    differ
        .map(|key| {
            let (is, should) = (counted.get(key), expected.get(key));
            format!("{key:?}: {is:?}, expected {should:?}")
        })
        .collect()
}

#[tokio::test]
async fn recording_counted_by_prometheus_once_over_kills() {
    // another recording without faults can be named
    let name = std::env::var("EMCO_TEST_RECORDING").unwrap_or("truth/traced".to_owned());
    let Some(folder) = recording::folder(&name) else {
        return;
    };
    let recordings = SERVICES.map(|service| Recording::open(&folder, service));
    let expected = expected(&folder, &recordings);
    let elastic = Server::start().await;
    let setups = SERVICES.map(|service| Setup::new().beside(service).elastic(elastic.address));
    let targets = targets(&setups);
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_owned();
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::start(&path, &targets));
    let Some(prometheus) = prometheus.await.unwrap().map(Arc::new) else {
        return;
    };
    let mut pods = Vec::new();
    for setup in setups {
        let sidecar = setup.start().await;
        pods.push(Beside { setup, sidecar });
    }
    let records: Vec<_> = recordings.iter().map(Recording::proxy_lines).collect();
    let (mut from, lines) = (0, &recordings[0].lines);
    for part in 1..=PARTS {
        let to = lines
            .get(lines.len() * part / PARTS)
            .map_or(u64::MAX, |(time, _)| *time);
        for (place, pod) in pods.iter().enumerate() {
            pod.play(&recordings[place], &records[place], (from, to))
                .await;
        }
        // in the midst of its work, or when what is known of the requests is known
        if part % 2 == 0 {
            passed(REQUESTS_WAIT).await;
        }
        let mut again = Vec::new();
        for pod in pods {
            again.push(pod.killed().await);
        }
        (pods, from) = (again, to);
    }
    let mut last = Totals::new();
    let started = now();
    while last != expected && now() < started + 25_000_000_000 {
        last = counted(&prometheus).await;
    }
    assert_eq!(difference(&last, &expected), [""; 0]);
    for pod in &pods {
        pod.sidecar.is_level().await;
    }
    passed(REQUESTS_WAIT).await;
    let later = counted(&prometheus).await;
    assert_eq!(difference(&later, &expected), [""; 0], "later");
    let went_back = query(&prometheus, "resets(emco_requests_total[1h]) > 0").await;
    assert_eq!(went_back, [Value::Null; 0], "no total ever went back");
    let up = query(&prometheus, "up == 1").await;
    assert_eq!(up.len(), SERVICES.len(), "{up:?}");
}
