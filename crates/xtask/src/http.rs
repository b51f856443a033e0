//! A plain GET, enough to ask our own programs for their pages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

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
    // HTTP/1.0: the answer ends with the connection and is never chunked.
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
    let promised = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    match promised {
        Some(length) if length != body.len() => {
            bail!("the answer is cut: {} of {length} bytes", body.len())
        }
        _ => Ok(body.to_vec()),
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
        ] {
            let error = format!("{:#}", answered(answer).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
