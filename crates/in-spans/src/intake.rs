//! One body on its way: split, kept, shown. No socket; the clock only says when spans arrived.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use model::time::UnixNanos;

use crate::error::Error;
use crate::forms::Forms;
use crate::journal::{Journal, JournalError, KIND_GAP, SpanSink, encode_gap, show};
use crate::metrics::Metrics;
use crate::scan::SpanScratch;
use crate::splitter::{Piece, Splitter};

/// What all bodies share: where pieces go.
///
/// Journal and sink are called through a pointer: once a piece and once a span.
pub(crate) struct Store {
    journal: Box<dyn Journal>,
    sink: Arc<Mutex<dyn SpanSink>>,
    metrics: Metrics,
    scratch: SpanScratch,
    /// What earlier bodies were like.
    forms: Forms,
    /// Since when the journal has not been taking pieces.
    gap_since: Option<UnixNanos>,
}

/// One body.
pub(crate) struct Intake<'a> {
    splitter: Splitter,
    store: &'a Mutex<Store>,
}

impl Store {
    pub(crate) fn new(
        journal: impl Journal + 'static,
        sink: Arc<Mutex<dyn SpanSink>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            journal: Box::new(journal),
            sink,
            metrics,
            scratch: SpanScratch::default(),
            forms: Forms::default(),
            gap_since: None,
        }
    }

    /// Keeps a piece, then shows it. What the journal does not take is shown all the same: it is
    /// evidence now, and the gap record tells the ledger of a later restart that it is missing.
    fn take(&mut self, piece: Piece<'_>, now: UnixNanos) {
        let count = piece.spans().len() as u64;
        self.metrics.spans.inc_by(count);
        self.keep(piece.record(), count, now);
        let mut sink = lock(&self.sink);
        let run = piece.run();
        let shown: u64 = piece
            .spans()
            .iter()
            .map(|span| u64::from(show(span, run, &mut *sink, &mut self.scratch)))
            .sum();
        sink.end_of_piece();
        self.metrics.dropped_no_ids.inc_by(count - shown);
    }

    fn keep(&mut self, record: &[u8], count: u64, now: UnixNanos) {
        let mut result = Ok(());
        if let Some(since) = self.gap_since {
            result = self.journal.append(KIND_GAP, now, &encode_gap(since, now));
        }
        if result.is_ok() {
            self.gap_since = None;
            result = self.journal.append_spans(now, record, count);
        }
        let Err(error) = result else { return };
        self.gap_since.get_or_insert(now);
        match &error {
            JournalError::Full => self.metrics.dropped_journal_full.inc_by(count),
            JournalError::Failed(_) => self.metrics.dropped_journal_failed.inc_by(count),
        }
        tracing::error!(
            spans = count,
            error = net::chain(&error),
            "spans are not kept over a restart: the spool does not take them"
        );
    }

    /// Spans of a body that did not arrive in whole are missing for good: the sender never repeats.
    fn lose(&mut self, from: UnixNanos, to: UnixNanos) {
        let gap = encode_gap(from, to);
        if self.journal.append(KIND_GAP, to, &gap).is_err() {
            self.gap_since.get_or_insert(from);
        }
        lock(&self.sink).gap(from, to);
    }
}

impl<'a> Intake<'a> {
    pub(crate) fn new(store: &'a Mutex<Store>) -> Self {
        let forms = std::mem::take(&mut lock(store).forms);
        Self {
            splitter: Splitter::knowing(forms),
            store,
        }
    }

    /// Takes the next bytes of the body.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.splitter.push(bytes);
        self.drain(false)
    }

    /// The body is complete.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.drain(true)
    }

    /// The body was refused, or ended before its end: uses the whole spans that are there and tells
    /// of the gap.
    pub(crate) fn abandon(mut self, from: UnixNanos) {
        if let Err(error) = self.drain(true) {
            tracing::debug!(%error, "a body of spans was abandoned");
        }
        lock(self.store).lose(from, now());
    }

    fn drain(&mut self, complete: bool) -> Result<(), Error> {
        while let Some(piece) = self
            .splitter
            .next_piece(complete)
            .map_err(Error::NotSpans)?
        {
            lock(self.store).take(piece, now());
        }
        Ok(())
    }
}

impl Drop for Intake<'_> {
    fn drop(&mut self) {
        lock(self.store).forms = self.splitter.take_forms();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock: when spans arrived, for the journal's horizon.
pub(crate) fn now() -> UnixNanos {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}
