//! A running lab, and just enough of its peers' protocols.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rmp::encode as mp;
use serde_json::Value;

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lab of its own, killed when it is dropped.
pub(crate) struct Lab {
    process: Child,
    pub(crate) http: String,
    pub(crate) forward: String,
    /// Where sidecars of other machines send to, if anywhere.
    pub(crate) ingest: Option<String>,
}

/// An answer over HTTP.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Lab {
    /// Starts a lab on `data` and waits until it serves.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, arguments)
    }

    /// The same at another address.
    pub(crate) fn start_at(http: &str, data: &Path, arguments: &[&str]) -> Self {
        let ports = data.join("ports.json");
        let mut process = Command::new(env!("CARGO_BIN_EXE_emco-lab"))
            .args(["serve", "--listen-http", http])
            .args(["--listen-forward", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--port-file")
            .arg(&ports)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"serving\"") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended at once");
        }
        // Whoever stops reading a pipe stops its writer.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let ports: Value = serde_json::from_slice(&std::fs::read(ports).unwrap()).unwrap();
        Self {
            process,
            http: ports["http"].as_str().unwrap().to_owned(),
            forward: ports["forward"].as_str().unwrap().to_owned(),
            ingest: ports["ingest"].as_str().map(str::to_owned),
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
        let end = end.expect("a whole head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let mut body = answer[end + 4..].to_vec();
        if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            body = unchunk(&body);
        }
        Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "", b"")
    }

    pub(crate) fn page(&self, path: &str) -> Reply {
        self.request("GET", path, "accept: text/html\r\n", b"")
    }

    pub(crate) fn bulk(&self, lines: &str) -> Reply {
        self.request("POST", "/_bulk", "", lines.as_bytes())
    }

    pub(crate) fn receipts(&self, parameters: &str) -> Vec<Value> {
        let reply = self.get(&format!("/api/v1/receipts?{parameters}"));
        assert_eq!(reply.status, 200);
        let lines = reply.body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    pub(crate) fn metric(&self, line: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let value = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.forward).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// As a crash does it.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// As an operator does it; answers whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap().success()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) fn id(number: usize) -> String {
    format!("{number:032x}-{number:x}")
}

/// A `PackedForward` message of one line for each number, that asks to be acknowledged as `chunk`.
pub(crate) fn packed(numbers: std::ops::Range<usize>, chunk: &str) -> Vec<u8> {
    let mut entries = Vec::new();
    for number in numbers {
        mp::write_array_len(&mut entries, 2).unwrap();
        mp::write_uint(&mut entries, 1_795_406_977).unwrap();
        mp::write_map_len(&mut entries, 3).unwrap();
        for (key, value) in [
            ("@timestamp", "2026-11-23T04:09:37.5Z".to_owned()),
            ("event.id", id(number)),
            ("message", format!("line {number}")),
        ] {
            mp::write_str(&mut entries, key).unwrap();
            mp::write_str(&mut entries, &value).unwrap();
        }
    }
    let mut message = Vec::new();
    mp::write_array_len(&mut message, 3).unwrap();
    mp::write_str(&mut message, "emco.test").unwrap();
    mp::write_bin(&mut message, &entries).unwrap();
    mp::write_map_len(&mut message, 1).unwrap();
    mp::write_str(&mut message, "chunk").unwrap();
    mp::write_str(&mut message, chunk).unwrap();
    message
}

/// Reads the acknowledgement of a chunk whose name has three characters.
pub(crate) fn read_ack(stream: &mut TcpStream) -> String {
    let mut ack = [0; 9];
    stream.read_exact(&mut ack).unwrap();
    assert_eq!(&ack[..6], b"\x81\xa3ack\xa3");
    String::from_utf8(ack[6..].to_vec()).unwrap()
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|part| part == b"\r\n").unwrap();
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}
