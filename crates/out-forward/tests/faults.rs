//! What the output does when a receiver hangs, lies, or goes away: scripted receivers on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]

mod common;

use std::io::Write;

use common::{Lane, PATIENCE, batch};
use net::Endpoint;
use out_forward::{Compression, ForwardSettings};
use pipeline::output::{Answer, BatchId, ItemOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A message as the receiver sees it.
struct Message {
    entries: Vec<u8>,
    chunk: String,
    size: u64,
    compressed: bool,
}

/// A connection at the receiver's side.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    async fn value(&mut self) -> rmpv::Value {
        loop {
            let mut rest = self.buffer.as_slice();
            if let Ok(value) = rmpv::decode::read_value(&mut rest) {
                self.buffer = rest.to_vec();
                return value;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "the sender closed early");
        }
    }

    async fn message(&mut self) -> Message {
        let value = self.value().await;
        assert_eq!(value[0].as_str(), Some("emco.logs"));
        Message {
            entries: value[1].as_slice().unwrap().to_vec(),
            chunk: value[2]["chunk"].as_str().unwrap().to_owned(),
            size: value[2]["size"].as_u64().unwrap(),
            compressed: value[2]["compressed"].as_str() == Some("gzip"),
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Answers PING with a PONG of this digest.
    async fn shake(&mut self, digest: impl Fn(&rmpv::Value) -> String) {
        self.say(b"\x92\xa4HELO\x82\xa5nonce\xc4\x02\xff\x01\xa4auth\xc4\x01\x09")
            .await;
        let ping = self.value().await;
        assert_eq!(ping[0].as_str(), Some("PING"));
        let mut pong = b"\x95\xa4PONG\xc3\xa0\xa4peer\xd9\x80".to_vec();
        pong.extend_from_slice(digest(&ping).as_bytes());
        self.say(&pong).await;
    }

    /// Waits until the sender gives the connection up.
    async fn closed(&mut self) {
        let mut scratch = [0; 4096];
        let gone = async {
            while matches!(self.stream.read(&mut scratch).await, Ok(length) if length > 0) {}
        };
        timeout(PATIENCE, gone).await.expect("the sender hangs up");
    }
}

fn ack(chunk: &str) -> Vec<u8> {
    let mut bytes = b"\x81\xa3ack\xb8".to_vec();
    assert_eq!(chunk.len(), 24);
    bytes.extend_from_slice(chunk.as_bytes());
    bytes
}

async fn receiver() -> (TcpListener, ForwardSettings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    let settings = ForwardSettings {
        ack_timeout_seconds: 1,
        connect_timeout_seconds: 1,
        ..ForwardSettings::new(endpoint)
    };
    (listener, settings)
}

fn with_key(settings: ForwardSettings) -> (tempfile::TempDir, ForwardSettings) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "hunter2\n").unwrap();
    let settings = ForwardSettings {
        shared_key_file: Some(path),
        ..settings
    };
    (folder, settings)
}

/// After a fault with reason `label`, the same batch sent again is delivered on a new connection.
async fn recovers(mut lane: Lane, listener: &TcpListener, label: &'static str) {
    let retry = Answer::Retry { after: None, label };
    assert_eq!(lane.answer().await, (1, retry));
    lane.send(batch(2, 0, &["again"])).await;
    let mut peer = Peer::accept(listener).await;
    let message = peer.message().await;
    peer.say(&ack(&message.chunk)).await;
    assert_eq!(lane.answer().await, (2, Answer::Delivered));
    assert!(
        (lane.failures(label) - 1.0).abs() < 0.1,
        "counted once as {label}"
    );
    assert!(lane.close().await.is_empty());
}

#[tokio::test]
async fn chunks_are_in_flight_together_and_acknowledged_in_any_order_and_pieces() {
    let (listener, settings) = receiver().await;
    let mut lane = Lane::start(settings);
    for id in 0..4 {
        lane.send(batch(id, id * 10, &["one", "two"])).await;
    }
    let mut peer = Peer::accept(&listener).await;
    let mut chunks = Vec::new();
    for id in 0..4_u64 {
        let message = peer.message().await;
        assert_eq!(message.size, 2);
        assert_eq!(message.entries, batch(id, id * 10, &["one", "two"]).bytes);
        chunks.push(message.chunk);
    }
    for chunk in chunks.iter().rev() {
        for piece in ack(chunk).chunks(7) {
            peer.say(piece).await;
        }
    }
    for id in (0..4).rev() {
        assert_eq!(lane.answer().await, (id, Answer::Delivered));
    }
    chunks.dedup();
    assert_eq!(chunks.len(), 4, "every chunk has an id of its own");
    assert!(lane.close().await.is_empty());
}

#[tokio::test]
async fn a_receiver_that_never_answers() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.message().await;
    peer.closed().await;
    recovers(lane, &listener, "ack_timeout").await;
}

#[tokio::test]
async fn a_receiver_that_never_reads() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(ForwardSettings {
        chunk_bytes_max: 64 << 20,
        ..settings
    });
    let long = "x".repeat(32 << 20);
    lane.send(batch(1, 0, &[&long])).await;
    let peer = Peer::accept(&listener).await;
    recovers(lane, &listener, "ack_timeout").await;
    drop(peer);
}

#[tokio::test]
async fn a_receiver_that_closes_in_the_middle_of_an_acknowledgement() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    let chunk = peer.message().await.chunk;
    peer.say(&ack(&chunk)[..17]).await;
    drop(peer);
    recovers(lane, &listener, "closed_inside_answer").await;
}

#[tokio::test]
async fn a_receiver_that_closes_without_a_word() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.message().await;
    drop(peer);
    recovers(lane, &listener, "closed").await;
}

#[tokio::test]
async fn a_receiver_that_acknowledges_something_else() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.message().await;
    peer.say(&ack("AAAAAAAAAAAAAAAAAAAAAA==")).await;
    peer.closed().await;
    recovers(lane, &listener, "unknown_ack").await;
}

#[tokio::test]
async fn a_receiver_that_speaks_http() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.message().await;
    peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    peer.closed().await;
    recovers(lane, &listener, "garbage").await;
}

#[tokio::test]
async fn a_receiver_that_wants_a_key_we_do_not_have() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.say(b"\x92\xa4HELO\x80").await;
    peer.closed().await;
    recovers(lane, &listener, "security_expected").await;
}

#[tokio::test]
async fn a_receiver_that_wants_no_key_although_we_have_one() {
    let (listener, settings) = receiver().await;
    let (_folder, settings) = with_key(settings);
    let mut lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.closed().await;
    let retry = Answer::Retry {
        after: None,
        label: "no_helo",
    };
    assert_eq!(lane.answer().await, (1, retry));
}

#[tokio::test]
async fn a_receiver_that_accepts_our_key_without_knowing_it() {
    let (listener, settings) = receiver().await;
    let (_folder, settings) = with_key(settings);
    let mut lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.shake(|_| "0".repeat(128)).await;
    peer.closed().await;
    let retry = Answer::Retry {
        after: None,
        label: "wrong_digest",
    };
    assert_eq!(lane.answer().await, (1, retry));
    // The next attempt meets the right receiver.
    lane.send(batch(2, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.shake(|ping| {
        use sha2::{Digest, Sha512};
        let salt = ping[2].as_str().unwrap();
        let proof = Sha512::new()
            .chain_update(salt)
            .chain_update("peer")
            .chain_update([0xff, 1])
            .chain_update("hunter2");
        const_hex::encode(proof.finalize())
    })
    .await;
    let chunk = peer.message().await.chunk;
    peer.say(&ack(&chunk)).await;
    assert_eq!(lane.answer().await, (2, Answer::Delivered));
}

#[tokio::test]
async fn a_receiver_that_is_not_there() {
    let (listener, settings) = receiver().await;
    drop(listener);
    let mut lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let retry = Answer::Retry {
        after: None,
        label: "connect",
    };
    assert_eq!(lane.answer().await, (1, retry));
    assert!((lane.failures("connect") - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_secret_file_that_is_not_there() {
    let (_listener, settings) = receiver().await;
    let mut lane = Lane::start(ForwardSettings {
        shared_key_file: Some("/nonexistent/key".into()),
        ..settings
    });
    lane.send(batch(1, 0, &["m"])).await;
    let retry = Answer::Retry {
        after: None,
        label: "secret_file",
    };
    assert_eq!(lane.answer().await, (1, retry));
}

#[tokio::test]
async fn a_batch_above_the_cap_is_split_and_an_entry_above_it_refused() {
    let (listener, settings) = receiver().await;
    let mut lane = Lane::start(ForwardSettings {
        chunk_bytes_max: 1000,
        ..settings
    });
    let long = "x".repeat(1000);
    lane.send(batch(1, 0, &[&long, "m"])).await;
    assert_eq!(lane.answer().await, (1, Answer::TooLarge));
    lane.send(batch(2, 0, &[&long])).await;
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
    lane.send(batch(3, 0, &[])).await;
    assert_eq!(
        lane.answer().await,
        (3, Answer::Delivered),
        "nothing to send"
    );
    let connected = timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(connected.is_err(), "nothing was worth a connection");
}

#[tokio::test]
async fn compressed_messages_hold_the_same_entries() {
    let (listener, settings) = receiver().await;
    let mut lane = Lane::start(ForwardSettings {
        compression: Compression::Gzip,
        ..settings
    });
    let sent = batch(1, 0, &["one", "two", "three"]);
    lane.send(sent.clone()).await;
    let mut peer = Peer::accept(&listener).await;
    let message = peer.message().await;
    assert!(message.compressed);
    let mut plain = Vec::new();
    let mut decoder = flate2::write::GzDecoder::new(&mut plain);
    decoder.write_all(&message.entries).unwrap();
    decoder.finish().unwrap();
    assert_eq!(plain, sent.bytes);
    peer.say(&ack(&message.chunk)).await;
    assert_eq!(lane.answer().await, (1, Answer::Delivered));
}

#[tokio::test]
async fn a_closing_lane_waits_for_what_is_in_flight() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(settings);
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    let chunk = peer.message().await.chunk;
    let closing = tokio::spawn(lane.close());
    peer.say(&ack(&chunk)).await;
    let rest = timeout(PATIENCE, closing).await.unwrap().unwrap();
    assert_eq!(rest, [(BatchId(1), Answer::Delivered)]);
    peer.closed().await;
}

#[tokio::test]
async fn a_stop_leaves_what_is_in_flight_unanswered() {
    let (listener, settings) = receiver().await;
    let lane = Lane::start(ForwardSettings {
        ack_timeout_seconds: 60,
        ..settings
    });
    lane.send(batch(1, 0, &["m"])).await;
    let mut peer = Peer::accept(&listener).await;
    peer.message().await;
    lane.stop.cancel();
    assert!(lane.close().await.is_empty());
    peer.closed().await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let (listener, settings) = receiver().await;
    let mut lane = Lane::start(settings);
    for id in 1..4 {
        lane.send(batch(id, 0, &["m"])).await;
        let mut peer = Peer::accept(&listener).await;
        let chunk = peer.message().await.chunk;
        peer.say(&ack(&chunk)).await;
        assert_eq!(lane.answer().await, (id, Answer::Delivered));
        // Half-close, and wait until the sender has seen it and closed its side as well.
        peer.stream.shutdown().await.unwrap();
        peer.closed().await;
    }
    assert!((lane.failures("closed")).abs() < 0.1);
}
