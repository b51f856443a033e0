//! Against a receiver that somebody else wrote: npm's `@fluent-org/logger`, installed by
//! `cargo xtask peers`. Without it these tests fail where `CI=true` and say so elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Lane, PATIENCE, batch};
use net::TlsSettings;
use out_forward::{Compression, ForwardSettings};
use pipeline::output::Answer;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Texts that a decoder may stumble over.
const MESSAGES: [&str; 4] = ["plain", "ünï\u{1f600}", "quote \" and \\ and \n", ""];

/// A running receiver; it ends with this value.
struct Receiver {
    port: u16,
    folder: tempfile::TempDir,
    _process: Child,
}

impl Receiver {
    /// `None` where the peer is not installed.
    async fn start(folder: tempfile::TempDir, options: &[String]) -> Option<Self> {
        let peer = peer("forward")?;
        let mut process = Command::new("node")
            .arg(peer.join("server.js"))
            .args([Path::new("0"), &folder.path().join("entries")])
            .args(options)
            .env("PEER_ENDS_WITH_INPUT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let port = line
            .strip_prefix("READY ")
            .expect("the receiver says its port");
        Some(Self {
            port: port.parse().unwrap(),
            folder,
            _process: process,
        })
    }

    fn settings(&self) -> ForwardSettings {
        ForwardSettings::new(format!("127.0.0.1:{}", self.port).parse().unwrap())
    }

    /// What the receiver decoded; it writes an entry before it acknowledges.
    fn entries(&self) -> Vec<serde_json::Value> {
        let mut text = String::new();
        File::open(self.folder.path().join("entries"))
            .and_then(|file| file.take(64 << 20).read_to_string(&mut text))
            .unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Where a peer is installed.
fn peer(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("EMCO_PEERS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/peers"),
        PathBuf::from,
    );
    let folder = folder.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let missing = format!("{} is missing: run `cargo xtask peers`", folder.display());
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}");
    eprintln!("SKIPPED, NOT TESTED: {missing}");
    None
}

/// Sends twenty batches and compares what the receiver decoded with what was sent.
async fn delivers(receiver: &Receiver, settings: ForwardSettings) {
    let mut lane = Lane::start(settings);
    for id in 0..20 {
        let sending = batch(id, id * 100, &MESSAGES);
        lane.send(sending).await;
        if id >= 3 {
            assert_eq!(lane.answer().await.1, Answer::Delivered);
        }
    }
    let rest = lane.close().await;
    assert_eq!(rest.len(), 3);
    assert!(
        rest.iter().all(|(_, answer)| *answer == Answer::Delivered),
        "{rest:?}"
    );
    let entries = receiver.entries();
    assert_eq!(entries.len(), 20 * MESSAGES.len());
    for (at, entry) in entries.iter().enumerate() {
        let offset = (at / MESSAGES.len() * 100 + at % MESSAGES.len()) as u64;
        let record = &entry["record"];
        assert_eq!(entry["tag"], "emco.logs");
        assert_eq!(entry["seconds"], 1_795_406_977);
        assert_eq!(entry["nanos"], 672_424_268 + offset);
        assert_eq!(record["message"], MESSAGES[at % MESSAGES.len()]);
        assert_eq!(
            record["event.id"],
            format!("{}-{offset:x}", "ab".repeat(16))
        );
        assert_eq!(record["event.sequence"], offset);
        assert_eq!(record["service.name"], "orchestrator");
    }
}

/// Writes `text` into `folder` and names the file.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn plain() {
    let folder = tempfile::tempdir().unwrap();
    let Some(receiver) = Receiver::start(folder, &[]).await else {
        return;
    };
    delivers(&receiver, receiver.settings()).await;
}

#[tokio::test]
async fn compressed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(receiver) = Receiver::start(folder, &[]).await else {
        return;
    };
    let settings = ForwardSettings {
        compression: Compression::Gzip,
        ..receiver.settings()
    };
    delivers(&receiver, settings).await;
}

#[tokio::test]
async fn with_a_shared_key_and_a_user() {
    let folder = tempfile::tempdir().unwrap();
    let (key, password) = (
        file(&folder, "key", "k3y\n"),
        file(&folder, "password", "s3cret"),
    );
    let options = ["key=k3y".to_owned(), "user=alice:s3cret".to_owned()];
    let Some(receiver) = Receiver::start(folder, &options).await else {
        return;
    };
    let settings = ForwardSettings {
        shared_key_file: Some(key),
        username: Some("alice".to_owned()),
        password_file: Some(password),
        ..receiver.settings()
    };
    delivers(&receiver, settings).await;
}

#[tokio::test]
async fn with_a_wrong_key_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let key = file(&folder, "key", "wrong");
    let Some(receiver) = Receiver::start(folder, &["key=k3y".to_owned()]).await else {
        return;
    };
    for (key, labels) in [
        (Some(key), ["handshake_refused"].as_slice()),
        (None, ["security_expected"].as_slice()),
    ] {
        let mut lane = Lane::start(ForwardSettings {
            shared_key_file: key,
            ..receiver.settings()
        });
        lane.send(batch(1, 0, &MESSAGES)).await;
        let (_, Answer::Retry { label, .. }) = lane.answer().await else {
            panic!("nothing may be delivered")
        };
        assert!(labels.contains(&label), "{label}");
    }
    assert!(receiver.entries().is_empty());
}

#[tokio::test]
async fn over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["receiver.test".to_owned()]).unwrap();
    let cert = file(&folder, "crt", &pair.cert.pem());
    let key = file(&folder, "key", &pair.signing_key.serialize_pem());
    let options = [
        format!("crt={}", cert.display()),
        format!("tls_key={}", key.display()),
    ];
    let Some(receiver) = Receiver::start(folder, &options).await else {
        return;
    };
    let tls = TlsSettings {
        ca_file: Some(cert),
        server_name: Some("receiver.test".to_owned()),
        ..TlsSettings::default()
    };
    let settings = ForwardSettings {
        tls: Some(tls.clone()),
        ..receiver.settings()
    };
    delivers(&receiver, settings.clone()).await;
    // The same receiver under a name it cannot prove.
    let mut lane = Lane::start(ForwardSettings {
        tls: Some(TlsSettings {
            server_name: Some("other.test".to_owned()),
            ..tls
        }),
        ..settings
    });
    lane.send(batch(1, 0, &MESSAGES)).await;
    let refused = Answer::Retry {
        after: None,
        label: "tls",
    };
    assert_eq!(lane.answer().await, (1, refused));
}
