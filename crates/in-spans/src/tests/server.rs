use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{ClientSettings, HttpClient, Reply};
use prometheus::Registry;
use telemetry::cpu::Meter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Log, emco_body, emco_span};
use crate::metrics::Metrics;
use crate::server::Receiver;
use crate::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(8);

pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) log: Log,
    pub(super) metrics: Metrics,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _guard: DropGuard,
}

impl Running {
    pub(super) async fn start(mut settings: Settings) -> Self {
        settings.listen.set_port(0);
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let meter = Meter::new(&registry).unwrap();
        let receiver = Receiver::bind(settings, metrics.clone()).await.unwrap();
        let address = receiver.local_addr().unwrap();
        let (log, stop) = (Log::default(), CancellationToken::new());
        let sink = Arc::new(Mutex::new(log.clone()));
        let server = tokio::spawn(receiver.serve(log.clone(), sink, meter, stop.clone()));
        Self {
            address,
            log,
            metrics,
            server,
            _guard: stop.clone().drop_guard(),
            stop,
        }
    }

    pub(super) async fn post(&self, body: impl Into<Bytes>, encoding: Option<&str>) -> Reply {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_str(encoding).unwrap();
            headers.insert(header::CONTENT_ENCODING, encoding);
        }
        self.send(Method::POST, "/api/v2/spans", headers, body.into())
            .await
    }

    async fn send(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Reply {
        let endpoint = format!("http://{}", self.address).parse().unwrap();
        let client = HttpClient::new(endpoint, ClientSettings::default());
        client.send(method, path, headers, body).await.unwrap()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).trim_end().to_owned()
}

#[tokio::test]
async fn a_piece_is_kept_before_it_is_shown_and_shown_before_the_answer() {
    let server = Running::start(Settings::default()).await;
    let reply = server.post(emco_body(0..2), None).await;
    assert_eq!(
        (reply.status, text(&reply).as_str()),
        (StatusCode::ACCEPTED, "")
    );
    assert_eq!(
        server.log.kinds(),
        ["keep spans", "span", "span", "end of piece"]
    );
    assert_eq!(server.metrics.spans.get(), 2);
    assert_eq!(server.metrics.accepted.get(), 1);
}

#[tokio::test]
async fn gzip_and_empty_arrays_are_fine_and_the_content_type_says_nothing() {
    let server = Running::start(Settings::default()).await;
    assert_eq!(server.post("[]", None).await.status, StatusCode::ACCEPTED);
    let members = [gzip(b"["), gzip(&emco_body(0..3000).as_bytes()[1..])].concat();
    let reply = server.post(members, Some("gzip")).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", text(&reply));
    assert_eq!(server.log.spans().len(), 3000);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let body = Bytes::from(emco_body(0..1));
    let reply = server
        .send(Method::POST, "/api/v2/spans", headers, body)
        .await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_is_no_array_of_spans_gets_a_sentence() {
    let server = Running::start(Settings::default()).await;
    let bad_span = format!("[{},{{\"id\":tru}}]", emco_span(1));
    for (body, encoding, sentence) in [
        (
            b"<html>".to_vec(),
            None,
            "the body is not a JSON array of spans: an array was expected at byte 0",
        ),
        (
            bad_span.clone().into_bytes(),
            None,
            "the body is not a JSON array of spans: true, false or null was expected at byte",
        ),
        (
            b"[]".to_vec(),
            Some("gzip"),
            "the body could not be read: decompressing a body",
        ),
        (
            gzip(b"[{}]")[..14].to_vec(),
            Some("gzip"),
            "the body could not be read: decompressing a body",
        ),
        (
            b"[]".to_vec(),
            Some("br"),
            "the body could not be read: decompressing a body: content-encoding \"br\" is not supported",
        ),
    ] {
        let reply = server.post(body, encoding).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(text(&reply).starts_with(sentence), "{}", text(&reply));
    }
    assert_eq!(server.metrics.rejected.get(), 5);
    assert_eq!(
        server.log.spans().len(),
        1,
        "the good span in front of the bad one is used"
    );
    assert!(
        server.log.kinds().contains(&"gap"),
        "the ledger is told that spans are missing"
    );
}

#[tokio::test]
async fn a_full_spool_is_counted_and_answered_as_if_it_were_not() {
    let server = Running::start(Settings::default()).await;
    *server.log.full.lock().unwrap() = true;
    assert_eq!(
        server.post(emco_body(0..2), None).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(server.metrics.dropped_journal_full.get(), 2);
    assert_eq!(
        server.log.spans().len(),
        2,
        "still evidence, as long as the process lives"
    );
    *server.log.full.lock().unwrap() = false;
    assert_eq!(
        server.post(emco_body(2..3), None).await.status,
        StatusCode::ACCEPTED
    );
    let kinds = server.log.kinds();
    assert_eq!(
        kinds[3..],
        ["keep gap", "keep spans", "span", "end of piece"]
    );
}

#[tokio::test]
async fn spans_without_ids_are_counted() {
    let server = Running::start(Settings::default()).await;
    let body = format!(r#"[{{"name":"x"}},{}]"#, emco_span(1));
    assert_eq!(server.post(body, None).await.status, StatusCode::ACCEPTED);
    assert_eq!(server.metrics.dropped_no_ids.get(), 1);
    assert_eq!(server.log.spans().len(), 1);
}

#[tokio::test]
async fn a_huge_body_is_used_while_it_arrives() {
    let server = Running::start(Settings::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /api/v2/spans HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut spans = 0_u64;
    let mut sent = 0;
    while sent < 32 << 20 {
        let mut chunk = if spans == 0 { "[" } else { "," }.to_owned();
        let numbers = spans..spans + 200;
        chunk.push_str(emco_body(numbers.clone()).trim_matches(['[', ']']));
        spans = numbers.end;
        sent += chunk.len();
        let frame = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        stream.write_all(frame.as_bytes()).await.unwrap();
        if sent > 4 << 20 {
            // Most of it was handed on long ago, and dropped here so that the test holds little.
            server.log.events.lock().unwrap().clear();
        }
    }
    assert!(
        server.metrics.spans.get() > spans / 2,
        "nothing waits for the end"
    );
    stream.write_all(b"1\r\n]\r\n0\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1024];
    let mut read = String::new();
    while !read.contains("202 Accepted") {
        let count = timeout(PATIENCE, stream.read(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0, "{read}");
        read.push_str(&String::from_utf8_lossy(&answer[..count]));
    }
    assert_eq!(server.metrics.spans.get(), spans);
}

#[tokio::test]
async fn a_bomb_is_refused_at_the_limit() {
    let server = Running::start(Settings {
        body_bytes_max: 1 << 20,
        ..Settings::default()
    })
    .await;
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let reply = server.post(bomb, Some("gzip")).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        text(&reply),
        "the body could not be read: body is longer than 1048576 bytes"
    );
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(what);
}

#[tokio::test]
async fn a_body_that_is_cut_off_gives_what_came() {
    let server = Running::start(Settings::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let part = format!("[{},{}", emco_span(1), &emco_span(2)[..50]);
    let head = "POST /api/v2/spans HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n";
    stream
        .write_all(format!("{head}{part}").as_bytes())
        .await
        .unwrap();
    drop(stream);
    until("the cut is counted", || server.metrics.cut.get() == 1).await;
    assert_eq!(
        server.log.kinds(),
        ["keep spans", "span", "end of piece", "keep gap", "gap"]
    );
}

#[tokio::test]
async fn senders_that_pause_do_not_hold_a_place_for_ever() {
    let server = Running::start(Settings {
        pause_max: Duration::from_millis(50),
        connections_max: 1,
        ..Settings::default()
    })
    .await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /api/v2/spans HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n[";
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = timeout(PATIENCE, server.post("[]", None)).await.unwrap();
    assert_eq!(
        reply.status,
        StatusCode::ACCEPTED,
        "the place was free again"
    );
    assert_eq!(server.metrics.timed_out.get(), 1);
}

#[tokio::test]
async fn other_requests_are_told_where_to_go() {
    let server = Running::start(Settings::default()).await;
    for (method, path, status) in [
        (Method::GET, "/health", StatusCode::OK),
        (Method::GET, "/api/v2/spans", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/api/v1/spans", StatusCode::NOT_FOUND),
    ] {
        let reply = server
            .send(method, path, HeaderMap::new(), Bytes::new())
            .await;
        assert_eq!(reply.status, status, "{path}");
    }
}

#[tokio::test]
async fn stopping_ends_idle_connections() {
    let server = Running::start(Settings::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 512];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    server.stop.cancel();
    timeout(PATIENCE, server.server).await.unwrap().unwrap();
}
