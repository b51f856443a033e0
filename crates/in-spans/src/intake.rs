//! One body on its way: decompressed, split, kept, shown. Pure but for the journal and the sink.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::write::MultiGzDecoder;
use model::time::UnixNanos;

use crate::error::{Error, Fault};
use crate::journal::{Journal, JournalError, KIND_GAP, KIND_SPANS, SpanSink, encode_gap, show};
use crate::metrics::Metrics;
use crate::scan::SpanScratch;
use crate::splitter::{Piece, Splitter};

/// What all bodies share: where pieces go.
pub(crate) struct Store<J, S> {
    journal: J,
    sink: Arc<Mutex<S>>,
    metrics: Metrics,
    scratch: SpanScratch,
    /// Since when the journal has not been taking pieces.
    gap_since: Option<UnixNanos>,
}

/// One body.
pub(crate) enum Intake<J: Journal, S: SpanSink> {
    Plain(Inlet<J, S>),
    Gzip(Box<MultiGzDecoder<Inlet<J, S>>>),
}

/// Where decompressed bytes go in; remembers why it stopped taking them.
pub(crate) struct Inlet<J, S> {
    splitter: Splitter,
    store: Arc<Mutex<Store<J, S>>>,
    left: u64,
    limit: u64,
    refused: Option<Error>,
}

impl<J: Journal, S: SpanSink> Store<J, S> {
    pub(crate) fn new(journal: J, sink: Arc<Mutex<S>>, metrics: Metrics) -> Self {
        Self {
            journal,
            sink,
            metrics,
            scratch: SpanScratch::default(),
            gap_since: None,
        }
    }

    /// Keeps a piece, then shows it. What the journal does not take is shown all the same: it is
    /// evidence now, and the gap record tells the ledger of a later restart that it is missing.
    fn take(&mut self, piece: Piece<'_>, now: UnixNanos) {
        let count = piece.spans().len() as u64;
        self.metrics.spans.inc_by(count);
        self.keep(piece.record(), count, now);
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
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
            result = self.journal.append(KIND_SPANS, now, record);
        }
        let Err(error) = result else { return };
        self.gap_since.get_or_insert(now);
        match &error {
            JournalError::Full => self.metrics.dropped_journal_full.inc_by(count),
            JournalError::Failed(_) => self.metrics.dropped_journal_failed.inc_by(count),
        }
        tracing::error!(
            spans = count,
            error = &error as &dyn std::error::Error,
            "spans are not kept over a restart: the spool does not take them"
        );
    }

    /// Spans of a body that did not arrive in whole are missing for good: the sender never repeats.
    fn lose(&mut self, from: UnixNanos, to: UnixNanos) {
        // If the journal does not take the record either, a gap is open already or opens now.
        if self
            .journal
            .append(KIND_GAP, to, &encode_gap(from, to))
            .is_err()
        {
            self.gap_since.get_or_insert(from);
        }
        self.sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .gap(from, to);
    }
}

impl<J: Journal, S: SpanSink> Intake<J, S> {
    pub(crate) fn new(store: Arc<Mutex<Store<J, S>>>, gzip: bool, limit: u64) -> Self {
        let inlet = Inlet {
            splitter: Splitter::new(),
            store,
            left: limit,
            limit,
            refused: None,
        };
        if gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(inlet)))
        } else {
            Self::Plain(inlet)
        }
    }

    /// Takes the next bytes as they came over the network.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Plain(inlet) => inlet.push(bytes),
            Self::Gzip(decoder) => {
                let result = decoder.write_all(bytes);
                decoder.get_mut().told(result)
            }
        }
    }

    /// The body is complete.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let result = match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => {
                let result = decoder.try_finish();
                decoder.get_mut().told(result)
            }
        };
        let drained = self.inlet().drain(true);
        result.and(drained)
    }

    /// The body ended before its end, or was refused: uses the whole spans that are there and tells
    /// of the gap.
    pub(crate) fn abandon(&mut self, from: UnixNanos) {
        let inlet = self.inlet();
        // The fault that this finds is the one that is known, or the cut itself.
        let _: Result<(), Error> = inlet.drain(true);
        lock(&inlet.store).lose(from, now());
    }

    fn inlet(&mut self) -> &mut Inlet<J, S> {
        match self {
            Self::Plain(inlet) => inlet,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }
}

impl<J: Journal, S: SpanSink> Inlet<J, S> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(Error::TooLong { limit: self.limit });
        };
        self.left = left;
        self.splitter.push(bytes);
        self.drain(false)
    }

    fn drain(&mut self, complete: bool) -> Result<(), Error> {
        let not_spans = |fault: Fault| Error::NotSpans(fault);
        while let Some(piece) = self.splitter.next_piece(complete).map_err(not_spans)? {
            let mut store = lock(&self.store);
            store.take(piece, now());
        }
        Ok(())
    }

    /// Turns the decompressor's answer back into ours: the inlet's own refusal comes first.
    fn told(&mut self, result: io::Result<()>) -> Result<(), Error> {
        result.map_err(|error| self.refused.take().unwrap_or(Error::Gzip(error)))
    }
}

/// The decompressor's side: at most 32 KiB come at once.
impl<J: Journal, S: SpanSink> Write for Inlet<J, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.refused = Some(error);
                Err(io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock: when spans arrived, for the journal's horizon.
pub(crate) fn now() -> UnixNanos {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}
