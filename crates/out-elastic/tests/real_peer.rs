//! Against a real Elasticsearch node, installed by `cargo xtask peers`. Without it these tests fail
//! where `CI=true` and say so elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use common::{Lane, batch, records};
use http::{HeaderMap, HeaderValue, Method, header};
use net::{ClientSettings, HttpClient};
use out_elastic::{Compression, ElasticSettings};
use pipeline::output::{Answer, ItemOutcome};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// A Java program on a busy machine takes its time.
const START: Duration = Duration::from_secs(50);
const INDEX: &str = "/emco-logs-2026.11.23";

/// A running node; it ends with this value.
struct Node {
    url: String,
    http: HttpClient,
    _folder: tempfile::TempDir,
    _process: Child,
}

impl Node {
    /// `None` where the peer is not installed.
    async fn start(options: &[&str]) -> Option<Self> {
        let peer = peer("elasticsearch")?;
        let folder = tempfile::tempdir().unwrap();
        // Both are held while they are chosen, so that they differ.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, transport] = ports.map(|port| port.local_addr().unwrap().port().to_string());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(peer.join("run.sh"))
            .arg(&http)
            .arg(folder.path().join("data"))
            .arg(&transport)
            .args(options)
            .env("PEER_ENDS_WITH_INPUT", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the node starts");
        let url = format!("http://127.0.0.1:{http}");
        let node = Self {
            http: HttpClient::new(url.parse().unwrap(), ClientSettings::default()),
            url,
            _folder: folder,
            _process: process,
        };
        let health = "/_cluster/health?wait_for_status=yellow&timeout=10s";
        let up = async {
            while node.ask(Method::GET, health, &Value::Null).await.is_none() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(START, up).await.expect("the node is up in time");
        Some(node)
    }

    fn settings(&self) -> ElasticSettings {
        ElasticSettings::new(self.url.parse().unwrap())
    }

    /// The answer of the node, if it is a good one.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Option<Value> {
        let mut headers = HeaderMap::new();
        let mut bytes = Bytes::new();
        if !body.is_null() {
            let kind = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, kind);
            bytes = body.to_string().into();
        }
        let reply = self.http.send(method, path, headers, bytes).await.ok()?;
        (reply.status.is_success()).then(|| serde_json::from_slice(&reply.body).unwrap())
    }

    async fn put(&self, path: &str, body: Value) {
        self.ask(Method::PUT, path, &body)
            .await
            .expect("the node takes it");
    }

    /// The ids of all documents of `index`.
    async fn ids(&self, index: &str) -> BTreeSet<String> {
        let query = format!("{index}/_search?size=10000&_source=false&filter_path=hits.hits._id");
        let refresh = format!("{index}/_refresh");
        self.ask(Method::POST, &refresh, &Value::Null)
            .await
            .unwrap();
        let found = self.ask(Method::GET, &query, &Value::Null).await.unwrap();
        let hits = found["hits"]["hits"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ids: BTreeSet<_> = hits
            .iter()
            .map(|hit| hit["_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), hits.len(), "no id twice");
        ids
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

async fn sent(lane: &mut Lane, batch: pipeline::output::Batch) -> Answer {
    lane.send(batch).await;
    lane.answer().await.1
}

/// Everything a lane sends is stored once, under its own id, however often it is sent.
async fn stores_everything_once(node: &Node) {
    let settings = ElasticSettings {
        compression: Compression::Gzip,
        in_flight_max: 4,
        ..node.settings()
    };
    let mut lane = Lane::start(settings.clone());
    let messages = vec!["ünï\u{1f600} \"quoted\" \\ and \n"; 500];
    for id in 0..10 {
        lane.send(batch(&settings, id, id * 500, &messages)).await;
        if id >= 4 {
            assert_eq!(lane.answer().await.1, Answer::Delivered);
        }
    }
    for _ in 0..4 {
        assert_eq!(lane.answer().await.1, Answer::Delivered);
    }
    let again = sent(&mut lane, batch(&settings, 11, 4_800, &messages)).await;
    let Answer::Items(items) = again else {
        panic!("200 documents are known and 300 are new")
    };
    assert!(
        items[..200]
            .iter()
            .all(|item| *item == ItemOutcome::Duplicate)
    );
    assert!(
        items[200..]
            .iter()
            .all(|item| *item == ItemOutcome::Delivered)
    );
    let expected: BTreeSet<_> = (0..5_300)
        .map(|offset| format!("{}-{offset:x}", "ab".repeat(16)))
        .collect();
    assert_eq!(node.ids(INDEX).await, expected);
    let path = format!("{INDEX}/_source/{}-0", "ab".repeat(16));
    let document = node.ask(Method::GET, &path, &Value::Null).await.unwrap();
    assert_eq!(document["message"], messages[0]);
    assert_eq!(document["event.sequence"], 0);
}

/// One bad document does not keep the others from being stored.
async fn tells_bad_documents_apart(node: &Node) {
    let settings = ElasticSettings {
        index_prefix: "typed".to_owned(),
        ..node.settings()
    };
    let mapping = json!({"mappings": {"properties": {"emco.count": {"type": "integer"}}}});
    node.put("/typed-2026.11.23", mapping).await;
    let mut lane = Lane::start(settings.clone());
    let lines = [
        vec![("emco.count", "1")],
        vec![("emco.count", "many")],
        vec![("emco.count", "3")],
    ];
    let Answer::Items(items) = sent(&mut lane, records(&settings, 1, 0, &lines)).await else {
        panic!("one outcome an item")
    };
    assert_eq!([&items[0], &items[2]], [&ItemOutcome::Delivered; 2]);
    let ItemOutcome::Rejected { label, reason } = &items[1] else {
        panic!("a mapping conflict is final")
    };
    assert_eq!(*label, "mapping");
    assert!(reason.contains("emco.count"), "{reason}");
}

/// What the node refuses for a while is to be sent again, and what it forbids is not.
async fn tells_blocks_apart(node: &Node) {
    let settings = ElasticSettings {
        index_prefix: "blocked".to_owned(),
        ..node.settings()
    };
    let mut lane = Lane::start(settings.clone());
    let one = |id, offset| batch(&settings, id, offset, &["m"]);
    assert_eq!(sent(&mut lane, one(1, 0)).await, Answer::Delivered);
    let path = "/blocked-2026.11.23/_settings";
    node.put(path, json!({"index.blocks.read_only_allow_delete": true}))
        .await;
    let full = Answer::Items(vec![ItemOutcome::Retry { label: "item_429" }]);
    assert_eq!(sent(&mut lane, one(2, 1)).await, full);
    node.put(path, json!({"index.blocks.read_only_allow_delete": null}))
        .await;
    assert_eq!(sent(&mut lane, one(3, 1)).await, Answer::Delivered);
    node.put(path, json!({"index.blocks.write": true})).await;
    let Answer::Items(items) = sent(&mut lane, one(4, 2)).await else {
        panic!("one outcome an item")
    };
    assert!(
        matches!(
            items[..],
            [ItemOutcome::Rejected {
                label: "item_403",
                ..
            }]
        ),
        "{items:?}"
    );
    let unwanted = ElasticSettings {
        index_prefix: "unwanted".to_owned(),
        ..settings
    };
    let closed = json!({"transient": {"action.auto_create_index": "false"}});
    node.put("/_cluster/settings", closed).await;
    let Answer::Items(items) = sent(&mut lane, batch(&unwanted, 5, 0, &["m"])).await else {
        panic!("one outcome an item")
    };
    assert!(
        matches!(
            items[..],
            [ItemOutcome::Rejected {
                label: "item_404",
                ..
            }]
        ),
        "{items:?}"
    );
}

#[tokio::test]
async fn a_node() {
    let Some(node) = Node::start(&[]).await else {
        return;
    };
    stores_everything_once(&node).await;
    tells_bad_documents_apart(&node).await;
    tells_blocks_apart(&node).await;
}

#[tokio::test]
async fn a_node_that_is_short_of_everything() {
    let limits = [
        "http.max_content_length=64kb",
        "indexing_pressure.memory.limit=2kb",
    ];
    let Some(node) = Node::start(&limits).await else {
        return;
    };
    let settings = node.settings();
    let mut lane = Lane::start(settings.clone());
    let huge = "x".repeat(40_000);
    let answer = sent(&mut lane, batch(&settings, 1, 0, &[&huge, &huge])).await;
    assert_eq!(answer, Answer::TooLarge);
    let Answer::Retry { label, .. } = sent(&mut lane, batch(&settings, 2, 0, &[&huge])).await
    else {
        panic!("the node has no memory for it")
    };
    assert_eq!(label, "http_429");
    assert_eq!(
        sent(&mut lane, batch(&settings, 3, 0, &["m"])).await,
        Answer::Delivered
    );
}
