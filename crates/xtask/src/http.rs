//! A plain GET, enough to ask our own programs for their pages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

/// Largest answer that is read, in bytes: the receipts of a whole run fit.
const BYTES_MAX: u64 = 2 << 30;

/// Returns the body of `path` at `address`.
///
/// # Errors
/// If nobody answers within `bound` (for each read) or the status is not 200.
pub(crate) fn get(address: SocketAddr, path: &str, bound: Duration) -> Result<Vec<u8>> {
    let answer =
        exchange(address, path, bound).with_context(|| format!("GET http://{address}{path}"))?;
    body(&answer).with_context(|| format!("GET http://{address}{path}"))
}

/// Returns the body of `path` at `address` as text.
pub(crate) fn get_text(address: SocketAddr, path: &str, bound: Duration) -> Result<String> {
    Ok(String::from_utf8_lossy(&get(address, path, bound)?).into_owned())
}

fn exchange(address: SocketAddr, path: &str, bound: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, bound)?;
    stream.set_read_timeout(Some(bound))?;
    stream.set_write_timeout(Some(bound))?;
    // HTTP/1.0: the answer ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn body(answer: &[u8]) -> Result<Vec<u8>> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer has no end of headers")?;
    let (head, rest) = answer.split_at(end);
    let head = String::from_utf8_lossy(head);
    let status = head.split_whitespace().nth(1).unwrap_or("nothing");
    let body = rest.get(4..).unwrap_or_default();
    if status != "200" {
        let shown: String = String::from_utf8_lossy(body).chars().take(200).collect();
        bail!("the answer is {status}: {shown}");
    }
    let header = |wanted: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        field.map(|(_, value)| value.trim())
    };
    // Not every server knows that HTTP/1.0 has no chunks.
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return joined(body);
    }
    match header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length != body.len() => {
            bail!("the answer is cut: {} of {length} bytes", body.len())
        }
        _ => Ok(body.to_vec()),
    }
}

/// A body without its chunks' frames.
fn joined(mut rest: &[u8]) -> Result<Vec<u8>> {
    let cut = || anyhow!("the answer is cut between chunks");
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n");
        let (line, after) = rest
            .split_at_checked(end.ok_or_else(cut)?)
            .ok_or_else(cut)?;
        let size = String::from_utf8_lossy(line);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context("a chunk has no size")?;
        if size == 0 {
            return Ok(body);
        }
        let after = after.get(2..).ok_or_else(cut)?;
        let (chunk, after) = after.split_at_checked(size).ok_or_else(cut)?;
        body.extend_from_slice(chunk);
        rest = after.get(2..).ok_or_else(cut)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered(answer: &'static str) -> Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let body = get(address, "/metrics", Duration::from_secs(5));
        assert!(
            server
                .join()
                .unwrap()
                .starts_with("GET /metrics HTTP/1.0\r\n")
        );
        body
    }

    #[test]
    fn the_body_of_a_good_answer_is_returned() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answered(answer).unwrap(), b"abc");
        let chunked = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n";
        assert_eq!(answered(chunked).unwrap(), b"abc");
    }

    #[test]
    fn cut_and_failed_answers_are_errors() {
        for (answer, expected) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                "3 of 9 bytes",
            ),
            ("HTTP/1.1 503 Away\r\n\r\nbusy", "503: busy"),
            ("HTTP/1.1 200", "no end of headers"),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
                "cut between chunks",
            ),
        ] {
            let error = format!("{:#}", answered(answer).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
