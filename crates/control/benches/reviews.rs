//! What a review costs, and the control plane at rest: the program itself, before a real API server,
//! asked over TLS as the API server asks.
//!
//! `cargo bench -p control --bench reviews` builds the program; `EMCO_OBSERVER_CONTROL=FILE` in front
//! of it measures another one, such as what ships (`target/dist`).
//!
//! | figure | how |
//! |---|---|
//! | `rest_rss_bytes` | `VmRSS` 10 s after the certificate is there, nobody asks |
//! | `review_p50_us`, `review_p99_us` | from the request's first byte to the answer's last, 200 a second on one connection |
//! | `reviews_per_core_second` | as fast as four connections ask, by the program's CPU time |
//! | `busy_rss_bytes` | `VmRSS` after that |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement prints its result and panics where it fails"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{as_pod, services};
use http::{HeaderMap, Method};
use net::{ClientSettings, HttpClient, TlsSettings};
use serde_json::{Value, json};
use testkit::peers::{Kubernetes, free_ports};
use tokio::time::{MissedTickBehavior, interval, sleep};

const OURS: &str = "observer";
const THEIRS: &str = "emco";
const NAME: &str = "emco-observer";
const REST: Duration = Duration::from_secs(10);
const PACED: Duration = Duration::from_secs(10);
const A_SECOND: u32 = 200;
const BUSY: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 4;
/// Everything that is waited for is there long before.
const LONG: Duration = Duration::from_mins(1);
/// The kernel's steps of CPU time.
const TICKS_A_SECOND: f64 = 100.0;

/// The program, which ends with this.
struct Program(Child);

impl Program {
    fn start(folder: &Path, server: &Kubernetes, [admin, webhook]: [SocketAddr; 2]) -> Self {
        let program = std::env::var_os("EMCO_OBSERVER_CONTROL")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_emco-observer-control").into());
        let settings = json!({
            "admin": { "listen": admin },
            "webhook": { "listen": webhook },
        });
        let file = folder.join("settings.yaml");
        std::fs::write(&file, settings.to_string()).unwrap();
        let started = Command::new(program)
            .args(["serve", "--config"])
            .arg(file)
            .env("KUBECONFIG", server.kubeconfig())
            .env("POD_NAME", "emco-observer-0")
            .env("POD_NAMESPACE", OURS)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(started.expect("the program starts"))
    }

    fn read(&self, name: &str) -> String {
        let mut text = String::new();
        let file = File::open(format!("/proc/{}/{name}", self.0.id())).expect("it runs");
        file.take(1 << 16).read_to_string(&mut text).unwrap();
        text
    }

    fn rss_bytes(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        1024 * kib.parse::<u64>().unwrap()
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = self.read("stat");
        let (_, behind) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = behind.split(' ').collect();
        let ticks: u32 = [11, 12]
            .map(|at| fields[at].parse::<u32>().unwrap())
            .iter()
            .sum();
        f64::from(ticks) / TICKS_A_SECOND
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What the webhook needs in the cluster.
fn prepare(server: &Kubernetes) {
    server.namespace(OURS, &[]);
    server.namespace(THEIRS, &[("emco-observer.io/inject", "true")]);
    let maps = format!("/api/v1/namespaces/{THEIRS}/configmaps");
    let map = json!({ "metadata": { "name": "emco-observer-ca" } });
    server.create(&maps, &map).object();
    let webhook = json!({
        "metadata": { "name": NAME },
        "webhooks": [{
            "name": "pods.emco-observer.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": { "name": NAME, "namespace": OURS, "path": "/mutate" },
            },
            "failurePolicy": "Ignore",
            // nobody but us asks
            "rules": [],
            "sideEffects": "None",
        }],
    });
    let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    server.create(configurations, &webhook).object();
}

/// Whom to trust, as soon as it is published.
async fn trust(server: &Kubernetes, folder: &Path) -> TlsSettings {
    let begun = Instant::now();
    let path = format!("/api/v1/namespaces/{THEIRS}/configmaps/emco-observer-ca");
    let authority = loop {
        let map = tokio::task::block_in_place(|| server.ask(&path).object());
        if let Some(authority) = map["data"]["ca.crt"].as_str() {
            break authority.to_owned();
        }
        assert!(begun.elapsed() < LONG, "there is no certificate");
        sleep(Duration::from_millis(50)).await;
    };
    let file = folder.join("ca.crt");
    std::fs::write(&file, authority).unwrap();
    TlsSettings {
        ca_file: Some(file),
        server_name: Some(format!("{NAME}.{OURS}.svc")),
        ..TlsSettings::default()
    }
}

/// One question for each of EMCO's services.
fn questions() -> Vec<Bytes> {
    let question = |template: &Value| {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "resource": { "group": "", "version": "v1", "resource": "pods" },
                "namespace": THEIRS,
                "operation": "CREATE",
                "dryRun": true,
                "object": as_pod(template, "asked"),
            },
        });
        Bytes::from(review.to_string())
    };
    services().iter().map(question).collect()
}

/// Asks once; the answer has a patch.
async fn ask(client: &HttpClient, question: &Bytes) -> Duration {
    let begun = Instant::now();
    let mut headers = HeaderMap::new();
    headers.insert(
        http::header::CONTENT_TYPE,
        "application/json".parse().unwrap(),
    );
    let reply = client.send(Method::POST, "/mutate", headers, question.clone());
    let reply = reply.await.unwrap();
    let took = begun.elapsed();
    let patch = br#""patchType":"JSONPatch""#;
    assert!(reply.body.windows(patch.len()).any(|part| part == patch));
    took
}

/// Microseconds of each question, fastest first.
async fn paced(client: &HttpClient, questions: &[Bytes]) -> Vec<u128> {
    let mut ticks = interval(Duration::from_secs(1) / A_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (begun, mut took) = (Instant::now(), Vec::new());
    for question in questions.iter().cycle() {
        if begun.elapsed() >= PACED {
            break;
        }
        ticks.tick().await;
        took.push(ask(client, question).await.as_micros());
    }
    took.sort_unstable();
    took
}

/// How many questions are answered in [`BUSY`].
async fn busy(client: &HttpClient, questions: &[Bytes]) -> u32 {
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, questions) = (client.clone(), questions.to_vec());
        connections.spawn(async move {
            let (begun, mut count) = (Instant::now(), 0);
            for question in questions.iter().cycle() {
                if begun.elapsed() >= BUSY {
                    break;
                }
                ask(&client, question).await;
                count += 1;
            }
            count
        });
    }
    connections.join_all().await.into_iter().sum()
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Kubernetes::start(folder.path()) else {
        println!("there is no API server; see `cargo xtask peers kubernetes`");
        return;
    };
    prepare(&server);
    let ports: [SocketAddr; 2] = free_ports();
    let program = Program::start(folder.path(), &server, ports);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let settings = ClientSettings {
            tls: trust(&server, folder.path()).await,
            ..ClientSettings::default()
        };
        sleep(REST).await;
        println!("rest_rss_bytes {}", program.rss_bytes());
        let client = HttpClient::new(format!("https://{}", ports[1]).parse().unwrap(), settings);
        let questions = questions();
        let took = paced(&client, &questions).await;
        let share = |percent| took[took.len() * percent / 100];
        println!("review_p50_us {}", share(50));
        println!("review_p99_us {}", share(99));
        let before = program.cpu_seconds();
        let count = busy(&client, &questions).await;
        let rate = f64::from(count) / (program.cpu_seconds() - before);
        println!("reviews_per_core_second {rate:.0}");
        println!("busy_rss_bytes {}", program.rss_bytes());
    });
}
