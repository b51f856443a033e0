//! Servers that somebody else wrote, installed by `cargo xtask peers`, each on free ports of the
//! loopback address and ended with its value.
//!
//! A peer that is not installed answers `None` and says so, and fails the test where `CI=true`.
//! Nothing here waits longer than [`START_BOUND`]; a peer that does not come up ends the test with
//! what it wrote last.
//!
//! ```no_run
//! let folder = std::path::Path::new("run");
//! let Some(jaeger) = testkit::peers::Jaeger::start(folder) else { return };
//! // … send spans to jaeger.otlp …
//! assert!(jaeger.ask("/api/services")["data"].is_array());
//! ```

mod collector;
mod jaeger;
mod kubernetes;
mod node;
mod process;
mod prometheus;
mod schemas;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::collector::Collector;
pub use self::jaeger::Jaeger;
pub use self::kubernetes::{Answer, Authority, Identity, Kubernetes, Said};
pub use self::node::{Node, is_true};
pub use self::process::{Process, START_BOUND};
pub use self::prometheus::{Prometheus, Target, check_metrics, check_rules};
pub use self::schemas::{Mistake, check_schemas};

/// How long one answer may take.
const ASK_BOUND: Duration = Duration::from_secs(20);
/// Ports that are given to no client.
const PORTS: Range<u16> = 10_000..32_000;
/// How long [`until`] lets pass between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// The installed program of a peer: `EMCO_PEERS_DIR` or the workspace's own folder.
fn installed(peer: &str) -> Option<PathBuf> {
    installed_in(peer, peer)
}

/// One of the programs that are installed for a peer.
fn installed_in(peer: &str, program: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("EMCO_PEERS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/peers"),
        PathBuf::from,
    );
    let program = folder.join(peer).join(program);
    found(program.is_file().then_some(program), peer)
}

/// A program of the system.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    found(candidates.find(|candidate| candidate.is_file()), program)
}

#[expect(
    clippy::print_stderr,
    reason = "a test says what it leaves out where whoever runs it looks"
)]
fn found(program: Option<PathBuf>, peer: &str) -> Option<PathBuf> {
    if program.is_none() {
        let missing = format!("{peer} is missing: run `cargo xtask peers {peer}`");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}");
        eprintln!("SKIPPED, NOT TESTED: {missing}");
    }
    program
}

/// So many free ports, which this process gets only once: below the range from which the kernel gives
/// ports to clients, so that nobody takes one while the program that listens on it is away.
///
/// # Panics
/// If there are none.
#[expect(
    clippy::expect_used,
    reason = "a test without a port has nothing to say"
)]
pub fn free_ports<const N: usize>() -> [SocketAddr; N] {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    let candidate = || {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + place));
        TcpListener::bind(address).is_ok().then_some(address)
    };
    [(); N].map(|()| {
        let mut free = PORTS.filter_map(|_| candidate());
        free.next().expect("a free port")
    })
}

/// What `ask` answers as soon as it has an answer.
///
/// # Panics
/// With `what` was waited for, if there is no answer within `bound`.
pub fn until<T>(what: &str, bound: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + bound;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// The body that `path` at `address` answers with, whatever its status; `None` if there is no answer
/// or the status is not 200.
pub fn get(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let (status, body) = exchange(address, path).ok()?;
    (status == 200).then_some(body)
}

/// The JSON that `path` at `address` answers with; null if there is none.
fn get_json(address: SocketAddr, path: &str) -> Value {
    get(address, path)
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default()
}

fn exchange(address: SocketAddr, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, ASK_BOUND)?;
    stream.set_read_timeout(Some(ASK_BOUND))?;
    // HTTP/1.0: the answer ends with the connection and has no chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut stream = BufReader::new(stream.take(ANSWER_BYTES_MAX));
    let mut answer = Vec::new();
    let mut length = None;
    while !answer.ends_with(b"\r\n\r\n") {
        let begin = answer.len();
        if stream.read_until(b'\n', &mut answer)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = answer.get(begin..).unwrap_or_default().to_ascii_lowercase();
        let value = line.strip_prefix(b"content-length:");
        let value = value.and_then(|value| std::str::from_utf8(value).ok());
        length = length.or_else(|| value?.trim().parse().ok());
    }
    // What lies between, such as `kubectl port-forward`, may be slow to end the connection.
    match length {
        Some(length) => stream.take(length).read_to_end(&mut answer)?,
        None => stream.read_to_end(&mut answer)?,
    };
    split_answer(answer)
}

/// Status and body of a whole answer.
fn split_answer(mut answer: Vec<u8>) -> std::io::Result<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let body = answer.split_off(end + 4);
    let status = answer
        .get(9..12)
        .and_then(|status| std::str::from_utf8(status).ok());
    let status = status.and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body))
}

/// `text` as a part of an address.
pub fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let bytes = text.bytes().map(|byte| match byte {
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests;
