//! Receivers that hang, lie, break off and refuse: everything arrives in the end, and the other
//! destination does not notice.

use testkit::faults::{Direction, Fault, FaultProxy, Plan};

use crate::common::bulk::{Server, Trick};
use crate::common::forward::{Manner, Receiver};
use crate::common::pod::Container;
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::{PATIENCE, until};

const FORWARD_FAILURES: &str = "emco_observer_forward_failures_total";
const ELASTIC_FAILURES: &str = "emco_observer_elastic_failures_total";
const LOST_FORWARD: &str = "forward connection failed, what was in flight will be sent again";
const LOST_BULK: &str = "bulk request failed, it will be sent again";

fn lines(service: &mut Container, name: &str) {
    for line in 0..100 {
        service.logrus(&format!("{name} {line}"));
    }
}

/// A forward receiver that misbehaves: the sick lane's lines arrive once it is well, the other's at
/// once.
async fn forward_misbehaves(manner: Manner, reason: &str) -> (Receiver, Container) {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address);
    forward.behave(manner);
    let mut service = setup.service();
    lines(&mut service, "while sick");
    let sidecar = setup.start().await;
    let label = format!("reason=\"{reason}\"");
    sidecar.counts(FORWARD_FAILURES, &[&label], 1).await;
    sidecar.says(&[LOST_FORWARD, reason]).await;
    // The other lane is not held up: it delivers what is written while this one is sick.
    lines(&mut service, "still sick");
    elastic.store.has_exactly(&service.written).await;
    let waiting = ["lane=\"forward\""];
    let flight = "emco_observer_lane_in_flight_records";
    assert!(sidecar.metric(flight, &waiting).await >= 100);
    let done = "emco_observer_lane_records_total";
    assert_eq!(
        sidecar.metric(done, &waiting).await,
        0,
        "no ack, no progress"
    );
    forward.behave(Manner::Sound);
    forward.store.has_exactly(&service.written).await;
    sidecar.is_level().await;
    assert_eq!(sidecar.metric(done, &waiting).await, 200);
    (forward, service)
}

#[tokio::test]
async fn a_forward_receiver_that_hangs() {
    let (forward, service) = forward_misbehaves(Manner::Silent, "ack_timeout").await;
    assert_eq!(forward.store.received(), service.written.len());
}

#[tokio::test]
async fn a_forward_receiver_that_lies() {
    let (forward, service) = forward_misbehaves(Manner::Lying, "unknown_ack").await;
    assert_eq!(forward.store.received(), service.written.len());
}

/// The receiver has stored what it did not acknowledge: it comes again, under the same ids.
#[tokio::test]
async fn a_forward_receiver_that_closes_in_the_middle_of_an_acknowledgement() {
    let (forward, service) = forward_misbehaves(Manner::Cut, "closed_inside_answer").await;
    assert!(forward.store.received() > service.written.len());
}

/// The network fails in the middle of a message and in the middle of an acknowledgement.
#[tokio::test]
async fn a_network_that_cuts_and_stalls() {
    let forward = Receiver::start().await;
    let proxy = FaultProxy::start(forward.address).await.unwrap();
    let setup = Setup::new().forward(proxy.address());
    let mut service = setup.service();
    let sidecar = setup.start().await;
    let faults = [
        Fault::Cut(Direction::ToServer, 1_000),
        Fault::Close(Direction::ToClient, 15),
        Fault::Cut(Direction::ToClient, 15),
        Fault::Stall(Direction::ToClient, 0),
        Fault::Refuse,
    ];
    for (at, fault) in (1..).zip(faults) {
        proxy.cut_all();
        proxy.plan(Plan {
            fault,
            connections: Some(1),
        });
        lines(&mut service, &format!("{fault:?}"));
        assert!(proxy.wait_for_faults(at, PATIENCE).await, "{fault:?}");
        forward.store.has_exactly(&service.written).await;
    }
    sidecar.counts(FORWARD_FAILURES, &[], 5).await;
    sidecar.says(&[LOST_FORWARD]).await;
    sidecar.is_level().await;
}

/// A bulk server that misbehaves in these ways, one after another.
async fn elastic_misbehaves(tricks: &[Trick], reasons: &[&str]) -> (Setup, Sidecar, Server) {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address);
    elastic.play(tricks);
    let mut service = setup.service();
    lines(&mut service, "while sick");
    let sidecar = setup.start().await;
    forward.store.has_exactly(&service.written).await;
    until("every trick is played", async || {
        (elastic.tricks_left() == 0).then_some(())
    })
    .await;
    elastic.store.has_exactly(&service.written).await;
    for reason in reasons {
        let label = format!("reason=\"{reason}\"");
        sidecar.counts(ELASTIC_FAILURES, &[&label], 1).await;
        sidecar.says(&[LOST_BULK, reason]).await;
    }
    sidecar.is_level().await;
    let done = ["lane=\"elastic\""];
    let records = "emco_observer_lane_records_total";
    assert_eq!(sidecar.metric(records, &done).await, 100);
    (setup, sidecar, elastic)
}

#[tokio::test]
async fn a_bulk_answer_that_is_cut_and_a_page_instead() {
    let tricks = [Trick::Truncated, Trick::Page];
    let (_setup, sidecar, _) = elastic_misbehaves(&tricks, &["not_bulk"]).await;
    // What the cut answer hid is known when it is sent again.
    let duplicates = ["lane=\"elastic\"", "outcome=\"duplicate\""];
    let records = "emco_observer_lane_records_total";
    assert_eq!(sidecar.metric(records, &duplicates).await, 100);
    sidecar.says(&["it is cut"]).await;
    sidecar.says(&["no healthy upstream"]).await;
}

#[tokio::test]
async fn a_bulk_server_that_is_busy_or_behind_a_broken_gateway() {
    let tricks = [Trick::BadGateway, Trick::Busy];
    elastic_misbehaves(&tricks, &["http_5xx", "http_429"]).await;
}

#[tokio::test]
async fn a_bulk_answer_of_many_outcomes() {
    let (_setup, sidecar, _) = elastic_misbehaves(&[Trick::HalfBusy], &[]).await;
    let retries = ["lane=\"elastic\"", "reason=\"item_429\""];
    sidecar
        .counts("emco_observer_lane_retries_total", &retries, 1)
        .await;
}

#[tokio::test]
async fn a_bulk_server_that_takes_only_small_requests() {
    let elastic = Server::start().await;
    elastic.limit(20_000);
    let setup = Setup::new().elastic(elastic.address);
    let mut service = setup.service();
    lines(&mut service, "small enough");
    let sidecar = setup.start().await;
    elastic.store.has_exactly(&service.written).await;
    let split = ["outcome=\"split\""];
    sidecar
        .counts("emco_observer_elastic_items_total", &split, 100)
        .await;
}

#[tokio::test]
async fn a_document_that_is_refused_for_good_goes_to_the_dead_letters() {
    let elastic = Server::start().await;
    elastic.refuse("of no use");
    let setup = Setup::new().elastic(elastic.address);
    let mut service = setup.service();
    service.logrus("one");
    let bad = service.logrus("of no use");
    service.logrus("three");
    let sidecar = setup.start().await;
    service.written.retain(|line| line.id != bad);
    elastic.store.has_exactly(&service.written).await;
    let labels = ["lane=\"elastic\"", "reason=\"mapping\""];
    let letters = "emco_observer_lane_dead_lettered_records_total";
    sidecar.counts(letters, &labels, 1).await;
    assert_eq!(elastic.refused(), [bad], "it is offered once");
    sidecar
        .says(&[
            "the server will never take these documents",
            "document_parsing_exception",
        ])
        .await;
    let folder = setup.state_dir().join("dead-letters/elastic");
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        kept.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(kept.windows(9).any(|window| window == b"of no use"));
}

/// Nobody listens at first.
#[tokio::test]
async fn destinations_that_come_later() {
    let [address, _] = crate::common::sidecar::free_addresses();
    let setup = Setup::new().forward(address);
    let mut service = setup.service();
    lines(&mut service, "early");
    let sidecar = setup.start().await;
    sidecar.says(&[LOST_FORWARD, "connect"]).await;
    let forward = Receiver::at(address).await;
    forward.store.has_exactly(&service.written).await;
    assert_eq!(forward.store.received(), service.written.len());
}
