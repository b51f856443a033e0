//! What the output does when a server answers nonsense, hangs, or goes away: scripted servers on
//! loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::{Lane, PATIENCE, batch};
use out_elastic::{Compression, ElasticSettings};
use pipeline::output::{Answer, BatchId, ItemOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const FAILURES: &str = "emco_observer_elastic_failures_total";
const ITEMS: &str = "emco_observer_elastic_items_total";
const ONE_STORED: &str = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;

/// A connection at the server's side.
struct Peer {
    stream: TcpStream,
}

/// A request as the server sees it.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Self { stream }
    }

    async fn request(&mut self) -> Request {
        let mut bytes = Vec::new();
        loop {
            if let Some(at) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if bytes.len() >= at + 4 + length {
                    let body = bytes[at + 4..].to_vec();
                    return Request { head, body };
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut bytes)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "the sender closed early");
        }
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn reply(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.say(&format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
        .await;
    }
}

async fn server() -> (TcpListener, ElasticSettings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = ElasticSettings {
        request_timeout_seconds: 1,
        connect_timeout_seconds: 1,
        ..ElasticSettings::new(url.parse().unwrap())
    };
    (listener, settings)
}

fn retry(label: &'static str) -> Answer {
    Answer::Retry { after: None, label }
}

/// Sends one batch, lets `script` answer it, expects a retry with `label`, and then a delivery of
/// the same documents on a new connection.
async fn recovers(label: &'static str, script: impl AsyncFnOnce(Peer)) {
    let (listener, settings) = server().await;
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    script(peer).await;
    assert_eq!(lane.answer().await, (1, retry(label)));
    assert!((lane.counter(FAILURES, label) - 1.0).abs() < 0.1);
    lane.send(batch(&settings, 2, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    peer.reply("200 OK", "", ONE_STORED).await;
    assert_eq!(lane.answer().await, (2, Answer::Delivered));
    assert!(lane.close().await.is_empty());
}

#[tokio::test]
async fn a_server_that_never_answers() {
    recovers("timeout", async |mut peer| {
        // The sender gives up by itself.
        let mut scratch = [0; 64];
        timeout(PATIENCE, peer.stream.read(&mut scratch))
            .await
            .unwrap()
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_server_that_closes_without_a_word() {
    recovers("closed", async |peer| drop(peer)).await;
}

#[tokio::test]
async fn a_server_that_closes_in_the_middle_of_its_answer() {
    recovers("body", async |mut peer| {
        peer.say(
            "HTTP/1.1 200 OK\r\ncontent-length: 52\r\n\r\n{\"errors\":false,\"items\":[{\"create\"",
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_cut_but_whole_for_http() {
    recovers("not_bulk", async |mut peer| {
        peer.reply("200 OK", "connection: close\r\n", &ONE_STORED[..30])
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_some_other_server() {
    recovers("not_bulk", async |mut peer| {
        let html = "<html><body><h1>It works!</h1></body></html>";
        peer.reply(
            "200 OK",
            "connection: close\r\ncontent-type: text/html\r\n",
            html,
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_for_more_items_than_were_sent() {
    recovers("item_count", async |mut peer| {
        let body = r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
        peer.reply("200 OK", "connection: close\r\n", body).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_http() {
    recovers("closed", async |mut peer| peer.say("+OK redis\r\n").await).await;
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in() {
    recovers("http_401", async |mut peer| {
        peer.reply(
            "401 Unauthorized",
            "connection: close\r\n",
            "missing credentials",
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_gateway_without_a_server_behind_it() {
    recovers("http_5xx", async |mut peer| {
        peer.reply("502 Bad Gateway", "connection: close\r\n", "<html>")
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let (listener, settings) = server().await;
    drop(listener);
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["m"])).await;
    assert_eq!(lane.answer().await, (1, retry("connect")));
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_says() {
    let (listener, settings) = server().await;
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    let said = Instant::now();
    peer.reply("429 Too Many Requests", "retry-after: 1\r\n", "")
        .await;
    let answer = Answer::Retry {
        after: Some(Duration::from_secs(1)),
        label: "http_429",
    };
    assert_eq!(lane.answer().await, (1, answer));
    lane.send(batch(&settings, 2, 0, &["m"])).await;
    peer.request().await;
    assert!(said.elapsed() >= Duration::from_secs(1));
    peer.reply("200 OK", "", ONE_STORED).await;
    assert_eq!(lane.answer().await, (2, Answer::Delivered));
}

#[tokio::test]
async fn items_with_different_outcomes() {
    let (listener, settings) = server().await;
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["a", "b", "c", "d"]))
        .await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    let body = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409}},
        {"create":{"status":429}},
        {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"no"}}}]}"#;
    peer.reply("200 OK", "", body).await;
    let expected = vec![
        ItemOutcome::Delivered,
        ItemOutcome::Duplicate,
        ItemOutcome::Retry { label: "item_429" },
        ItemOutcome::Rejected {
            label: "mapping",
            reason: "mapper_parsing_exception: no".to_owned(),
        },
    ];
    assert_eq!(lane.answer().await, (1, Answer::Items(expected)));
    for outcome in ["delivered", "duplicate", "retry", "rejected"] {
        assert!(
            (lane.counter(ITEMS, outcome) - 1.0).abs() < 0.1,
            "{outcome}"
        );
    }
}

#[tokio::test]
async fn what_is_too_large_is_split_until_one_item_is_left() {
    let (listener, settings) = server().await;
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["a", "b"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    peer.reply("413 Payload Too Large", "", "").await;
    assert_eq!(lane.answer().await, (1, Answer::TooLarge));
    lane.send(batch(&settings, 2, 0, &["a"])).await;
    peer.request().await;
    peer.reply("413 Payload Too Large", "", "").await;
    let (_, Answer::Items(items)) = lane.answer().await else {
        panic!("one outcome an item")
    };
    assert!(matches!(
        items[..],
        [ItemOutcome::Rejected {
            label: "too_large",
            ..
        }]
    ));
}

#[tokio::test]
async fn a_batch_above_our_own_cap_is_not_sent() {
    let (_listener, settings) = server().await;
    let settings = ElasticSettings {
        bulk_bytes_max: 400,
        ..settings
    };
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["a", &"b".repeat(400)]))
        .await;
    assert_eq!(lane.answer().await, (1, Answer::TooLarge));
    lane.send(batch(&settings, 2, 0, &[])).await;
    assert_eq!(
        lane.answer().await,
        (2, Answer::Delivered),
        "nothing to send"
    );
}

#[tokio::test]
async fn an_answer_that_is_longer_than_we_read_splits_the_batch() {
    let (listener, settings) = server().await;
    let mut lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["a", "b"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    let long = " ".repeat(5 << 20);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len());
    peer.say(&head).await;
    // The sender may hang up before everything is written.
    let written = timeout(PATIENCE, peer.stream.write_all(long.as_bytes())).await;
    written.expect("the sender reads or closes").ok();
    assert_eq!(lane.answer().await, (1, Answer::TooLarge));
}

#[tokio::test]
async fn requests_are_in_flight_together_up_to_the_limit() {
    let (listener, settings) = server().await;
    let mut lane = Lane::start(settings.clone());
    for id in 1..=3 {
        lane.send(batch(&settings, id, id, &["m"])).await;
    }
    let (mut first, mut second) = (Peer::accept(&listener).await, Peer::accept(&listener).await);
    first.request().await;
    second.request().await;
    let third = timeout(Duration::ZERO, listener.accept()).await;
    assert!(third.is_err(), "two at a time");
    second.reply("200 OK", "", ONE_STORED).await;
    assert_eq!(lane.answer().await.1, Answer::Delivered);
    second.request().await;
    second.reply("200 OK", "", ONE_STORED).await;
    assert_eq!(
        lane.answer().await,
        (3, Answer::Delivered),
        "on the same connection"
    );
    first.reply("200 OK", "", ONE_STORED).await;
    assert_eq!(lane.answer().await.1, Answer::Delivered);
}

#[tokio::test]
async fn a_request_says_what_it_is_and_who_we_are() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let (listener, settings) = server().await;
    let basic = ElasticSettings {
        username: Some("alice".to_owned()),
        password_file: Some(secret.clone()),
        ..settings.clone()
    };
    let key = ElasticSettings {
        api_key_file: Some(secret.clone()),
        compression: Compression::Gzip,
        ..settings.clone()
    };
    let token = ElasticSettings {
        token_file: Some(secret.clone()),
        ..settings
    };
    for (settings, authorization) in [
        (basic, "authorization: Basic YWxpY2U6czNjcmV0"),
        (key, "authorization: ApiKey s3cret"),
        (token, "authorization: Bearer s3cret"),
    ] {
        let mut lane = Lane::start(settings.clone());
        let sent = batch(&settings, 1, 0, &["m"]);
        lane.send(sent.clone()).await;
        let mut peer = Peer::accept(&listener).await;
        let request = peer.request().await;
        let path = "POST /_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason HTTP/1.1";
        assert_eq!(request.head.lines().next(), Some(path));
        assert!(
            request.head.lines().any(|line| line == authorization),
            "{}",
            request.head
        );
        assert!(request.head.contains("content-type: application/x-ndjson"));
        let body = if request.head.contains("content-encoding: gzip") {
            let mut decoder = flate2::write::GzDecoder::new(Vec::new());
            decoder.write_all(&request.body).unwrap();
            decoder.finish().unwrap()
        } else {
            request.body
        };
        assert_eq!(body, sent.bytes);
        peer.reply("200 OK", "", ONE_STORED).await;
        assert_eq!(lane.answer().await, (1, Answer::Delivered));
    }
    std::fs::remove_file(&secret).unwrap();
}

#[tokio::test]
async fn a_closing_lane_waits_for_what_is_in_flight_and_a_stop_does_not() {
    let (listener, settings) = server().await;
    let lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    let closing = tokio::spawn(lane.close());
    peer.reply("200 OK", "", ONE_STORED).await;
    let rest = timeout(PATIENCE, closing).await.unwrap().unwrap();
    assert_eq!(rest, [(BatchId(1), Answer::Delivered)]);

    let lane = Lane::start(settings.clone());
    lane.send(batch(&settings, 1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.request().await;
    lane.stop.cancel();
    assert!(lane.close().await.is_empty());
}
