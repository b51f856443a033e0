//! Killed at any moment, asked to end, started again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::common::bulk::{Server, Trick};
use crate::common::forward::{Manner, Receiver};
use crate::common::identity::Hub;
use crate::common::pod::{Container, now};
use crate::common::requests::{A_MOMENT, Request};
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::{http, until};

const KILLS: u32 = 16;
const PACE: Duration = Duration::from_millis(4);
const LINES: &str = "emco_observer_lane_records_total";

/// Lines, access records and spans of a service at work.
struct Workload {
    service: Container,
    proxy: Container,
    rng: fastrand::Rng,
    requests: u64,
}

impl Workload {
    fn new(setup: &Setup, seed: u64) -> Self {
        let (mut service, proxy) = (setup.service(), setup.pod.container("istio-proxy"));
        // The process started long ago: its start-up code cannot have printed what follows.
        service.ago(Duration::from_mins(2)).logrus("started");
        Self {
            service,
            proxy,
            rng: fastrand::Rng::with_seed(seed),
            requests: 0,
        }
    }

    /// One request with what it prints, and lines of nobody. Its spans go to the sidecar if it takes
    /// them, else they are lost, as EMCO's exporter loses them.
    async fn step(&mut self, setup: &Setup, hub: &Hub) {
        let number = self.requests;
        self.requests += 1;
        let request = Request::new(number, now());
        hub.gateway_says(&request.trace, &format!("user-{}", number % 3));
        let start = request.access_start();
        self.proxy.at(request.start).says(&start, "");
        request.line(&mut self.service);
        for line in 0..self.rng.u32(0..20) {
            self.service
                .logrus(&format!("line {line} of step {number}"));
        }
        let end = request.access();
        self.proxy.says(&end, "");
        match self.rng.u8(0..64) {
            0 => self.service.restart(),
            1..=8 => self.service.rotate(),
            _ => {}
        }
        drop(http::post(setup.spans, "/api/v2/spans", &request.body()).await);
        // The pace of a busy service; nothing is waited for.
        tokio::time::sleep(PACE).await;
    }
}

/// Every document says the same about who did it, however often and wherever it was delivered.
fn nothing_contradicts(forward: &Receiver, elastic: &Server) -> usize {
    let mut claims = forward.store.claims();
    for (id, said) in elastic.store.claims() {
        claims.entry(id).or_default().extend(said);
    }
    for (id, said) in &claims {
        assert_eq!(
            said.len(),
            1,
            "{id} was delivered with different verdicts: {said:?}"
        );
    }
    let named = claims.values().flatten();
    named.filter(|(_, user, _)| user.is_some()).count()
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_double_nothing_and_change_no_verdict() {
    let seed = std::env::var("EMCO_TEST_SEED").map_or(20_261_123, |seed| seed.parse().unwrap());
    println!("EMCO_TEST_SEED={seed} plays this again");
    let (forward, elastic, hub) = (
        Receiver::start().await,
        Server::start().await,
        Hub::start().await,
    );
    let mut setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address)
        .hub(hub.address);
    setup.wait = "500ms";
    let mut work = Workload::new(&setup, seed);
    for _ in 0..KILLS {
        let sidecar = if work.rng.bool() {
            setup.spawn()
        } else {
            setup.start().await
        };
        let end = Instant::now() + Duration::from_millis(work.rng.u64(5..300));
        while Instant::now() < end {
            work.step(&setup, &hub).await;
        }
        sidecar.kill().await;
        work.step(&setup, &hub).await;
    }
    let sidecar = setup.start().await;
    for _ in 0..50 {
        work.step(&setup, &hub).await;
    }
    let mut written = work.service.written.clone();
    written.extend(work.proxy.written);
    for store in [&forward.store, &elastic.store] {
        store.has_ids(&written).await;
        store.contains(&work.service.written).await;
    }
    sidecar.is_level().await;
    let named = nothing_contradicts(&forward, &elastic);
    assert!(
        named > written.len() / 50,
        "{named} of {} name somebody",
        written.len()
    );
    // A restart changes no total: what was logged is what both lanes are through with.
    let logged = sidecar
        .metric("emco_observer_head_logged_records_total", &[])
        .await;
    let documents = written.len() + elastic.store.requests().len();
    assert!(documents > 1_000, "{documents} documents");
    assert_eq!(logged, documents as u64, "entries of the verdict log");
    for lane in ["lane=\"forward\"", "lane=\"elastic\""] {
        assert_eq!(sidecar.metric(LINES, &[lane]).await, logged, "{lane}");
    }
    let outcomes: BTreeMap<String, usize> =
        elastic
            .store
            .lines()
            .iter()
            .fold(BTreeMap::new(), |mut counts, line| {
                let outcome = line["emco.attribution.outcome"]
                    .as_str()
                    .unwrap_or("")
                    .to_owned();
                *counts.entry(outcome).or_default() += 1;
                counts
            });
    assert!(
        outcomes.get("attributed").is_some_and(|count| *count > 50),
        "{outcomes:?}"
    );
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn a_stop_delivers_what_was_written_before_it() {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let mut setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address)
        .with("shutdown_grace: 10s");
    // Lines wait for evidence longer than the test takes to stop.
    setup.wait = "1s";
    let mut service = setup.service();
    service.logrus("the first");
    let sidecar = setup.start().await;
    forward.store.has_exactly(&service.written).await;
    for line in 0..2_000 {
        service.logrus(&format!("line {line}"));
    }
    let status = sidecar.terminate().await;
    assert!(status.success(), "{status}");
    for store in [&forward.store, &elastic.store] {
        store.has_exactly(&service.written).await;
        assert_eq!(
            store.received(),
            service.written.len(),
            "nothing is sent twice"
        );
    }
    let sidecar = setup.start().await;
    sidecar.says(&["everything is delivered"]).await;
    service.logrus("after the restart");
    forward.store.has_exactly(&service.written).await;
    elastic.store.has_exactly(&service.written).await;
    assert_eq!(
        forward.store.received(),
        service.written.len(),
        "nothing is sent twice"
    );
}

/// Lines that still wait for evidence when half of the grace period is over go without a person.
#[tokio::test]
async fn a_stop_delivers_lines_that_would_wait_for_longer() {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let mut setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address)
        .with("shutdown_grace: 2s");
    setup.wait = "20s";
    let mut service = setup.service();
    let mut sidecar = setup.start().await;
    for line in 0..10 {
        service.logrus(&format!("line {line}"));
    }
    let read = "emco_observer_head_read_records_total";
    sidecar.counts(read, &[], 10).await;
    let logged = "emco_observer_head_logged_records_total";
    assert_eq!(sidecar.metric(logged, &[]).await, 0, "they wait");
    sidecar.say_terminate().await;
    assert!(sidecar.ended().await.success());
    for store in [&forward.store, &elastic.store] {
        store.has_exactly(&service.written).await;
    }
    for line in elastic.store.lines() {
        assert_eq!(line["emco.attribution.rule"], "timeout", "{line}");
        assert_eq!(line["emco.attribution.outcome"], "none", "{line}");
    }
    let log = sidecar.log();
    assert!(log.contains("everything is delivered"), "{log}");
}

#[tokio::test]
async fn a_stop_without_time_to_read_on_says_so() {
    let forward = Receiver::start().await;
    let setup = Setup::new()
        .forward(forward.address)
        .with("shutdown_grace: 1s");
    let mut service = setup.service();
    for line in 0..120_000 {
        service.logrus(&format!("line {line}"));
    }
    let mut sidecar = setup.start().await;
    sidecar.say_terminate().await;
    assert!(sidecar.ended().await.success());
    let (log, said) = (
        sidecar.log(),
        "there was no time to read the logs to their end",
    );
    assert!(
        log.contains(said) && !log.contains("everything is delivered"),
        "{log}"
    );
    let next = setup.start().await;
    forward.store.has_exactly(&service.written).await;
    let logged = "emco_observer_head_logged_records_total";
    next.counts(logged, &[], 1).await;
}

#[tokio::test]
async fn a_stop_ends_in_time_where_a_destination_hangs_and_the_next_start_goes_on() {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address)
        .with("shutdown_grace: 2s");
    forward.behave(Manner::Silent);
    elastic.play(&[Trick::Silent; 4]);
    let mut service = setup.service();
    let sidecar = setup.start().await;
    for line in 0..100 {
        service.logrus(&format!("line {line}"));
    }
    sidecar
        .counts("emco_observer_head_logged_records_total", &[], 100)
        .await;
    let asked = Instant::now();
    assert!(sidecar.terminate().await.success());
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "a grace of 2 s took {took:?}"
    );
    assert_eq!(forward.store.received() + elastic.store.received(), 0);
    elastic.forget_tricks();
    forward.behave(Manner::Sound);
    let sidecar = setup.start().await;
    sidecar
        .says(&["not everything could be delivered; the next start goes on"])
        .await;
    forward.store.has_exactly(&service.written).await;
    elastic.store.has_exactly(&service.written).await;
}

/// What was sent while nobody listened stays missing, however often the sidecar starts before it has
/// decided the lines of that time.
#[tokio::test]
async fn the_time_without_a_sidecar_is_remembered_over_a_second_crash() {
    let elastic = Server::start().await;
    let mut setup = Setup::new().elastic(elastic.address);
    setup.wait = "500ms";
    let mut service = setup.service();
    service.ago(Duration::from_mins(2)).logrus("started");
    let sidecar = setup.start().await;
    // it began after the sidecar, and has ended
    let watched = Request::new(1, now() + A_MOMENT);
    watched.ended().await;
    assert_eq!(sidecar.post_spans(&watched.body()).await.0, 202);
    let line = watched.line(&mut service);
    // whoever was at work beside it has shown a span by then
    let later = Request::new(3, watched.start + 260_000_000);
    later.ended().await;
    assert_eq!(sidecar.post_spans(&later.body()).await.0, 202);
    let watched = line;
    elastic.store.has_exactly(&service.written).await;
    let outcome = |id: &str| elastic.store.get(id).unwrap()["emco.attribution.outcome"].clone();
    assert_eq!(
        outcome(&watched),
        "attributed",
        "nobody else can have printed it"
    );
    sidecar.is_level().await;
    sidecar.kill().await;
    // As if that had been a while ago.
    let died = SystemTime::now() - Duration::from_secs(15);
    age(&setup.state_dir(), died);
    setup.start().await.kill().await;
    let sidecar = setup.start().await;
    let unwatched = Request::new(2, now() - 8_000_000_000);
    assert_eq!(sidecar.post_spans(&unwatched.body()).await.0, 202);
    let unwatched = unwatched.line(&mut service);
    elastic.store.has_exactly(&service.written).await;
    assert_eq!(
        outcome(&unwatched),
        "ambiguous",
        "somebody unseen may have printed it"
    );
}

/// Sets when every file below `folder` was written.
fn age(folder: &Path, written: SystemTime) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path, written);
        } else {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(written).unwrap();
        }
    }
}

/// The state of the sidecar is worth nothing without its lock being given back at any death.
#[tokio::test]
async fn a_kill_leaves_no_lock_behind() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let mut service = setup.service();
    for round in 0..3 {
        let sidecar: Sidecar = setup.start().await;
        service.logrus(&format!("round {round}"));
        elastic.store.has_exactly(&service.written).await;
        sidecar.kill().await;
    }
    until("every line is stored once", async || {
        (elastic.store.line_ids().len() == 3).then_some(())
    })
    .await;
}
