//! The plainest HTTP client: one request a connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Gets a page; `None` while nobody answers.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    get_as(address, path, "*/*").await
}

/// Gets a page in the form that `accept` asks for; `None` while nobody answers.
pub(crate) async fn get_as(address: SocketAddr, path: &str, accept: &str) -> Option<(u16, String)> {
    ask(address, "GET", path, accept, b"").await
}

/// Posts a JSON body and answers status and text; `None` if the peer cannot be reached or breaks off.
pub(crate) async fn post(address: SocketAddr, path: &str, body: &[u8]) -> Option<(u16, String)> {
    ask(address, "POST", path, "*/*", body).await
}

async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    accept: &str,
    body: &[u8],
) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Accept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body).await.ok()?;
        let mut answer = Vec::new();
        let mut answers = stream.take(ANSWER_BYTES_MAX);
        answers.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    timeout(PATIENCE, exchange).await.ok()?
}
