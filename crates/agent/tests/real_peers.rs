//! The real binary into receivers that somebody else wrote: npm's `@fluent-org/logger` and a node of
//! Elasticsearch, both installed by `cargo xtask peers`. Without them these tests fail where
//! `CI=true` and say so elsewhere.
//!
//! What is played: lines of our own in every dialect, and, where it lies beside the repository, a
//! recording of EMCO.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use common::pod::{Container, Pod, now};
use common::requests::Request;
use common::sidecar::Setup;
use common::store::Store;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, Method};
use net::{ClientSettings, HttpClient};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader as AsyncBufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// A Java program on a busy machine takes its time.
const START: Duration = Duration::from_secs(50);
/// At most so many lines are played of each of these recordings.
const RECORDED_LINES: usize = 2_000;
const RECORDED: [&str; 5] = [
    "calm/orchestrator",
    "calm/rsync",
    "calm/dcm",
    "traced/orchestrator",
    "traced/clm",
];
const READ_BYTES_MAX: u64 = 256 << 20;
/// Longest answer of the node that is read.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

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

/// The receiver of the forward protocol; ends with this value.
struct Forward {
    address: SocketAddr,
    entries: PathBuf,
    _folder: tempfile::TempDir,
    _process: Child,
}

impl Forward {
    async fn start() -> Option<Self> {
        let peer = peer("forward")?;
        let folder = tempfile::tempdir().unwrap();
        let entries = folder.path().join("entries");
        let mut process = Command::new("node")
            .arg(peer.join("server.js"))
            .args([Path::new("0"), &entries])
            .env("PEER_ENDS_WITH_INPUT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut lines = AsyncBufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(START, lines.next_line()).await.unwrap().unwrap();
        let line = line.expect("it says that it is ready");
        let port = line.strip_prefix("READY ").expect("it says its port");
        Some(Self {
            address: (Ipv4Addr::LOCALHOST, port.parse().unwrap()).into(),
            entries,
            _folder: folder,
            _process: process,
        })
    }

    /// What it decoded so far; it writes an entry before it acknowledges it.
    fn stored(&self) -> Store {
        let store = Store::default();
        let file = BufReader::new(File::open(&self.entries).unwrap().take(READ_BYTES_MAX));
        for line in file.lines() {
            let entry: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let record = &entry["record"];
            assert_eq!(entry["tag"], "emco.logs");
            let id = record["event.id"].as_str().expect("an id").to_owned();
            store.add(&id, record.clone());
        }
        store
    }
}

/// The node; ends with this value.
struct Node {
    address: SocketAddr,
    _folder: tempfile::TempDir,
    _process: Child,
}

impl Node {
    async fn start() -> Option<Self> {
        let peer = peer("elasticsearch")?;
        let folder = tempfile::tempdir().unwrap();
        // Both are held while they are chosen, so that they differ.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, transport] = ports.map(|port| port.local_addr().unwrap());
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(peer.join("run.sh"))
            .arg(http.port().to_string())
            .arg(folder.path().join("data"))
            .arg(transport.port().to_string())
            .env("PEER_ENDS_WITH_INPUT", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the node starts");
        let node = Self {
            address: http,
            _folder: folder,
            _process: process,
        };
        let health = "/_cluster/health?wait_for_status=yellow&timeout=10s";
        let up = async {
            while !matches!(
                common::http::get(node.address, health).await,
                Some((200, _))
            ) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(START, up).await.expect("the node is up in time");
        Some(node)
    }

    async fn ask(&self, method: Method, path: &str) -> Value {
        let settings = ClientSettings {
            reply_bytes_max: RESPONSE_BYTES_MAX,
            ..ClientSettings::default()
        };
        let client = HttpClient::new(
            format!("http://{}", self.address).parse().unwrap(),
            settings,
        );
        let reply = client
            .send(method, path, HeaderMap::new(), Bytes::new())
            .await
            .expect("the node answers");
        assert!(reply.status.is_success(), "{:?}", reply.body);
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// Everything in its indices.
    async fn stored(&self) -> Store {
        let store = Store::default();
        self.ask(Method::POST, "/emco-*/_refresh").await;
        let found = self.ask(Method::GET, "/emco-*/_search?size=10000").await;
        let hits = found["hits"]["hits"].as_array().unwrap();
        for hit in hits {
            let id = hit["_id"].as_str().unwrap();
            assert_eq!(hit["_source"]["event.id"], id, "both say the same id");
            store.add(id, hit["_source"].clone());
        }
        let count = self.ask(Method::GET, "/emco-*/_count").await;
        assert_eq!(count["count"].as_u64(), Some(hits.len() as u64));
        store
    }
}

/// Both peers, or nothing where one is missing.
async fn peers() -> Option<(Forward, Node)> {
    let forward = Forward::start().await?;
    Some((forward, Node::start().await?))
}

/// Starts the sidecar on what is written and waits until both peers have acknowledged it.
async fn play(setup: Setup, (forward, node): &(Forward, Node), records: usize) {
    let setup = setup.forward(forward.address).elastic(node.address);
    let sidecar = setup.start().await;
    for lane in ["lane=\"forward\"", "lane=\"elastic\""] {
        sidecar
            .counts("emco_observer_lane_records_total", &[lane], records)
            .await;
    }
    sidecar.is_level().await;
    let dead = "emco_observer_lane_dead_lettered_records_total";
    assert_eq!(sidecar.metric(dead, &[]).await, 0);
    assert!(sidecar.terminate().await.success());
}

/// Compares the peers with each other: the same ids, texts and claims, each once. Answers what they
/// have.
async fn compared((forward, node): &(Forward, Node)) -> Store {
    let (one, two) = (forward.stored(), node.stored().await);
    assert_eq!(one.received(), two.received(), "as many documents");
    assert_eq!(one.claims(), two.claims(), "the same ids and claims");
    for id in one.line_ids() {
        let text = |store: &Store| common::store::text(&store.get(&id).unwrap());
        assert_eq!(text(&one), text(&two), "{id}");
        assert_eq!(one.times(&id), 1, "{id}");
    }
    two
}

#[tokio::test]
async fn lines_of_every_dialect() {
    let setup = Setup::new();
    let mut service = setup.service();
    service.ago(Duration::from_mins(2)).logrus("started");
    dialects(&mut service);
    let mut proxy = setup.pod.container("istio-proxy");
    let request = Request::new(1, now());
    proxy.at(request.start).says(&request.access(), "");
    request.line(&mut service);
    let written = service.written.clone();
    let records = written.len() + 1;
    let Some(peers) = peers().await else { return };
    play(setup, &peers, records).await;
    let stored = compared(&peers).await;
    stored.contains(&written).await;
    assert_eq!(stored.line_ids().len(), records);
}

/// One of each kind, and several that are awkward to store.
fn dialects(service: &mut Container) {
    for message in [
        "plain",
        "ünï\u{1f600}",
        "quote \" and \\ and \n",
        "nul \0 in it",
    ] {
        service.logrus(message);
    }
    service.says(
        "2026/11/23 06:00:00 started the server on port 9015",
        "started the server on port 9015",
    );
    service.text("neither this nor that");
    service.text(r#"{"level":"info","msg":"cut in the mid"#);
    service.says(
        r#"{"level":"info","ts":1795406977.672,"logger":"controller","msg":"reconciled","n":{"a":[1,{"b":2}]}}"#,
        "reconciled",
    );
    // The same key once as a number, once as an object: no mapping may break on it.
    for value in [
        json!(1),
        json!({"x": 1}),
        json!("2026-11-23"),
        json!([1, "a"]),
        json!(null),
    ] {
        service.logrus_with(&format!("a value: {value}"), "value", value.clone());
    }
    let long = "x".repeat(100_000);
    service.text(&long);
}

/// A recording of EMCO, as the container runtime wrote it.
#[tokio::test]
async fn a_recording_of_emco() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/truth");
    if !corpus.is_dir() {
        let missing = format!("{} is missing: no recording is played", corpus.display());
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}");
        eprintln!("SKIPPED, NOT TESTED: {missing}");
        return;
    }
    let Some(peers) = peers().await else { return };
    let mut ids = BTreeSet::new();
    for recording in RECORDED {
        let setup = Setup::new();
        let recorded = copy_recording(&corpus, recording, &setup.pod);
        play(setup, &peers, recorded.len()).await;
        ids.extend(recorded);
    }
    let stored = compared(&peers).await;
    assert_eq!(stored.line_ids(), ids, "every record, and nothing else");
    assert!(ids.len() > 3_000, "{} records", ids.len());
}

/// Writes the first lines of a recording as the pod's log and answers the ids of their records: the
/// offsets at which they begin.
fn copy_recording(corpus: &Path, recording: &str, pod: &Pod) -> BTreeSet<String> {
    let file = File::open(corpus.join(format!("{recording}.cri.log.gz"))).unwrap();
    let lines = BufReader::new(MultiGzDecoder::new(file)).split(b'\n');
    let mut log = pod.container("orchestrator");
    let mut ids = BTreeSet::new();
    let mut open = BTreeMap::new();
    for line in lines.take(RECORDED_LINES) {
        let line = line.unwrap();
        let fields: Vec<&[u8]> = line.splitn(4, |byte| *byte == b' ').collect();
        let place = log.raw(&line);
        let continued = open.insert(fields[1].to_vec(), fields[2] == b"P");
        if continued != Some(true) {
            ids.insert(place.0);
        }
    }
    ids
}
