use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use model::evidence::SpanKind;
use net::{Server, ServerSettings};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prometheus::Registry;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::{Known, span};
use crate::batch::Batch;
use crate::exporter::{Exporter, Outcome};
use crate::metrics::Metrics;
use crate::names::Words;
use crate::rules::Rule;
use crate::settings::{Compression, OtlpSettings};

type Seen = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

/// A receiver that answers as it is told, then with success, and remembers what came.
struct Receiver {
    address: SocketAddr,
    seen: Seen,
    stop: CancellationToken,
}

impl Receiver {
    async fn start(answers: Vec<(u16, Bytes)>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(any, ServerSettings::default()).await.unwrap();
        let address = server.local_addr().unwrap();
        let seen = Seen::default();
        let stop = CancellationToken::new();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let remembered = Arc::clone(&seen);
        let answer = move |request: Request<Incoming>| {
            let (seen, answers) = (Arc::clone(&remembered), Arc::clone(&answers));
            async move {
                let (head, body) = request.into_parts();
                let body = net::body::read_capped(body, 64 << 20).await.unwrap();
                let path = head.uri.path().to_owned();
                seen.lock().unwrap().push((path, head.headers, body));
                let (status, body) = answers
                    .lock()
                    .unwrap()
                    .pop_front()
                    .unwrap_or((200, Bytes::new()));
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = status.try_into().unwrap();
                response
            }
        };
        tokio::spawn(server.serve(answer, stop.clone()));
        Self {
            address,
            seen,
            stop,
        }
    }

    fn settings(&self) -> OtlpSettings {
        OtlpSettings::new(format!("http://{}", self.address).parse().unwrap())
    }

    fn exporter(&self, change: impl FnOnce(&mut OtlpSettings)) -> (Exporter, Metrics) {
        let mut settings = self.settings();
        change(&mut settings);
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let constants = vec![("k8s.pod.name", "orchestrator-0".to_owned())];
        let exporter = Exporter::new(settings, constants, metrics.clone()).unwrap();
        (exporter, metrics)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let seen = self.seen.lock().unwrap();
        let decode = |(_, _, body): &(String, HeaderMap, Bytes)| {
            ExportTraceServiceRequest::decode(body.clone()).unwrap()
        };
        seen.iter().map(decode).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn batch(service: &'static str, spans: usize) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..spans {
        let mut span = span("resources.find", SpanKind::Client, &[], &[]);
        span.service = service.into();
        batch.push(&span, &mut Words::default(), &Known::default());
    }
    batch
}

#[tokio::test]
async fn a_resource_is_a_service_with_its_constants_and_nothing_else() {
    let receiver = Receiver::start(Vec::new()).await;
    let (mut exporter, metrics) = receiver.exporter(|_| {});
    for service in ["orchestrator.emco", "rsync.emco", "orchestrator.emco"] {
        let outcome = exporter.export(batch(service, 2)).await.unwrap();
        assert_eq!(outcome, Outcome::Done);
    }
    assert_eq!(metrics.exported.get(), 6);
    let mut resources: Vec<String> = Vec::new();
    for request in receiver.requests() {
        let [spans] = request.resource_spans.as_slice() else {
            panic!("one resource a request")
        };
        assert_eq!(spans.scope_spans[0].spans.len(), 2);
        let resource = spans.resource.as_ref().unwrap();
        let mut keys: Vec<String> = resource
            .attributes
            .iter()
            .map(|pair| format!("{}={:?}", pair.key, pair.value.as_ref().unwrap().value))
            .collect();
        keys.sort();
        resources.push(keys.join(" "));
    }
    insta::assert_debug_snapshot!(resources, @r#"
    [
        "k8s.pod.name=Some(StringValue(\"orchestrator-0\")) service.name=Some(StringValue(\"orchestrator.emco\"))",
        "k8s.pod.name=Some(StringValue(\"orchestrator-0\")) service.name=Some(StringValue(\"rsync.emco\"))",
        "k8s.pod.name=Some(StringValue(\"orchestrator-0\")) service.name=Some(StringValue(\"orchestrator.emco\"))",
    ]
    "#);
    let (path, headers, _) = receiver.seen.lock().unwrap()[0].clone();
    assert_eq!(path, "/v1/traces");
    assert_eq!(headers["content-type"], "application/x-protobuf");
}

#[tokio::test]
async fn the_same_body_is_sent_until_it_is_taken() {
    let receiver = Receiver::start(vec![
        (503, Bytes::from_static(b"busy")),
        (401, Bytes::new()),
    ])
    .await;
    let (mut exporter, metrics) = receiver.exporter(|_| {});
    let outcome = exporter.export(batch("a", 3)).await.unwrap();
    assert_eq!((outcome, metrics.exported.get()), (Outcome::Done, 3));
    let bodies: Vec<Bytes> = {
        let seen = receiver.seen.lock().unwrap();
        seen.iter().map(|(_, _, body)| body.clone()).collect()
    };
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn a_receiver_that_fails_for_long_gets_the_spans_all_the_same() {
    let failures = 25;
    let broken = (0..failures).map(|number| [500, 502, 503, 504][number % 4]);
    let broken = broken.map(|status| (status, Bytes::from_static(b"broken")));
    let receiver = Receiver::start(broken.collect()).await;
    let (mut exporter, metrics) = receiver.exporter(|_| {});
    let millisecond = Duration::from_millis(1);
    exporter.set_backoff(net::Backoff::new(millisecond, millisecond));
    let outcome = exporter.export(batch("a", 3)).await.unwrap();
    assert_eq!((outcome, metrics.exported.get()), (Outcome::Done, 3));
    assert_eq!(receiver.requests().len(), failures + 1);
}

#[tokio::test]
async fn what_the_receiver_rejects_is_counted() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 2,
            error_message: "too old".to_owned(),
        }),
    };
    let partial = Bytes::from(partial.encode_to_vec());
    let receiver = Receiver::start(vec![(200, partial), (400, Bytes::from_static(b"no"))]).await;
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let settings = receiver.settings();
    let mut exporter = Exporter::new(settings, Vec::new(), metrics.clone()).unwrap();
    let mut first = batch("a", 5);
    first.noise(Rule::Scrape, false);
    first.noise(Rule::EtcdPoll, true);
    first.no_ids();
    for batch in [first, batch("a", 3)] {
        assert_eq!(exporter.export(batch).await.unwrap(), Outcome::Done);
    }
    assert_eq!(metrics.exported.get(), 3);
    let dropped = |reason: &str| {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name().ends_with("dropped_spans_total"));
        let mut counters = family.unwrap().get_metric().iter();
        counters
            .find(|counter| counter.get_label()[0].value() == reason)
            .map(|counter| counter.get_counter().get_value().to_string())
    };
    let reasons = ["partial_success", "refused", "scrape", "no_ids"];
    assert_eq!(
        reasons.map(dropped),
        ["2", "3", "1", "1"].map(|n| Some(n.to_owned()))
    );
}

#[tokio::test]
async fn what_is_too_large_comes_back_unless_it_is_one_span() {
    let too_large = || (413, Bytes::new());
    let receiver = Receiver::start(vec![too_large(), too_large()]).await;
    let (mut exporter, metrics) = receiver.exporter(|_| {});
    let outcome = exporter.export(batch("a", 2)).await.unwrap();
    assert_eq!((outcome, metrics.exported.get()), (Outcome::TooLarge, 0));
    let outcome = exporter.export(batch("a", 1)).await.unwrap();
    assert_eq!((outcome, metrics.exported.get()), (Outcome::Done, 0));
    let outcome = exporter.export(batch("a", 1)).await.unwrap();
    assert_eq!((outcome, metrics.exported.get()), (Outcome::Done, 1));
}

#[tokio::test]
async fn a_compressed_body_says_so() {
    let receiver = Receiver::start(Vec::new()).await;
    let (mut exporter, _) = receiver.exporter(|settings| {
        settings.compression = Compression::Gzip;
    });
    exporter.export(batch("a", 9)).await.unwrap();
    let (_, headers, body) = receiver.seen.lock().unwrap()[0].clone();
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(body[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn more_services_than_exporters_are_served_all_the_same() {
    let receiver = Receiver::start(Vec::new()).await;
    let (mut exporter, metrics) = receiver.exporter(|_| {});
    for service in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "a"] {
        exporter.export(batch(service, 1)).await.unwrap();
    }
    assert_eq!(metrics.exported.get(), 11);
    assert_eq!(exporter.known(), 8);
}

#[tokio::test]
async fn the_token_of_this_moment_goes_with_each_request() {
    let receiver = Receiver::start(vec![(401, Bytes::new())]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let (mut exporter, metrics) = receiver.exporter(|settings| {
        settings.token_file = Some(file.path().to_owned());
    });
    let seen = Arc::clone(&receiver.seen);
    let replaced = async {
        while seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        std::fs::write(file.path(), "second\n").unwrap();
    };
    let (outcome, ()) = tokio::join!(exporter.export(batch("orchestrator.emco", 1)), replaced);
    assert_eq!(outcome.unwrap(), Outcome::Done);
    let seen = receiver.seen.lock().unwrap();
    let tokens: Vec<_> = seen
        .iter()
        .map(|(_, headers, _)| &headers["authorization"])
        .collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
    assert_eq!(metrics.failures.with_label_values(&["http_401"]).get(), 1);
}
