//! Spans out: shaped, counted, each once, whatever the receiver does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};
use testkit::faults::{Direction, Fault, FaultProxy, Plan};

use crate::common::identity::Hub;
use crate::common::otlp::{Receiver, Trick};
use crate::common::pod::now;
use crate::common::requests::{Request, TAKES, trace};
use crate::common::sidecar::{Setup, Sidecar, free_addresses};
use crate::common::until;

const RECEIVED: &str = "emco_observer_otlp_received_spans_total";
const EXPORTED: &str = "emco_observer_otlp_exported_spans_total";
const DROPPED: &str = "emco_observer_otlp_dropped_spans_total";
const WAITING: &str = "emco_observer_otlp_waiting_spans";

/// A call to etcd or mongo of that number, in a trace of its own.
fn call(number: u64, name: &str) -> Value {
    json!({
        "traceId": trace(number), "parentId": "00000000000000aa", "id": id(number),
        "kind": "CLIENT", "name": name, "timestamp": now() / 1_000, "duration": 1_500,
        "localEndpoint": {"serviceName": "orchestrator.emco"},
        "tags": {"service.name": "orchestrator.emco", "otel.library.name": "otelmongo"},
    })
}

fn id(number: u64) -> String {
    format!("{:016x}", number + 1)
}

async fn post(sidecar: &Sidecar, spans: &[Value]) {
    let body = Value::from(spans).to_string().into_bytes();
    let (status, said) = sidecar.post_spans(&body).await;
    assert_eq!(status, 202, "{said}");
}

/// Posts calls of these numbers, some a body.
pub(super) async fn post_calls(sidecar: &Sidecar, numbers: std::ops::Range<u64>, each: usize) {
    let spans: Vec<Value> = numbers
        .map(|number| call(number, "resources.find"))
        .collect();
    for body in spans.chunks(each) {
        post(sidecar, body).await;
    }
}

async fn is_through(sidecar: &Sidecar) {
    until("no span waits", async || {
        (sidecar.metric(WAITING, &[]).await == 0).then_some(())
    })
    .await;
}

/// Received = exported + dropped + waiting.
async fn nothing_is_unaccounted_for(sidecar: &Sidecar) {
    until("the figures add up", async || {
        let received = sidecar.metric(RECEIVED, &[]).await;
        let others = sidecar.metric(EXPORTED, &[]).await
            + sidecar.metric(DROPPED, &[]).await
            + sidecar.metric(WAITING, &[]).await;
        (received == others).then_some(())
    })
    .await;
}

pub(super) fn each_once(receiver: &Receiver, spans: u64) {
    let times = receiver.times();
    assert_eq!(times.len() as u64, spans);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test]
async fn a_request_is_exported_with_its_route_its_status_and_its_person() {
    let (receiver, hub) = (Receiver::start().await, Hub::start().await);
    let mut setup = Setup::new().otlp(receiver.address, "").hub(hub.address);
    // the proxy's log is found and read within this time also on a machine with much to do
    setup.wait = "2s";
    let mut service = setup.service();
    service.ago(Duration::from_mins(2)).logrus("started");
    let mut proxy = setup.pod.container("istio-proxy");
    let sidecar = setup.start().await;
    let request = Request::new(7, now() - TAKES);
    hub.gateway_says(&request.trace, "alice");
    proxy.at(request.start + TAKES).says(&request.access(), "");
    let (status, _) = sidecar.post_spans(&request.body()).await;
    assert_eq!(status, 202);

    let spans = request.spans();
    let mut found = Vec::new();
    for span in &spans {
        let id = span["id"].as_str().unwrap();
        found.push(until("the span arrives", async || receiver.span(id)).await);
    }
    let [query, handler] = found.try_into().unwrap();
    assert_eq!(handler.service, "orchestrator.emco");
    assert_eq!(handler.trace(), request.trace);
    let route = "/v2/projects/{project}/composite-apps/{compositeApp}/{compositeAppVersion}\
                 /deployment-intent-groups/{deploymentIntentGroup}/instantiate";
    assert_eq!(handler.span.name, format!("POST {route}"));
    assert_eq!(handler.span.kind(), SpanKind::Server);
    for (key, value) in [
        ("http.route", route),
        ("http.request.method", "POST"),
        ("http.response.status_code", "202"),
        ("emco.project", "p1"),
        ("emco.composite_app", "ca"),
        ("emco.composite_app_version", "v1"),
        ("emco.deployment_intent_group", "d1"),
        ("user.id", "alice"),
        ("emco.user.source", "gateway"),
    ] {
        assert_eq!(handler.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(query.span.kind(), SpanKind::Client);
    assert_eq!(query.attribute("user.id").as_deref(), Some("alice"));
    assert_eq!(query.span.parent_span_id, handler.span.span_id);
    let started = spans[0]["timestamp"].as_u64().unwrap() * 1_000;
    assert_eq!(query.span.start_time_unix_nano, started);
    assert_eq!(query.span.end_time_unix_nano, started + 2_000_000);
    is_through(&sidecar).await;
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn a_receiver_of_traces_that_fails_and_one_that_never_takes_them() {
    let receiver = Receiver::start().await;
    receiver.play(&[Trick::Broken(500), Trick::Broken(502), Trick::Broken(500)]);
    let setup = Setup::new().otlp(receiver.address, "");
    let sidecar = setup.start().await;
    post_calls(&sidecar, 0..10, 10).await;
    sidecar.counts(EXPORTED, &[], 10).await;
    each_once(&receiver, 10);
    let failures = "emco_observer_otlp_failures_total";
    let broken = sidecar.metric(failures, &[r#"reason="http_5xx""#]).await;
    assert_eq!(broken, 3);
    sidecar
        .says(&["spans were not taken, they will be sent again"])
        .await;
    assert_eq!(
        sidecar
            .metric("emco_observer_otlp_dropped_spans_total", &[])
            .await,
        0
    );
    receiver.play(&[Trick::Broken(501)]);
    post_calls(&sidecar, 10..15, 5).await;
    sidecar.counts(RECEIVED, &[], 15).await;
    is_through(&sidecar).await;
    each_once(&receiver, 10);
    assert_eq!(sidecar.metric(DROPPED, &[r#"reason="refused""#]).await, 5);
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn a_request_to_the_receiver_is_bounded_in_bytes_too() {
    let receiver = Receiver::start().await;
    let setup = Setup::new().otlp(receiver.address, "batch_spans: 5000");
    let sidecar = setup.start().await;
    let (spans, each) = (60, 100_000);
    let mut large: Vec<Value> = (0..spans).map(|n| call(n, "resources.find")).collect();
    for span in &mut large {
        // longer values would be shortened
        for note in 0..each / 1_000 {
            span["tags"][format!("note.{note}")] = "x".repeat(1_000).into();
        }
    }
    post(&sidecar, &large).await;
    sidecar.counts(EXPORTED, &[], large.len()).await;
    each_once(&receiver, spans);
    let largest = receiver.largest();
    assert!(
        largest > each,
        "{largest}: the spans are as large as they were"
    );
    assert!(largest < (1 << 20) + 2 * each, "{largest}");
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn noise_is_dropped_by_rule_and_errors_are_kept() {
    let receiver = Receiver::start().await;
    let noise = "noise: {metrics_polls: 0, scrapes: 0, etcd_reads: 0}";
    let setup = Setup::new().otlp(receiver.address, noise);
    let sidecar = setup.start().await;
    let mut root = call(1, "get-metrics");
    root.as_object_mut()
        .unwrap()
        .retain(|key, _| key != "kind" && key != "parentId");
    let mut child = call(1, "resources.find");
    child["id"] = "00000000000000c1".into();
    let mut failed = call(1, "resources.find");
    failed["id"] = "00000000000000c2".into();
    failed["tags"]["error"] = "connection refused".into();
    let mut scrape = call(2, "get /metrics");
    scrape.as_object_mut().unwrap().remove("kind");
    let mut broken = call(3, "etcdserverpb.kv/range");
    broken["tags"]["otel.status_code"] = "Error".into();
    let put = call(4, "etcdserverpb.kv/put");
    post(&sidecar, &[child, failed, root, scrape]).await;
    let reads: Vec<Value> = (10..40)
        .map(|number| call(number, "etcdserverpb.kv/range"))
        .collect();
    post(&sidecar, &reads).await;
    post(&sidecar, &[broken, put, json!({"name": "without ids"})]).await;
    sidecar.counts(RECEIVED, &[], 37).await;
    is_through(&sidecar).await;
    let kept: BTreeSet<String> = receiver.times().into_keys().collect();
    assert_eq!(
        kept,
        BTreeSet::from(["00000000000000c2".to_owned(), id(3), id(4)])
    );
    let failed = receiver.span("00000000000000c2").unwrap();
    let status = failed.span.status.unwrap();
    assert_eq!(status.code(), StatusCode::Error);
    assert_eq!(status.message, "connection refused");
    for (reason, spans) in [
        ("metrics_poll", 2),
        ("scrape", 1),
        ("etcd_read", 30),
        ("no_ids", 1),
    ] {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(sidecar.metric(DROPPED, &[&label]).await, spans, "{reason}");
    }
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn a_moody_receiver_gets_every_span_once() {
    let receiver = Receiver::start().await;
    receiver.play(&[
        Trick::Busy(1),
        Trick::Unauthorised,
        Trick::TooLarge,
        Trick::Silent,
    ]);
    let setup = Setup::new().otlp(receiver.address, "request_timeout: 1s");
    let sidecar = setup.start().await;
    let began = Instant::now();
    post_calls(&sidecar, 0..300, 50).await;
    until("every span arrives", async || {
        (receiver.times().len() == 300).then_some(())
    })
    .await;
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "it asked to wait a second"
    );
    is_through(&sidecar).await;
    each_once(&receiver, 300);
    assert_eq!(receiver.tricks_left(), 0);
    nothing_is_unaccounted_for(&sidecar).await;
    for reason in ["http_503", "http_401", "timeout"] {
        let label = format!("reason=\"{reason}\"");
        let failures = sidecar
            .metric("emco_observer_otlp_failures_total", &[&label])
            .await;
        assert_eq!(failures, 1, "{reason}");
    }
}

#[tokio::test]
async fn what_a_receiver_does_not_take_is_counted() {
    let receiver = Receiver::start().await;
    receiver.play(&[Trick::Partial(4)]);
    let setup = Setup::new().otlp(receiver.address, "batch_spans: 40");
    let sidecar = setup.start().await;
    post_calls(&sidecar, 0..100, 100).await;
    sidecar.counts(EXPORTED, &[], 96).await;
    is_through(&sidecar).await;
    assert_eq!((receiver.rejected(), receiver.times().len()), (4, 96));
    assert_eq!(receiver.requests(), 3, "of 40 spans each at most");
    let partial = sidecar
        .metric(DROPPED, &["reason=\"partial_success\""])
        .await;
    assert_eq!(partial, 4);
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn a_cut_connection_costs_nothing() {
    let receiver = Receiver::start().await;
    let proxy = FaultProxy::start(receiver.address).await.unwrap();
    proxy.plan(Plan {
        fault: Fault::Cut(Direction::ToServer, 9_000),
        connections: Some(2),
    });
    let setup = Setup::new().otlp(proxy.address(), "");
    let sidecar = setup.start().await;
    post_calls(&sidecar, 0..200, 100).await;
    until("every span arrives", async || {
        (receiver.times().len() == 200).then_some(())
    })
    .await;
    is_through(&sidecar).await;
    each_once(&receiver, 200);
    nothing_is_unaccounted_for(&sidecar).await;
}

/// The receiver is away, the sidecar is killed meanwhile, and what was answered with 202 arrives.
#[tokio::test]
async fn spans_outlive_an_outage_and_a_kill() {
    let [address] = free_addresses();
    let setup = Setup::new().otlp(address, "batch_spans: 64");
    let sidecar = setup.start().await;
    post_calls(&sidecar, 0..200, 20).await;
    sidecar
        .counts("emco_observer_otlp_failures_total", &[], 1)
        .await;
    sidecar.kill().await;
    let sidecar = setup.start().await;
    assert_eq!(sidecar.metric(WAITING, &[]).await, 200);
    post_calls(&sidecar, 200..400, 20).await;
    let receiver = Receiver::at(address).await;
    until("every span arrives", async || {
        (receiver.times().len() == 400).then_some(())
    })
    .await;
    is_through(&sidecar).await;
    each_once(&receiver, 400);
    nothing_is_unaccounted_for(&sidecar).await;
    // what was exported is not exported again
    sidecar.kill().await;
    let sidecar = setup.start().await;
    post_calls(&sidecar, 400..401, 1).await;
    until("the span arrives", async || receiver.span(&id(400))).await;
    is_through(&sidecar).await;
    each_once(&receiver, 401);
    assert_eq!(sidecar.metric(RECEIVED, &[]).await, 1);
}

/// What waits on disk over a restart goes out with what is known of it, as if it had just come.
#[tokio::test]
async fn a_request_that_waited_over_a_kill_has_its_person_and_its_status() {
    let [address] = free_addresses();
    let hub = Hub::start().await;
    let mut setup = Setup::new().otlp(address, "").hub(hub.address);
    setup.wait = "2s";
    let mut proxy = setup.pod.container("istio-proxy");
    let sidecar = setup.start().await;
    let request = Request::new(7, now() - TAKES);
    hub.gateway_says(&request.trace, "alice");
    proxy.at(request.start + TAKES).says(&request.access(), "");
    assert_eq!(sidecar.post_spans(&request.body()).await.0, 202);
    sidecar
        .counts("emco_observer_otlp_failures_total", &[], 1)
        .await;
    sidecar.kill().await;
    let receiver = Receiver::at(address).await;
    let _sidecar = setup.start().await;
    let id = request.spans()[1]["id"].as_str().unwrap().to_owned();
    let handler = until("the span arrives", async || receiver.span(&id)).await;
    for (key, value) in [("http.response.status_code", "202"), ("user.id", "alice")] {
        assert_eq!(handler.attribute(key).as_deref(), Some(value), "{key}");
    }
}

/// At each kill the receiver may have taken one batch whose answer nobody saw.
#[tokio::test]
async fn kills_at_any_moment_repeat_one_batch_at_most() {
    const KILLS: u64 = 6;
    const BATCH: usize = 16;
    let receiver = Receiver::start().await;
    let setup = Setup::new().otlp(receiver.address, &format!("batch_spans: {BATCH}"));
    let mut rng = fastrand::Rng::with_seed(11);
    let mut spans = 0;
    for _ in 0..KILLS {
        let sidecar = setup.start().await;
        for _ in 0..rng.u32(5..20) {
            post_calls(&sidecar, spans..spans + 10, 10).await;
            spans += 10;
        }
        let seen = receiver.times().len() + rng.usize(0..60);
        let seen = seen.min(usize::try_from(spans).unwrap());
        until("some arrive", async || {
            (receiver.times().len() >= seen).then_some(())
        })
        .await;
        sidecar.kill().await;
    }
    let sidecar = setup.start().await;
    let all = usize::try_from(spans).unwrap();
    until("every span arrives", async || {
        (receiver.times().len() == all).then_some(())
    })
    .await;
    is_through(&sidecar).await;
    let repeated = receiver.spans().len() - all;
    let most = BATCH * usize::try_from(KILLS).unwrap();
    assert!(repeated <= most, "{repeated} of {all} were sent twice");
    assert!(receiver.times().values().all(|times| *times <= 2));
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn a_stop_delivers_what_waits() {
    let receiver = Receiver::start().await;
    let mut setup = Setup::new().otlp(receiver.address, "");
    setup.wait = "20s";
    let sidecar = setup.start().await;
    post_calls(&sidecar, 0..100, 10).await;
    assert!(receiver.times().is_empty(), "they wait for their person");
    assert!(sidecar.terminate().await.success());
    each_once(&receiver, 100);
}

#[tokio::test]
async fn the_oldest_spans_make_room_and_are_counted() {
    let [address] = free_addresses();
    let setup = Setup::new().otlp(address, "").spans_bytes_max(256 << 10);
    let sidecar = setup.start().await;
    let spans = 5_000;
    post_calls(&sidecar, 0..spans, 250).await;
    sidecar.counts(DROPPED, &["reason=\"disk_full\""], 1).await;
    nothing_is_unaccounted_for(&sidecar).await;
    let receiver = Receiver::at(address).await;
    is_through(&sidecar).await;
    let lost = sidecar.metric(DROPPED, &["reason=\"disk_full\""]).await;
    assert_eq!(receiver.times().len() as u64, spans - lost);
    assert!(
        receiver.span(&id(spans - 1)).is_some(),
        "the newest is there"
    );
    nothing_is_unaccounted_for(&sidecar).await;
}

/// A damaged cursor means that spans are exported again, not that they are lost.
#[tokio::test]
async fn a_damaged_cursor_loses_nothing() {
    let receiver = Receiver::start().await;
    let setup = Setup::new().otlp(receiver.address, "");
    let sidecar = setup.start().await;
    post_calls(&sidecar, 0..50, 50).await;
    sidecar.counts(EXPORTED, &[], 50).await;
    sidecar.kill().await;
    let cursor = setup.state_dir().join("traces-cursor");
    let bytes = std::fs::metadata(&cursor).unwrap().len();
    std::fs::write(&cursor, vec![0xa5; usize::try_from(bytes).unwrap()]).unwrap();
    let sidecar = setup.start().await;
    sidecar.says(&["cursor is damaged"]).await;
    post_calls(&sidecar, 50..60, 10).await;
    sidecar.counts(EXPORTED, &[], 60).await;
    assert_eq!(receiver.times().len(), 60);
    nothing_is_unaccounted_for(&sidecar).await;
}

#[tokio::test]
async fn secrets_in_spans_stay_in_the_pod() {
    let receiver = Receiver::start().await;
    let setup = Setup::new().otlp(receiver.address, "");
    let sidecar = setup.start().await;
    let mut span = call(1, "resources.findandmodify");
    let config = ["YXBpVmVyc2lv", "bjogdjEKa2luZDogQ29uZmlnCg=="].concat();
    span["tags"] = json!({
        "db.statement": format!(r#"{{"findAndModify":"resources","data":{{"config":"{config}","gitToken":"ghp-secret-1"}}}}"#),
        "error": "login failed: password=secret-2",
        "http.url": "http://rsync/v2?access_token=secret-3",
        "x-api-key": "secret-4",
    });
    span["annotations"] = json!([
        {"timestamp": now() / 1_000, "value": r#"exception: {"exception.message":"Bearer secret-55555"}"#},
        {"timestamp": now() / 1_000, "value": "token=secret-6"},
    ]);
    post(&sidecar, &[span]).await;
    let taken = until("the span arrives", async || receiver.span(&id(1))).await;
    let text = format!("{:?}", taken.span);
    assert!(
        !text.contains("secret-") && !text.contains(&config),
        "{text}"
    );
    assert_eq!(text.matches("[REDACTED]").count(), 7, "{text}");
    assert!(!sidecar.log().contains("secret-"));
}
