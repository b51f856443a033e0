//! Client and servers over loopback, with replicas that are away, hang, forget and contradict.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::fact::Fact;
use model::time::UnixNanos;
use net::TlsSettings;
use net::server::{Server, ServerSettings};
use prometheus::Registry;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{made, operation, trace, trace_user};
use crate::authority::{Credential, TokenFiles};
use crate::client::{HubClient, HubHandle};
use crate::engine::Ask;
use crate::metrics::{ClientMetrics, ServerMetrics};
use crate::places;
use crate::questions::Learned;
use crate::server::HubServer;
use crate::settings::{ClientSettings, EngineSettings};

const PATIENCE: Duration = Duration::from_secs(9);

struct Replica {
    hub: Arc<HubServer>,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Replica {
    async fn start(address: SocketAddr) -> Self {
        let anyone = TokenFiles {
            sidecar: Credential::Anyone,
            ..TokenFiles::default()
        };
        Self::start_with(address, anyone).await
    }

    async fn start_with(address: SocketAddr, authority: TokenFiles) -> Self {
        let stop = CancellationToken::new();
        let metrics = ServerMetrics::new(&Registry::new()).unwrap();
        let hub = HubServer::new(EngineSettings::default(), authority, metrics, stop.clone());
        let server = Server::bind(address, ServerSettings::default())
            .await
            .unwrap();
        Self {
            address: server.local_addr().unwrap(),
            task: tokio::spawn(Arc::clone(&hub).serve(server)),
            hub,
            stop,
        }
    }

    async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.address
    }

    fn tell(&self, fact: Fact) {
        self.hub.tell_trusted(fact);
    }

    /// Waits until the replica knows an operation on `app_context`.
    async fn knows(&self, app_context: &str) {
        let ask = Ask {
            app_contexts: [Arc::from(app_context)].into(),
            ..Ask::default()
        };
        timeout(PATIENCE, async {
            while self.hub.known(&ask).is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .expect("the replica is told");
    }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

struct Client {
    handle: HubHandle,
    learned: mpsc::Receiver<Learned>,
    metrics: ClientMetrics,
    _guard: DropGuard,
}

impl Client {
    fn start(addresses: &[SocketAddr]) -> Self {
        Self::start_with(addresses, None)
    }

    fn start_with(addresses: &[SocketAddr], token_file: Option<PathBuf>) -> Self {
        let metrics = ClientMetrics::new(&Registry::new()).unwrap();
        let stop = CancellationToken::new();
        let settings = ClientSettings {
            addresses: addresses.iter().map(ToString::to_string).collect(),
            token_file,
            answer_max: Duration::from_millis(500),
            ..ClientSettings::default()
        };
        let (handle, learned) = HubClient::spawn(settings, metrics.clone(), stop.clone()).unwrap();
        Self {
            handle,
            learned,
            metrics,
            _guard: stop.drop_guard(),
        }
    }

    async fn next(&mut self) -> Learned {
        timeout(PATIENCE, self.learned.recv())
            .await
            .expect("news")
            .unwrap()
    }
}

fn known(number: u8, id: &str) -> Learned {
    Learned::Made(made(number, id, 5, UnixNanos(9)))
}

#[tokio::test]
async fn what_was_told_before_and_after_asking_is_learned() {
    let replica = Replica::start(anywhere()).await;
    let mut client = Client::start(&[replica.address]);
    replica.tell(trace_user(1, "alice"));
    client.handle.ask_trace(trace(1));
    assert_eq!(client.next().await, known(1, "alice"));
    client.handle.ask_trace(trace(2));
    client.handle.ask_app_context("ctx");
    replica.tell(trace_user(2, "bob"));
    assert_eq!(client.next().await, known(2, "bob"));
    client.handle.tell(Fact::Operation(operation(3, "ctx")));
    assert_eq!(client.next().await, Learned::Operation(operation(3, "ctx")));
}

#[tokio::test]
async fn an_answer_that_comes_long_after_the_question_is_learned() {
    let replica = Replica::start(anywhere()).await;
    let mut client = Client::start(&[replica.address]);
    client.handle.ask_trace(trace(1));
    // Past the short polls: the question stands in the long one.
    timeout(PATIENCE, async {
        while client.handle.standing_for_tests() == 0 || replica.hub.waiting_for_tests().0 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    replica.tell(trace_user(1, "alice"));
    assert_eq!(client.next().await, known(1, "alice"));
}

#[tokio::test]
async fn a_conflict_after_the_answer_is_learned() {
    let replica = Replica::start(anywhere()).await;
    let mut client = Client::start(&[replica.address]);
    replica.tell(trace_user(1, "alice"));
    client.handle.ask_trace(trace(1));
    assert_eq!(client.next().await, known(1, "alice"));
    replica.tell(trace_user(1, "mallory"));
    assert_eq!(client.next().await, Learned::Conflict(trace(1)));
}

#[tokio::test]
async fn one_replica_that_is_away_costs_nothing_but_its_copy() {
    let gone = Replica::start(anywhere()).await.stop().await;
    let here = Replica::start(anywhere()).await;
    let mut client = Client::start(&[gone, here.address]);
    here.tell(trace_user(1, "alice"));
    client.handle.ask_trace(trace(1));
    client.handle.tell(Fact::Operation(operation(1, "ctx")));
    assert_eq!(client.next().await, known(1, "alice"));
    here.knows("ctx").await;
    // It gets its copy when it comes.
    Replica::start(gone).await.knows("ctx").await;
}

#[tokio::test]
async fn a_replica_that_hangs_is_passed_over() {
    let deaf = TcpListener::bind(anywhere()).await.unwrap();
    let here = Replica::start(anywhere()).await;
    let mut client = Client::start(&[deaf.local_addr().unwrap(), here.address]);
    here.tell(trace_user(1, "alice"));
    client.handle.ask_trace(trace(1));
    assert_eq!(client.next().await, known(1, "alice"));
    let failures = client.metrics.failures.with_label_values(&["timeout"]);
    assert!(failures.get() > 0);
}

#[tokio::test]
async fn a_replica_that_talks_nonsense_is_passed_over() {
    let liar = TcpListener::bind(anywhere()).await.unwrap();
    let address = liar.local_addr().unwrap();
    let nonsense = tokio::spawn(async move {
        while let Ok((mut stream, _)) = liar.accept().await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>";
            drop(stream.write_all(answer).await);
        }
    });
    let here = Replica::start(anywhere()).await;
    let mut client = Client::start(&[address, here.address]);
    here.tell(trace_user(1, "alice"));
    client.handle.ask_trace(trace(1));
    assert_eq!(client.next().await, known(1, "alice"));
    nonsense.abort();
}

#[tokio::test]
async fn replicas_that_contradict_each_other_name_nobody() {
    let (one, other) = (
        Replica::start(anywhere()).await,
        Replica::start(anywhere()).await,
    );
    one.tell(trace_user(1, "alice"));
    other.tell(trace_user(1, "bob"));
    let mut client = Client::start(&[one.address, other.address]);
    client.handle.ask_trace(trace(1));
    // Whoever answered goes away, so that the other is asked.
    let first = client.next().await;
    if first == known(1, "alice") {
        one.stop().await;
    } else {
        assert_eq!(first, known(1, "bob"));
        other.stop().await;
    }
    assert_eq!(client.next().await, Learned::Conflict(trace(1)));
}

#[tokio::test]
async fn a_replica_that_starts_anew_is_told_again() {
    let replica = Replica::start(anywhere()).await;
    let mut client = Client::start(&[replica.address]);
    client.handle.tell(Fact::Operation(operation(1, "ctx")));
    replica.knows("ctx").await;
    let address = replica.stop().await;
    let replica = Replica::start(address).await;
    replica.tell(trace_user(2, "alice"));
    client.handle.ask_trace(trace(2));
    assert_eq!(client.next().await, known(2, "alice"));
    replica.knows("ctx").await;
}

#[tokio::test]
async fn questions_wait_for_a_hub_that_is_away() {
    let gone = Replica::start(anywhere()).await.stop().await;
    let mut client = Client::start(&[gone]);
    client.handle.ask_trace(trace(1));
    timeout(PATIENCE, async {
        while client
            .metrics
            .failures
            .with_label_values(&["connect"])
            .get()
            == 0
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    let replica = Replica::start(gone).await;
    replica.tell(trace_user(1, "alice"));
    assert_eq!(client.next().await, known(1, "alice"));
}

#[tokio::test]
async fn facts_that_a_sidecar_may_not_state_are_counted() {
    let replica = Replica::start(anywhere()).await;
    let client = Client::start(&[replica.address]);
    client.handle.tell(trace_user(1, "mallory"));
    let refused = client.metrics.lost.with_label_values(&["refused"]);
    timeout(PATIENCE, async {
        while refused.get() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_token_that_was_wrong_works_once_its_file_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let (theirs, ours) = (
        directory.path().join("hub"),
        directory.path().join("sidecar"),
    );
    std::fs::write(&theirs, "right\n").unwrap();
    std::fs::write(&ours, "wrong\n").unwrap();
    let authority = TokenFiles {
        sidecar: Credential::File(theirs),
        ..TokenFiles::default()
    };
    let replica = Replica::start_with(anywhere(), authority).await;
    let client = Client::start_with(&[replica.address], Some(ours.clone()));
    client.handle.tell(Fact::Operation(operation(1, "ctx")));
    let refused = client.metrics.failures.with_label_values(&["status"]);
    timeout(PATIENCE, async {
        while refused.get() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    std::fs::write(&ours, "right\n").unwrap();
    replica.knows("ctx").await;
}

#[tokio::test]
async fn without_addresses_there_is_no_hub() {
    let client = Client::start(&[]);
    client.handle.ask_trace(trace(1));
    client.handle.tell(Fact::Operation(operation(1, "ctx")));
    assert_eq!(client.metrics.open_questions.get(), 0);
    assert!(client.learned.is_empty());
}

/// The address changes while a question is open and a fact is not told yet.
#[tokio::test]
async fn another_hub_is_asked_and_told_what_the_first_left_open() {
    let nobody = Replica::start(anywhere()).await.stop().await;
    let mut client = Client::start(&[nobody]);
    client.handle.ask_trace(trace(1));
    client.handle.tell(Fact::Operation(operation(2, "ctx")));
    let replica = Replica::start(anywhere()).await;
    replica.tell(trace_user(1, "alice"));
    let addresses = vec![replica.address.to_string()];
    client
        .handle
        .point_to(addresses, None, TlsSettings::default())
        .unwrap();
    assert_eq!(client.next().await, known(1, "alice"));
    replica.knows("ctx").await;
    let bad = client
        .handle
        .point_to(vec!["a b".to_owned()], None, TlsSettings::default());
    assert!(bad.is_err());
    client.handle.ask_app_context("ctx");
    assert_eq!(client.next().await, Learned::Operation(operation(2, "ctx")));
    // From none to one, and back.
    client
        .handle
        .point_to(Vec::new(), None, TlsSettings::default())
        .unwrap();
    client.handle.ask_trace(trace(3));
    assert!(client.learned.is_empty());
}

#[test]
fn a_bad_address_is_refused_at_the_start() {
    let settings = ClientSettings {
        addresses: vec!["http://hub:99999".to_owned()],
        ..ClientSettings::default()
    };
    let metrics = ClientMetrics::new(&Registry::new()).unwrap();
    let error = HubClient::spawn(settings, metrics, CancellationToken::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "using \"http://hub:99999\" as the address of the hub"
    );
}

/// Replicas behind one name come and go; each that comes is told what is kept.
#[tokio::test]
async fn every_replica_behind_a_name_is_told() {
    let first = Replica::start(anywhere()).await;
    let port = first.address.port();
    let address = move |last| SocketAddr::from(([127, 0, 0, last], port));
    let second = Replica::start(address(2)).await;
    let client = Client::start(&[first.address]);
    let leads_to = Arc::new(Mutex::new(vec![1, 2]));
    let stop = CancellationToken::new();
    let said = Arc::clone(&leads_to);
    tokio::spawn(places::follow(
        client.handle.clone(),
        vec![format!("hub.test:{port}").parse().unwrap()],
        TlsSettings::default(),
        stop.clone(),
        move |host, _| {
            assert_eq!(host, "hub.test");
            let found = said
                .lock()
                .unwrap()
                .iter()
                .map(|last| address(*last).ip())
                .collect();
            std::future::ready(Ok(found))
        },
    ));
    client.handle.tell(Fact::Operation(operation(1, "one")));
    first.knows("one").await;
    second.knows("one").await;

    let third = Replica::start(address(3)).await;
    *leads_to.lock().unwrap() = vec![2, 3];
    first.stop().await;
    client.handle.tell(Fact::Operation(operation(2, "two")));
    for replica in [&second, &third] {
        replica.knows("two").await;
        replica.knows("one").await;
    }
    stop.cancel();
}
