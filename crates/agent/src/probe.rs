//! Asking a sidecar whether it is alive.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::units::Time;

/// Longest answer that is read.
const BYTES_MAX: u64 = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(2);
/// A hook holds its container's start up.
const WAIT_MAX: Time = Time::minutes(1);
/// Pause between two questions.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Asks once.
pub(crate) fn ask(address: &str) -> Result<String> {
    ask_within(address, TIMEOUT)
}

/// Asks until there is an answer or the time is over.
pub(crate) fn wait(address: &str, time: &str) -> Result<String> {
    let time = Time::parse(time)
        .with_context(|| format!("{time:?} is no time such as 2s or 500ms"))?
        .min(WAIT_MAX);
    let end = Instant::now() + *time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // a socket takes no time limit of nothing
        let answer = ask_within(address, left.max(ASK_EVERY));
        if answer.is_ok() || Instant::now() + ASK_EVERY >= end {
            return answer;
        }
        std::thread::park_timeout(ASK_EVERY);
    }
}

fn ask_within(address: &str, limit: Duration) -> Result<String> {
    let context = || format!("cannot ask {address} for its health; is the sidecar running there?");
    let socket: SocketAddr = address
        .parse()
        .with_context(|| format!("{address} is no socket address"))?;
    let mut stream = TcpStream::connect_timeout(&socket, limit).with_context(context)?;
    stream.set_read_timeout(Some(limit)).with_context(context)?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(context)?;
    let mut answer = String::new();
    stream
        .take(BYTES_MAX)
        .read_to_string(&mut answer)
        .with_context(context)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("{address} does not answer like a sidecar"),
    }
}
