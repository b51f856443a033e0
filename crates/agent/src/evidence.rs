//! Spans into the ledger, with a journal that never stops taking them.

use std::time::Duration;

use head::{DependencyCalls, SharedLedger};
use in_spans::{Journal, JournalError, KIND_SPANS, SpanSink};
use model::evidence::SpanFacts;
use model::time::UnixNanos;
use spool::Spool;
use telemetry::cpu::{Meter, Work};

use crate::environment::now;
use crate::rest::Rest;
use crate::span_fates::Judge;
use crate::span_lookup::SpanMemory;
use crate::span_store::SpanStore;

/// How long EMCO's exporter may hold a span back: twice OpenTelemetry's default.
pub(crate) const EXPORT_DELAY: Duration = Duration::from_secs(10);
/// A request has ended its first call so long after it began, in nanoseconds (28 ms was seen): one
/// that began earlier has shown a span.
const FIRST_CALL: u64 = 250_000_000;

/// Shows spans to the ledger.
pub(crate) struct LedgerSink {
    ledger: SharedLedger,
    /// How late EMCO sends spans: before a gap in the receipt so much is missing, too.
    export_delay: Duration,
    /// When the spans of this piece came.
    at: Option<UnixNanos>,
    /// What the exporter of spans wants to know, where there is one.
    memory: Option<SpanMemory>,
    /// Counts calls, where they are to be counted.
    calls: Option<DependencyCalls>,
    fates: Option<(Judge, SpanStore)>,
    rest: Rest,
}

impl LedgerSink {
    pub(crate) fn new(ledger: SharedLedger, export_delay: Duration) -> Self {
        Self {
            ledger,
            export_delay,
            at: None,
            memory: None,
            calls: None,
            fates: None,
            rest: Rest::default(),
        }
    }

    /// Says to `rest` when spans come.
    pub(crate) fn disturbing(self, rest: Rest) -> Self {
        Self { rest, ..self }
    }

    /// Counts calls, too: for spans that are received, not for those that are shown again.
    pub(crate) fn counting(self, calls: DependencyCalls) -> Self {
        Self {
            calls: Some(calls),
            ..self
        }
    }

    /// Judges spans for the exporter as they arrive, if there is one, and tells the store of it.
    pub(crate) fn judging(self, store: &SpanStore) -> Self {
        let judge = |noise| (Judge::new(noise), store.clone());
        Self {
            fates: store.noise().map(judge),
            ..self
        }
    }

    /// Tells the exporter of spans, too.
    pub(crate) fn telling(self, memory: Option<SpanMemory>) -> Self {
        Self { memory, ..self }
    }

    /// From when on spans can have arrived that are missing, as [`SpanSink::gap`] takes it: the
    /// process before this one lived until `alive_until`, and what it received is known.
    pub(crate) fn missing_since(&self, alive_until: UnixNanos) -> UnixNanos {
        let seen = self.ledger.lock().spans_until().minus(FIRST_CALL);
        seen.min(alive_until).plus(self.delay()).max(alive_until)
    }

    fn delay(&self) -> u64 {
        u64::try_from(self.export_delay.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl SpanSink for LedgerSink {
    fn span(&mut self, span: &SpanFacts<'_>) {
        let at = *self.at.get_or_insert_with(now);
        if let Some(memory) = &self.memory {
            memory.span(span);
        }
        if let Some(calls) = &mut self.calls {
            calls.span(span);
        }
        self.ledger.lock().span(span, at);
    }

    fn span_at(&mut self, span: &SpanFacts<'_>, at: u32) {
        if let Some((judge, _)) = &mut self.fates {
            judge.span(span, at);
        }
        self.span(span);
    }

    fn nameless_at(&mut self, at: u32) {
        if let Some((judge, _)) = &mut self.fates {
            judge.nameless(at);
        }
    }

    fn end_of_piece(&mut self) {
        self.rest.disturb();
        if let (Some(calls), Some(at)) = (&mut self.calls, self.at.take()) {
            calls.end_of_piece(at);
        }
        self.at = None;
        if let Some((judge, store)) = &mut self.fates
            && let Some(noise) = store.judged(judge.take())
        {
            judge.set(noise);
        }
    }

    fn gap(&mut self, from: UnixNanos, to: UnixNanos) {
        let mut ledger = self.ledger.lock();
        if from == UnixNanos(0) {
            // of nothing before is anything known
            ledger.history_lost(to);
        }
        ledger.gap(from.minus(self.delay()), to);
    }
}

/// The spool as a journal: when it is full the oldest spans make room, because new evidence is worth
/// more than what only a restart would need.
pub(crate) struct SpanJournal {
    store: SpanStore,
}

impl SpanJournal {
    pub(crate) const fn new(store: SpanStore) -> Self {
        Self { store }
    }
}

impl Journal for SpanJournal {
    fn append(&mut self, kind: u8, at: UnixNanos, payload: &[u8]) -> Result<(), JournalError> {
        self.store.append(kind, at, payload, 0).map_err(refused)
    }

    fn append_spans(
        &mut self,
        at: UnixNanos,
        payload: &[u8],
        spans: u64,
    ) -> Result<(), JournalError> {
        self.store
            .append(KIND_SPANS, at, payload, spans)
            .map_err(refused)
    }
}

fn refused(error: spool::Error) -> JournalError {
    match error {
        spool::Error::Full { .. } => JournalError::Full,
        error => JournalError::Failed(Box::new(error)),
    }
}

/// Gives the ledger what the spool kept from before a restart. Answers the moment before which
/// evidence is missing, if it is.
pub(crate) fn rebuild(spool: &Spool, sink: &mut LedgerSink, meter: &Meter) -> Option<UnixNanos> {
    let mut reader = spool.reader(spool.first());
    let replayed = meter.within(Work::Spans, || in_spans::replay(&mut reader, sink));
    match replayed {
        Ok(spans) => {
            if spans > 0 {
                tracing::info!(spans, "evidence rebuilt from the spool");
            }
            spool.is_trimmed().then(|| oldest(spool))
        }
        Err(error) => {
            tracing::error!(%error, "kept spans cannot be read; lines of that time may stay without a person");
            Some(now())
        }
    }
}

/// When the oldest spans that are kept arrived; now if there are none.
fn oldest(spool: &Spool) -> UnixNanos {
    let mut reader = spool.reader(spool.first());
    match reader.next() {
        Ok(Some(batch)) => UnixNanos(batch.at),
        _ => now(),
    }
}

/// There was a process before this one: what was sent while nobody listened is missing.
///
/// EMCO sends spans in the order of their ends, so what ended before the last span that came is here.
pub(crate) fn note_downtime(
    sink: &mut LedgerSink,
    spans: &SpanStore,
    alive_until: UnixNanos,
    listening: UnixNanos,
) {
    let from = sink.missing_since(alive_until);
    note_gap(sink, spans, from, listening);
}

/// The service was at work before anybody listened: what it did then is not known.
pub(crate) fn note_late_start(sink: &mut LedgerSink, spans: &SpanStore, listening: UnixNanos) {
    tracing::info!(
        "the service was at work before this sidecar; its first lines stay without a person"
    );
    note_gap(sink, spans, UnixNanos(0), listening);
}

/// Tells of a gap. The journal remembers it, too: this process may end before it has decided the
/// lines of that time.
pub(crate) fn note_gap(sink: &mut LedgerSink, spans: &SpanStore, from: UnixNanos, to: UnixNanos) {
    sink.gap(from, to);
    let mut journal = SpanJournal::new(spans.clone());
    if let Err(error) = in_spans::note_gap(&mut journal, from, to) {
        let error = net::chain(&error);
        tracing::warn!(error, "a gap in the evidence cannot be remembered");
    }
}
