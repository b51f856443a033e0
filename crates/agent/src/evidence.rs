//! Spans into the ledger, with a journal that never stops taking them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use correlate::Ledger;
use in_spans::{Journal, JournalError, SpanSink};
use model::evidence::SpanFacts;
use model::time::UnixNanos;
use spool::Spool;
use telemetry::cpu::{Meter, Work};

use crate::environment::now;

/// The ledger, shared by those who bring evidence and the head, which asks for verdicts.
#[derive(Clone)]
pub(crate) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows spans to the ledger.
pub(crate) struct LedgerSink {
    ledger: SharedLedger,
    /// How late EMCO sends spans: before a gap in the receipt so much is missing, too.
    export_delay: Duration,
    /// When the spans of this piece came.
    at: Option<UnixNanos>,
}

impl LedgerSink {
    pub(crate) fn new(ledger: SharedLedger, export_delay: Duration) -> Self {
        Self {
            ledger,
            export_delay,
            at: None,
        }
    }
}

impl SpanSink for LedgerSink {
    fn span(&mut self, span: &SpanFacts<'_>) {
        let at = *self.at.get_or_insert_with(now);
        self.ledger.lock().span(span, at);
    }

    fn end_of_piece(&mut self) {
        self.at = None;
    }

    fn gap(&mut self, from: UnixNanos, to: UnixNanos) {
        let delay = u64::try_from(self.export_delay.as_nanos()).unwrap_or(u64::MAX);
        self.ledger.lock().gap(from.minus(delay), to);
    }
}

/// The spool as a journal: when it is full the oldest spans make room, because new evidence is worth
/// more than what only a restart would need.
pub(crate) struct SpanJournal {
    spool: Spool,
}

impl SpanJournal {
    pub(crate) fn new(spool: Spool) -> Self {
        Self { spool }
    }
}

impl Journal for SpanJournal {
    fn append(&mut self, kind: u8, at: UnixNanos, payload: &[u8]) -> Result<(), JournalError> {
        loop {
            match self.spool.append(kind, at.0, payload) {
                Ok(_) => return Ok(()),
                Err(spool::Error::Full { .. }) => match self.spool.drop_oldest() {
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(JournalError::Full),
                    Err(error) => return Err(JournalError::Failed(Box::new(error))),
                },
                Err(error) => return Err(JournalError::Failed(Box::new(error))),
            }
        }
    }
}

/// Gives the ledger what the spool kept from before a restart. Answers whether the spool still holds
/// everything since the service's first span.
pub(crate) fn rebuild(spool: &Spool, sink: &mut LedgerSink, meter: &Meter) -> bool {
    let mut reader = spool.reader(spool.first());
    let replayed = meter.within(Work::Spans, || in_spans::replay(&mut reader, sink));
    match replayed {
        Ok(spans) => {
            if spans > 0 {
                tracing::info!(spans, "evidence rebuilt from the spool");
            }
            spool.first() == spool::Position::default()
        }
        Err(error) => {
            tracing::error!(%error, "kept spans cannot be read; lines of that time may stay without a person");
            false
        }
    }
}
