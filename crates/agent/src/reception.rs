//! Taking spans, also when their address is somebody else's for a while.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use head::{CallFeed, DependencyCalls, SharedLedger};
use in_spans::{Journal, JournalError, Metrics, Receiver, SpanSink};
use model::evidence::SpanFacts;
use model::time::UnixNanos;
use prometheus::{IntCounter, Registry};
use telemetry::cpu::Meter;
use telemetry::health::Health;
use tokio_util::sync::CancellationToken;

use crate::environment;
use crate::evidence::{EXPORT_DELAY, LedgerSink, SpanJournal, note_gap};
use crate::settings::Settings;
use crate::span_store::SpanStore;

/// The part of our health that stands for spans.
const SPANS: &str = "spans";
/// How often an address that cannot be had is tried again.
pub(crate) const TRY_EVERY: Duration = Duration::from_secs(2);
/// Until the next time it is tried nothing is heard, for certain.
const DEAF_NANOS: u64 = 5_000_000_000;

/// Where spans come in.
pub(crate) struct Reception {
    settings: in_spans::Settings,
    metrics: Metrics,
    health: Health,
    receiver: Option<Receiver>,
}

impl Reception {
    /// Listens, if that is possible now.
    ///
    /// # Errors
    /// If the metrics are registered already.
    pub(crate) async fn open(
        settings: &Settings,
        registry: &Registry,
        health: &Health,
    ) -> Result<Self> {
        let mut reception = Self {
            settings: in_spans::Settings {
                listen: settings.spans.listen,
                ..in_spans::Settings::default()
            },
            metrics: Metrics::new(registry)?,
            health: health.clone(),
            receiver: None,
        };
        reception.receiver = reception.listen().await;
        Ok(reception)
    }

    /// Takes spans from now on, or from the moment on when the address can be had. Answers where the
    /// calls in them come out, and the place in the spool in front of which they were received before.
    pub(crate) fn receive(
        mut self,
        sink: LedgerSink,
        (ledger, spans): (&SharedLedger, &SpanStore),
        meter: &Meter,
        stop: &CancellationToken,
    ) -> (CallFeed, spool::Position) {
        let calls = DependencyCalls::new(spans.spool().clone());
        let received = (calls.feed(), spans.spool().end());
        let sink = sink.counting(calls).judging(spans);
        let (meter, stop, spans) = (meter.clone(), stop.clone(), spans.clone());
        let mut deaf = Deaf::since_now(ledger.clone(), spans.clone());
        tokio::spawn(async move {
            let receiver = loop {
                match self.receiver.take() {
                    Some(receiver) => break receiver,
                    None => deaf.go_on(),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TRY_EVERY) => self.receiver = self.listen().await,
                }
            };
            let (journal, sink) = (SpanJournal::new(spans), Arc::new(Mutex::new(sink)));
            receiver.serve(journal, sink, meter, stop).await;
        });
        received
    }

    async fn listen(&self) -> Option<Receiver> {
        let bound = Receiver::bind(self.settings.clone(), self.metrics.clone()).await;
        match bound {
            Ok(receiver) => {
                self.health.clear(SPANS);
                Some(receiver)
            }
            Err(error) => {
                self.health.set(SPANS, net::chain(&error));
                None
            }
        }
    }
}

/// Counts spans that nothing can be done with.
pub(crate) fn ignored(registry: &Registry) -> prometheus::Result<IntCounter> {
    let ignored = IntCounter::new(
        "emco_observer_idle_ignored_spans_total",
        "Spans that came while nothing could be done with them",
    )?;
    registry.register(Box::new(ignored.clone()))?;
    Ok(ignored)
}

/// Takes spans and forgets them, where nothing else can be done: EMCO prints a line for every body
/// that it cannot send.
///
/// # Errors
/// If the metrics are registered already.
pub(crate) fn ignore(
    address: SocketAddr,
    ignored: &IntCounter,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<()> {
    let reception = Reception {
        settings: in_spans::Settings {
            listen: address,
            ..in_spans::Settings::default()
        },
        metrics: Metrics::new(registry)?,
        // that nothing can be done is said already
        health: Health::new(&Registry::new())?,
        receiver: None,
    };
    let (meter, stop) = (Meter::new(registry)?, stop.clone());
    let forgetful = Forgetful(ignored.clone());
    tokio::spawn(async move {
        let receiver = loop {
            if let Some(receiver) = reception.listen().await {
                break receiver;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TRY_EVERY) => {}
            }
        };
        let sink = Arc::new(Mutex::new(forgetful.clone()));
        receiver.serve(forgetful, sink, meter, stop).await;
    });
    Ok(())
}

/// Counts and keeps nothing.
#[derive(Clone)]
struct Forgetful(IntCounter);

impl SpanSink for Forgetful {
    fn span(&mut self, _span: &SpanFacts<'_>) {
        self.0.inc();
    }
}

impl Journal for Forgetful {
    fn append(&mut self, _kind: u8, _at: UnixNanos, _payload: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }
}

/// A time in which nobody listens: what happens in it may be anybody's.
struct Deaf {
    ledger: SharedLedger,
    spans: SpanStore,
    /// It is known of up to here.
    until: UnixNanos,
}

impl Deaf {
    fn since_now(ledger: SharedLedger, spans: SpanStore) -> Self {
        Self {
            ledger,
            spans,
            until: environment::now(),
        }
    }

    /// Lines of the next moments are not decided before it is known that their spans are missing.
    fn go_on(&mut self) {
        let from = self.until;
        self.until = environment::now().plus(DEAF_NANOS);
        let mut sink = LedgerSink::new(self.ledger.clone(), EXPORT_DELAY);
        note_gap(&mut sink, &self.spans, from, self.until);
    }
}
