//! The OpenTelemetry Collector is away for a minute while a recording comes in as it came in, and the
//! sidecar is killed: every span that it took and that is no noise is there in the end.
//!
//! ```text
//! bodies  ──────────────────────────────────────────────────────────────▶ t, twice as fast
//! Collector ────┐ stopped                                     ┌── started again
//!               └─────────────────── a minute ────────────────┘
//! sidecar ──────────────── killed ─────────────────────────────── killed while it catches up
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test panics where it fails and says what it leaves out"
)]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::recording;
use common::sidecar::{Setup, Sidecar};
use common::until;
use testkit::peers::Collector;
use testkit::spans::SpanAccount;
use tokio::time::Instant;

/// What is played; its spans came within two minutes.
const RECORDING: &str = "truth/traced";
const SENDER: &str = "orchestrator.emco";
const FASTER: u32 = 2;
const STOPPED: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_mins(1);
/// Spans of one request, unless the settings say something else.
const BATCH: usize = 512;

/// What happens beside the spans that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Stop,
    Kill,
    /// The kill comes as soon as the first spans have.
    StartAndKill,
}

/// How many spans the Collector has and how many of them came again; `account` has them afterwards.
fn stored(collector: &Collector, account: &mut SpanAccount) -> (usize, usize) {
    let mut times: HashMap<(String, String), usize> = HashMap::new();
    for span in collector.spans() {
        let text = |key: &str| span[key].as_str().unwrap().to_owned();
        let key = (text("traceId"), text("spanId"));
        account.store(SENDER, &key.0, &key.1);
        *times.entry(key).or_default() += 1;
    }
    let again = times.values().map(|times| times - 1).sum();
    (times.len(), again)
}

/// Bytes of what the Collector has written.
fn written(collector: &Collector) -> u64 {
    std::fs::metadata(&collector.traces).unwrap().len()
}

async fn killed(sidecar: Sidecar, setup: &Setup) -> Sidecar {
    sidecar.kill().await;
    setup.start().await
}

/// Waits until all spans are exported or left out.
async fn is_through(sidecar: &Sidecar) {
    until("no span waits", async || {
        let waiting = sidecar
            .metric("emco_observer_otlp_waiting_spans", &[])
            .await;
        (waiting == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn recording_arrives_though_the_collector_is_away_for_a_minute() {
    let Some(folder) = recording::folder(RECORDING) else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let Some(mut collector) = Collector::to_file(data.path()) else {
        return;
    };
    let setup = Setup::new().spans_bytes_max(256 << 20);
    let setup = setup.otlp(collector.otlp, "request_timeout: 5s");
    let mut sidecar = setup.start().await;
    let bodies = recording::bodies(&folder, SENDER);
    let began = bodies[0].0;
    let mut account = SpanAccount::default();
    let mut events = vec![
        (STOPPED + AWAY, Event::StartAndKill),
        (STOPPED + AWAY / 2, Event::Kill),
        (STOPPED, Event::Stop),
    ];
    let start = Instant::now();
    let mut came_while_away = 0;
    let mut bodies = bodies.into_iter().peekable();
    while bodies.peek().is_some() || !events.is_empty() {
        let of_body = bodies
            .peek()
            .map(|(at, _)| Duration::from_nanos(at - began) / FASTER);
        let of_event = events.last().map(|(at, _)| *at);
        let next = of_body.into_iter().chain(of_event).min().unwrap();
        tokio::time::sleep_until(start + next).await;
        if of_event == Some(next) {
            match events.pop().unwrap().1 {
                Event::Stop => collector.stop(),
                Event::Kill => sidecar = killed(sidecar, &setup).await,
                Event::StartAndKill => {
                    let before = written(&collector);
                    collector.start_again();
                    until("it catches up", async || {
                        (written(&collector) > before).then_some(())
                    })
                    .await;
                    sidecar = killed(sidecar, &setup).await;
                }
            }
            continue;
        }
        let (_, body) = bodies.next().unwrap();
        let (status, said) = sidecar.post_spans(&body).await;
        assert_eq!(status, 202, "{said}");
        account.send(&body, true).unwrap();
        let is_away = (STOPPED..STOPPED + AWAY).contains(&next);
        came_while_away += usize::from(is_away);
    }
    assert!(came_while_away > 100, "{came_while_away} bodies");
    is_through(&sidecar).await;
    let (arrived, again) = stored(&collector, &mut account);
    let report = account.report();
    assert_eq!((report.lost, report.unknown), (0, 0), "{report:?}");
    assert_eq!(
        report.acknowledged,
        arrived as u64 + report.left_out,
        "{report:?}"
    );
    assert!(report.acknowledged > 50_000, "{report:?}");
    assert!(again <= 2 * BATCH, "{again} spans came again");
}
