//! A body of 30 MiB through the real server adds at most 2 MiB to the process. Alone in its binary,
//! so that nothing else moves the high-water mark.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use in_spans::{Journal, JournalError, Metrics, Receiver, Settings, SpanSink};
use model::evidence::SpanFacts;
use model::time::UnixNanos;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const BODY_BYTES: usize = 30 << 20;

#[derive(Default)]
struct Counts {
    spans: u64,
    kept_bytes: usize,
}

struct Sink(Arc<Mutex<Counts>>);

impl Journal for Sink {
    fn append(&mut self, _: u8, _: UnixNanos, payload: &[u8]) -> Result<(), JournalError> {
        self.0.lock().unwrap().kept_bytes += payload.len();
        Ok(())
    }
}

impl SpanSink for Sink {
    fn span(&mut self, _: &SpanFacts<'_>) {
        self.0.lock().unwrap().spans += 1;
    }
}

/// The most memory that was resident since the last reset, in bytes.
fn high_water() -> u64 {
    let status = std::fs::read("/proc/self/status").unwrap();
    let status = String::from_utf8(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.unwrap().trim().parse::<u64>().unwrap() << 10
}

/// About 64 KiB of spans, each followed by a comma.
fn spans() -> Vec<u8> {
    let span = |number: u64| {
        format!(
            r#"{{"timestamp":1795395032340544,"duration":505,"traceId":"463ac35c9f6413ad{number:016x}","id":"{number:016x}","name":"etcdserverpb.kv/range","kind":"CLIENT","localEndpoint":{{"serviceName":"rsync.emco"}},"tags":{{"db.statement":"{{\"find\":\"{}\"}}"}}}},"#,
            "x".repeat(500)
        )
    };
    (1..=80).map(span).collect::<String>().into_bytes()
}

#[tokio::test]
async fn a_body_of_30_mib_adds_at_most_2_mib() {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Settings::default()
    };
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let meter = telemetry::cpu::Meter::new(&registry).unwrap();
    let receiver = Receiver::bind(settings, metrics).await.unwrap();
    let address = receiver.local_addr().unwrap();
    let sink = Arc::new(Mutex::new(Sink(Arc::clone(&counts))));
    let stop = CancellationToken::new();
    tokio::spawn(receiver.serve(Sink(Arc::clone(&counts)), sink, meter, stop.clone()));

    let mut stream = TcpStream::connect(address).await.unwrap();
    let (spans, last) = (spans(), br#"{"traceId":"1","id":"1"}]"#);
    let repeats = BODY_BYTES / spans.len() + 1;
    let length = 1 + repeats * spans.len() + last.len();
    let head = format!(
        "POST /api/v2/spans HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n["
    );
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = high_water();
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..repeats {
        stream.write_all(&spans).await.unwrap();
    }
    stream.write_all(last).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let added = high_water() - before;
    println!("{added} bytes added");

    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let counts = counts.lock().unwrap();
    assert_eq!(counts.spans, 80 * repeats as u64 + 1);
    assert!(counts.kept_bytes > BODY_BYTES);
    assert!(added <= 2 << 20, "{added} bytes were added");
    stop.cancel();
}
