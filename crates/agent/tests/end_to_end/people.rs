//! Spans and the hub: who did it, and who may not be named.

use std::time::Duration;

use serde_json::Value;
use testkit::faults::{Direction, Fault, FaultProxy, Plan};

use crate::common::bulk::Server;
use crate::common::identity::Hub;
use crate::common::pod::{Container, now};
use crate::common::requests::{A_MOMENT, Request, TAKES};
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::{http, until};

/// A sidecar with one destination, beside a service that started long ago.
struct Scene {
    setup: Setup,
    elastic: Server,
    service: Container,
    proxy: Container,
}

/// What a request left behind: its own line, and the proxy's record of its end.
struct Ids {
    line: String,
    record: String,
}

impl Scene {
    async fn new(configure: impl FnOnce(Setup) -> Setup) -> Self {
        let elastic = Server::start().await;
        let mut setup = configure(Setup::new().elastic(elastic.address));
        setup.wait = "1s";
        let mut service = setup.service();
        service.ago(Duration::from_mins(2)).logrus("started");
        Self {
            proxy: setup.pod.container("istio-proxy"),
            service,
            setup,
            elastic,
        }
    }

    /// Plays a request, once it has ended.
    async fn play(&mut self, sidecar: &Sidecar, request: &Request) -> Ids {
        let ids = self.play_without_spans(request).await;
        let (status, said) = sidecar.post_spans(&request.body()).await;
        assert_eq!(status, 202, "{said}");
        ids
    }

    async fn play_without_spans(&mut self, request: &Request) -> Ids {
        request.ended().await;
        let (start, end) = (request.access_start(), request.access());
        self.proxy.at(request.start).says(&start, "");
        let line = request.line(&mut self.service);
        let record = self.proxy.at(request.start + TAKES).says(&end, "");
        Ids { line, record }
    }

    async fn document(&self, id: &str) -> Value {
        until("the document is delivered", async || {
            self.elastic.store.get(id)
        })
        .await
    }
}

/// A request that begins in a moment: what may have been printed before the sidecar listened can be
/// anybody's.
fn request(number: u64) -> Request {
    Request::new(number, now() + A_MOMENT)
}

#[tokio::test]
async fn who_made_a_trace_at_the_gateway_is_the_person_of_its_lines() {
    let hub = Hub::start().await;
    let mut scene = Scene::new(|setup| setup.hub(hub.address)).await;
    let sidecar = scene.setup.start().await;
    let request = Request {
        header: Some("mallory"),
        ..request(1)
    };
    hub.gateway_says(&request.trace, "alice");
    let ids = scene.play(&sidecar, &request).await;
    for id in [&ids.line, &ids.record] {
        let document = scene.document(id).await;
        assert_eq!(document["trace.id"], request.trace.as_str(), "{document}");
        assert_eq!(document["emco.attribution.outcome"], "attributed");
        assert_eq!(document["user.id"], "alice", "{document}");
        assert_eq!(document["emco.user.source"], "gateway");
    }
    let summary = until("the request's own document", async || {
        scene.elastic.store.requests().pop()
    })
    .await;
    assert_eq!(summary["trace.id"], request.trace.as_str());
    assert_eq!(summary["user.id"], "alice", "{summary}");
    sidecar
        .counts("emco_observer_hub_client_learned_facts_total", &[], 1)
        .await;
    let indices = scene.elastic.indices();
    assert!(
        indices
            .iter()
            .any(|name| name.starts_with("emco-requests-")),
        "{indices:?}"
    );
}

/// While another process has the address of spans, what other requests did is not known; when it is
/// ours, and what was missed is over, people have names again.
#[tokio::test]
async fn nobody_is_named_while_nobody_listens_for_spans() {
    let hub = Hub::start().await;
    let mut scene = Scene::new(|setup| setup.hub(hub.address)).await;
    let taken = tokio::net::TcpListener::bind(scene.setup.spans).await;
    let sidecar = scene.setup.start().await;
    for number in 1..=3 {
        let request = request(number);
        hub.gateway_says(&request.trace, "alice");
        let ids = scene.play_without_spans(&request).await;
        let document = scene.document(&ids.line).await;
        assert_eq!(document.get("user.id"), None, "{document}");
    }
    drop(taken);
    let mut number = 3;
    until("somebody is named", async || {
        number += 1;
        let request = request(number);
        hub.gateway_says(&request.trace, "alice");
        let ids = scene.play(&sidecar, &request).await;
        let document = scene.document(&ids.line).await;
        let person = document.get("user.id").cloned();
        assert!(person.as_ref().is_none_or(|person| person == "alice"));
        person
    })
    .await;
}

/// Anybody can write a header: what nobody proves is no person.
#[tokio::test]
async fn a_header_that_nobody_proves_is_no_person() {
    let hub = Hub::start().await;
    let mut scene = Scene::new(|setup| setup.hub(hub.address)).await;
    let sidecar = scene.setup.start().await;
    let request = Request {
        header: Some("mallory"),
        ..request(2)
    };
    let ids = scene.play(&sidecar, &request).await;
    for id in [&ids.line, &ids.record] {
        let document = scene.document(id).await;
        assert_eq!(document["trace.id"], request.trace.as_str(), "{document}");
        assert_eq!(document.get("user.id"), None, "{document}");
    }
    let none = scene.elastic.store.lines();
    assert!(none.iter().all(|line| line.get("user.id").is_none()));
    let summary = until("the request's own document", async || {
        scene.elastic.store.requests().pop()
    })
    .await;
    assert_eq!(summary.get("user.id"), None, "{summary}");
}

#[tokio::test]
async fn two_users_of_one_trace_are_nobody() {
    let hub = Hub::start().await;
    let mut scene = Scene::new(|setup| setup.hub(hub.address)).await;
    let sidecar = scene.setup.start().await;
    let (one, two) = (request(3), request(4));
    for user in ["alice", "bob"] {
        hub.gateway_says(&one.trace, user);
    }
    hub.gateway_says(&two.trace, "carol");
    let torn = scene.play(&sidecar, &one).await;
    let sound = scene
        .play(
            &sidecar,
            &Request {
                start: now() + A_MOMENT,
                ..two
            },
        )
        .await;
    let record = scene.document(&sound.record).await;
    assert_eq!(
        record["user.id"], "carol",
        "others are not concerned: {record}"
    );
    for id in [&torn.line, &torn.record] {
        let document = scene.document(id).await;
        assert_eq!(document.get("user.id"), None, "{document}");
        assert_eq!(document.get("emco.inferred.user.id"), None, "{document}");
    }
    assert!(!scene.elastic.store.saw("bob"));
    assert!(!scene.elastic.store.saw("\"alice\""));
    let conflict = ["kind=\"conflict\""];
    sidecar
        .counts("emco_observer_hub_client_learned_facts_total", &conflict, 1)
        .await;
    sidecar
        .says(&["two people used one trace: it names nobody any more"])
        .await;
}

/// One replica was told of one person, the other of another: once both have been heard nobody is named
/// any more. Only one is asked as long as it answers, and what was decided by then stays.
#[tokio::test]
async fn two_hubs_that_name_different_people_name_nobody() {
    let (first, second) = (Hub::start().await, Hub::start().await);
    let addresses = [first.address, second.address];
    let mut scene = Scene::new(|setup| {
        let [one, two] = addresses.map(|address| format!("\"http://{address}\""));
        setup.with(&format!("hub: {{addresses: [{one}, {two}]}}"))
    })
    .await;
    let sidecar = scene.setup.start().await;
    let torn = request(9);
    first.gateway_says(&torn.trace, "alice");
    second.gateway_says(&torn.trace, "bob");
    let learned = "emco_observer_hub_client_learned_facts_total";
    scene.proxy.at(torn.start).says(&torn.access_start(), "");
    sidecar.counts(learned, &["kind=\"person\""], 1).await;
    assert_eq!(
        sidecar.metric(learned, &["kind=\"contradiction\""]).await,
        0
    );
    drop(first);
    sidecar
        .counts(learned, &["kind=\"contradiction\""], 1)
        .await;
    let said = sidecar
        .says(&["the hub named two users for one trace: it names nobody any more"])
        .await;
    assert!(said.contains("\"WARN\""), "{said}");
    let sound = Request {
        start: now(),
        ..request(10)
    };
    second.gateway_says(&sound.trace, "carol");
    let ids = scene.play(&sidecar, &torn).await;
    let others = scene.play(&sidecar, &sound).await;
    let record = scene.document(&others.record).await;
    assert_eq!(record["user.id"], "carol", "{record}");
    for id in [&ids.line, &ids.record] {
        let document = scene.document(id).await;
        assert_eq!(document["trace.id"], torn.trace.as_str(), "{document}");
        assert_eq!(document.get("user.id"), None, "{document}");
    }
    assert!(!scene.elastic.store.saw("bob"));
}

#[tokio::test]
async fn a_hub_that_is_away_leaves_lines_without_a_person_until_it_is_back() {
    let [address, _] = crate::common::sidecar::free_addresses();
    let mut scene = Scene::new(|setup| setup.hub(address)).await;
    let sidecar = scene.setup.start().await;
    let early = scene.play(&sidecar, &request(5)).await;
    let document = scene.document(&early.record).await;
    assert_eq!(document.get("user.id"), None, "{document}");
    sidecar.says(&["the hub cannot be used"]).await;
    sidecar
        .counts("emco_observer_hub_client_failures_total", &[], 1)
        .await;
    let hub = Hub::at(address).await;
    sidecar.says(&["the hub is back"]).await;
    let late = request(6);
    hub.gateway_says(&late.trace, "alice");
    let late = scene.play(&sidecar, &late).await;
    let document = scene.document(&late.record).await;
    assert_eq!(document["user.id"], "alice", "{document}");
}

#[tokio::test]
async fn a_hub_that_hangs_holds_no_line_longer_than_it_may_wait() {
    let hub = Hub::start().await;
    let proxy = FaultProxy::start(hub.address).await.unwrap();
    proxy.plan(Plan {
        fault: Fault::Stall(Direction::ToClient, 0),
        connections: None,
    });
    let mut scene = Scene::new(|setup| setup.hub(proxy.address())).await;
    let sidecar = scene.setup.start().await;
    let request = request(7);
    hub.gateway_says(&request.trace, "alice");
    let ids = scene.play(&sidecar, &request).await;
    let document = scene.document(&ids.record).await;
    assert_eq!(document["trace.id"], request.trace.as_str());
    assert_eq!(document.get("user.id"), None, "{document}");
    let stored = now();
    let waited = Duration::from_nanos(stored - request.start);
    assert!(waited < Duration::from_secs(4), "{waited:?}");
}

#[tokio::test]
async fn bodies_that_are_no_spans_are_refused_and_others_are_not() {
    let scene = Scene::new(|setup| setup).await;
    let sidecar = scene.setup.start().await;
    let good = request(8).body();
    for bad in [
        &b"not JSON"[..],
        b"{\"a\":1}",
        b"[{\"traceId\":",
        &good[..good.len() - 1],
    ] {
        let (status, said) = sidecar.post_spans(bad).await;
        assert_eq!(status, 400, "{said}");
        assert!(said.contains("is not a JSON array of spans"), "{said}");
    }
    for body in [&good[..], b"[]"] {
        assert_eq!(sidecar.post_spans(body).await.0, 202);
    }
    let bodies = "emco_observer_in_spans_bodies_total";
    assert_eq!(sidecar.metric(bodies, &["outcome=\"rejected\""]).await, 4);
    assert_eq!(sidecar.metric(bodies, &["outcome=\"accepted\""]).await, 2);
    sidecar
        .says(&[
            "a body of spans was not taken whole",
            "is not a JSON array of spans",
        ])
        .await;
    let elsewhere = http::post(scene.setup.spans, "/elsewhere", b"[]").await;
    assert_eq!(elsewhere.unwrap().0, 404);
}

/// A spool that is full makes room by itself: the sender is never refused for it.
#[tokio::test]
async fn spans_are_taken_when_the_spool_is_full() {
    let limit = 256 << 10;
    let mut scene = Scene::new(|setup| setup.spans_bytes_max(limit)).await;
    let sidecar = scene.setup.start().await;
    for batch in 0..20 {
        let requests = (0..50).map(|number| request(1_000 + batch * 50 + number));
        let spans: Vec<Value> = requests.flat_map(|request| request.spans()).collect();
        let body = Value::from(spans).to_string();
        assert!(body.len() > 16 << 10);
        assert_eq!(sidecar.post_spans(body.as_bytes()).await.0, 202);
    }
    let bytes = sidecar
        .metric("emco_observer_spool_bytes", &["queue=\"spans\""])
        .await;
    assert!(bytes > 0 && bytes <= limit, "{bytes}");
    let received = "emco_observer_in_spans_received_spans_total";
    assert_eq!(sidecar.metric(received, &[]).await, 2_000);
    // And the lines go on.
    scene.service.logrus("still here");
    scene
        .elastic
        .store
        .has_exactly(&scene.service.written)
        .await;
}
