//! A receiver of OTLP over HTTP that counts spans and takes all of them.
//!
//! Of the protobuf it looks only at what holds spans: field 1 of a request is a resource with its
//! spans, field 2 of that a scope with its spans, field 2 of that a span.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

const BODY_BYTES_MAX: usize = 64 << 20;
/// Where spans are: the fields on the way to them.
const PATH: [u64; 3] = [1, 2, 2];

/// A running receiver; it ends with the program.
#[derive(Debug)]
pub(super) struct Collector {
    address: SocketAddr,
    spans: Arc<AtomicU64>,
}

impl Collector {
    /// Listens on a free port.
    pub(super) fn start() -> Result<Self> {
        let doing = "listen for the sidecar";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(doing)?;
        let address = listener.local_addr().context(doing)?;
        let spans = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let counter = Arc::clone(&counter);
                // A connection that breaks is the sidecar's to open again.
                std::thread::spawn(move || drop(serve(stream, &counter)));
            }
        });
        Ok(Self { address, spans })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many spans have come.
    pub(super) fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, counter: &AtomicU64) -> Result<()> {
    stream.set_nodelay(true).context("set up the connection")?;
    let mut answers = stream.try_clone().context("share the connection")?;
    let mut requests = BufReader::with_capacity(1 << 18, stream);
    let mut body = Vec::new();
    while let Some(length) = head(&mut requests)? {
        ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
        body.resize(length, 0);
        requests.read_exact(&mut body).context("read a body")?;
        let spans = spans(&body, &PATH).context("a request is no protobuf")?;
        counter.fetch_add(spans, Ordering::Relaxed);
        answers
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .context("answer")?;
    }
    Ok(())
}

/// Reads the head of a request; answers how long its body is, nothing at the end.
fn head(requests: &mut impl BufRead) -> Result<Option<usize>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if requests.read_line(&mut line).context("read a request")? == 0 {
            return Ok(None);
        }
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            return Ok(Some(length));
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().context("read a request")?;
        }
    }
}

/// Counts the messages at the end of `path`; `None` for what is no protobuf.
fn spans(mut message: &[u8], path: &[u64]) -> Option<u64> {
    let Some((wanted, rest)) = path.split_first() else {
        return Some(1);
    };
    let mut count = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let skipped = match key & 7 {
            0 => {
                varint(&mut message)?;
                0
            }
            1 => 8,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                if key >> 3 == *wanted {
                    count += spans(message.get(..length)?, rest)?;
                }
                length
            }
            5 => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(count)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with a resource, a scope and three spans of which one is empty.
    const REQUEST: &[u8] =
        b"\x0a\x11\x0a\x02\x08\x01\x12\x0b\x0a\x01x\x12\x02\x08\x05\x12\x00\x12\x00";

    #[test]
    fn spans_are_counted_and_answered() {
        let collector = Collector::start().unwrap();
        let mut stream = TcpStream::connect(collector.address()).unwrap();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\ncontent-length: {}\r\n\r\n",
            REQUEST.len()
        );
        for _ in 0..2 {
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(REQUEST).unwrap();
        }
        let mut answers = [0; 2 * 38];
        stream.read_exact(&mut answers).unwrap();
        assert!(answers.ends_with(b"\r\n\r\n"));
        assert_eq!(collector.spans(), 6);
    }

    #[test]
    fn what_is_no_protobuf_is_not_counted() {
        for bytes in [&b"\x0a\x05x"[..], b"\xff", b"\x0f", &[0xff; 11]] {
            assert_eq!(spans(bytes, &PATH), None, "{bytes:?}");
        }
        assert_eq!(spans(b"", &PATH), Some(0));
    }
}
