//! Recorded bodies of spans, repeated, as evidence only.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;

use super::sink::Sink;
use super::statistics::{Samples, from_count};
use super::subject::{Bench, Peers, SERVICE};
use crate::proc;

const BODIES_BYTES_MAX: u64 = 256 << 20;
const TRACE: &[u8] = b"\"traceId\":\"";
const READ: &[u8] = b"\"name\":\"etcdserverpb.kv/range\"";
const TIME: &[u8] = b"\"timestamp\":";
/// Digits of a time in microseconds, from 2001 to 2286.
const TIME_DIGITS: usize = 16;
const ANSWER_BOUND: Duration = Duration::from_secs(20);

/// Spans per second of CPU time.
pub(super) fn measure(bench: &Bench<'_>, runs: u32, spans: u64) -> Result<Samples> {
    let mut bodies = bodies(bench.corpus)?;
    let sink = Sink::start()?;
    (0..runs)
        .map(|run| {
            let folder = bench.folder(&format!("spans-{run}"))?;
            let (pod, _) = Bench::pod(&folder)?;
            let mut sidecar = bench.start(&folder, &pod, Peers::only(&sink))?;
            let pid = sidecar.id()?;
            let mut sender = Sender::new(sidecar.settings().spans)?;
            sender.send(&mut bodies, spans)?;
            let seconds = proc::cpu_seconds(pid).context("read the CPU time of the sidecar")?;
            sidecar.stop()?;
            std::fs::remove_dir_all(&folder).context("remove the files of a run")?;
            Ok(from_count(sender.sent()) / seconds)
        })
        .collect()
}

/// The bodies that the service's own exporter sent.
pub(super) fn bodies(corpus: &Path) -> Result<Vec<Body>> {
    let folder = corpus.join("spans");
    let bundle = format!("{SERVICE}.emco.bodies.gz");
    let mut all = Vec::new();
    gunzip(&folder.join(&bundle))?
        .take(BODIES_BYTES_MAX)
        .read_to_end(&mut all)
        .context("read the recorded spans")?;
    let mut bodies = Vec::new();
    for line in BufReader::new(gunzip(&folder.join("headers.jsonl.gz"))?).lines() {
        let line = line.context("read the headers of the recorded spans")?;
        let header: Header = serde_json::from_str(&line).context("understand a recorded header")?;
        if header.bundle == bundle {
            let end = header.offset + header.length;
            let body = all.get(header.offset..end);
            let body = body.context("a recorded body is not there")?;
            bodies.push(Body::read(body.to_vec())?);
        }
    }
    ensure!(!bodies.is_empty(), "{} holds no spans", folder.display());
    Ok(bodies)
}

#[derive(Debug, serde::Deserialize)]
struct Header {
    bundle: String,
    offset: usize,
    length: usize,
}

fn gunzip(path: &Path) -> Result<MultiGzDecoder<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(MultiGzDecoder::new(BufReader::new(file)))
}

/// Sends bodies over one connection.
pub(super) struct Sender {
    address: SocketAddr,
    requests: TcpStream,
    answers: BufReader<TcpStream>,
    /// How often all bodies were sent, and how many of the next round.
    round: u16,
    next: usize,
    sent: u64,
    sent_bytes: u64,
}

impl Sender {
    /// Connects.
    pub(super) fn new(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connect to the sidecar")?;
        stream.set_nodelay(true).context("set up the connection")?;
        stream
            .set_read_timeout(Some(ANSWER_BOUND))
            .context("set up the connection")?;
        Ok(Self {
            address,
            answers: BufReader::new(stream.try_clone().context("share the connection")?),
            requests: stream,
            round: 0,
            next: 0,
            sent: 0,
            sent_bytes: 0,
        })
    }

    /// How many spans were sent.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// How many bytes their bodies had.
    pub(super) const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Sends bodies with new ids and times of now until there were `spans` in all.
    pub(super) fn send(&mut self, bodies: &mut [Body], spans: u64) -> Result<()> {
        while self.sent < spans {
            let Some(body) = bodies.get_mut(self.next) else {
                ensure!(self.next > 0, "there are no bodies");
                self.next = 0;
                let next = self.round.checked_add(1);
                self.round = next.context("the recorded spans are too few to be repeated")?;
                continue;
            };
            self.next += 1;
            body.renew(self.round, now_micros())?;
            self.sent += body.spans();
            self.sent_bytes += body.bytes.len() as u64;
            let head = format!(
                "POST /api/v2/spans HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n",
                self.address,
                body.bytes.len()
            );
            self.requests
                .write_all(head.as_bytes())
                .and_then(|()| self.requests.write_all(&body.bytes))
                .context("send spans")?;
            accepted(&mut self.answers)?;
        }
        Ok(())
    }
}

/// Reads one answer without a body.
fn accepted(answers: &mut impl BufRead) -> Result<()> {
    let mut status = String::new();
    answers
        .read_line(&mut status)
        .context("wait for an answer")?;
    ensure!(status.contains(" 202 "), "the sidecar answers {status:?}");
    let mut line = String::new();
    let mut length = 0;
    loop {
        line.clear();
        answers.read_line(&mut line).context("read an answer")?;
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().context("read an answer")?;
        }
    }
    std::io::copy(&mut answers.take(length), &mut std::io::sink()).context("read an answer")?;
    Ok(())
}

/// A recorded body that can be sent again and again.
#[derive(Clone, Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// Where the trace id of each span begins.
    traces: Vec<usize>,
    /// Where each time begins, and what it was.
    times: Vec<(usize, u64)>,
    /// Spans that are reads from etcd.
    noise: u64,
}

impl Body {
    /// Notes where what is renewed stands.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self> {
        let traces = positions(&bytes, TRACE);
        let mut times = Vec::new();
        for at in positions(&bytes, TIME) {
            let digits = bytes.get(at..at + TIME_DIGITS).context("a time is cut")?;
            let digits = std::str::from_utf8(digits).context("a time is no number")?;
            times.push((at, digits.parse().context("a time is no number")?));
        }
        Ok(Self {
            noise: positions(&bytes, READ).len() as u64,
            bytes,
            traces,
            times,
        })
    }

    /// The spans of `bodies`, again and again, in one body of `length` bytes or a little more.
    pub(super) fn joined(bodies: &[Self], length: usize) -> Result<Self> {
        let mut all = b"[".to_vec();
        for body in bodies.iter().cycle().take_while(|_| !bodies.is_empty()) {
            let spans = body.bytes.trim_ascii();
            let spans = spans
                .strip_prefix(b"[")
                .and_then(|spans| spans.strip_suffix(b"]"));
            all.extend_from_slice(spans.context("a recorded body is no list")?);
            if all.len() >= length {
                break;
            }
            all.push(b',');
        }
        all.push(b']');
        Self::read(all)
    }

    /// How many spans it holds.
    pub(super) fn spans(&self) -> u64 {
        self.traces.len() as u64
    }

    /// How many of them are reads from etcd.
    pub(super) const fn noise(&self) -> u64 {
        self.noise
    }

    /// Gives the spans trace ids of their own and moves them so that the last begins at `now`.
    fn renew(&mut self, round: u16, now: u64) -> Result<()> {
        let mark = format!("{round:04x}");
        for at in &self.traces {
            let digits = self.bytes.get_mut(*at..at + mark.len());
            digits
                .context("a trace id is cut")?
                .copy_from_slice(mark.as_bytes());
        }
        let newest = self.times.iter().map(|(_, time)| *time).max();
        let shift = now.saturating_sub(newest.unwrap_or(now));
        for (at, time) in &self.times {
            let text = format!("{:016}", time + shift);
            let digits = self.bytes.get_mut(*at..at + TIME_DIGITS);
            digits
                .context("a time is cut")?
                .copy_from_slice(text.as_bytes());
        }
        Ok(())
    }
}

/// Where what follows each `key` begins.
fn positions(body: &[u8], key: &[u8]) -> Vec<usize> {
    body.windows(key.len())
        .enumerate()
        .filter(|(_, window)| *window == key)
        .map(|(at, _)| at + key.len())
        .collect()
}

fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_renewed_in_place() {
        let recorded = br#"[{"traceId":"aaaabbbb","timestamp":1795406976147291},{"traceId":"ccccdddd","timestamp":1795406976147300}]"#;
        let mut body = Body::read(recorded.to_vec()).unwrap();
        body.renew(7, 1_795_400_000_000_000).unwrap();
        body.renew(0x1f, 1_795_500_000_000_000).unwrap();
        let expected = r#"[{"traceId":"001fbbbb","timestamp":1795499999999991},{"traceId":"001fdddd","timestamp":1795500000000000}]"#;
        assert_eq!(body.spans(), 2);
        assert_eq!(String::from_utf8(body.bytes).unwrap(), expected);
    }

    #[test]
    fn joined_bodies_are_one_list() {
        let one = Body::read(br#"[{"traceId":"aaaabbbb","timestamp":1795406976147291}]"#.to_vec())
            .unwrap();
        let joined = Body::joined(&[one], 120).unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&joined.bytes).unwrap();
        assert_eq!(list.len() as u64, joined.spans());
        assert_eq!(joined.spans(), 3);
    }

    #[test]
    fn answers_are_read_to_their_end() {
        let mut answers =
            &b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 503 Busy\r\n\r\n"[..];
        accepted(&mut answers).unwrap();
        assert!(accepted(&mut answers).is_err());
    }
}
