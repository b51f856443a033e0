//! The journal that makes spans durable, the sink that uses them, and the way back after a restart.

use model::evidence::SpanFacts;
use model::time::UnixNanos;

use crate::error::{Error, Fault, FaultKind};
use crate::scan::{RawSpan, SpanScratch};
use crate::splitter::scan_run;

/// Kind of a journal record that holds spans.
pub const KIND_SPANS: u8 = 1;
/// Kind of a journal record that says that spans are missing.
pub const KIND_GAP: u8 = 2;
/// Version of both kinds, the first byte of their payload.
pub const RECORD_VERSION: u8 = 1;

/// Keeps records over a crash; the spool, in a program.
pub trait Journal: Send {
    /// Appends a record. When this returns, a crash of the process does not lose it.
    ///
    /// # Errors
    /// If the record is not kept; nothing of it is.
    fn append(&mut self, kind: u8, at: UnixNanos, payload: &[u8]) -> Result<(), JournalError>;

    /// Appends a record of [`KIND_SPANS`] that holds so many spans, those without ids included.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn append_spans(
        &mut self,
        at: UnixNanos,
        payload: &[u8],
        spans: u64,
    ) -> Result<(), JournalError> {
        let _: u64 = spans;
        self.append(KIND_SPANS, at, payload)
    }
}

/// Why a record was not kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room; older records must go first.
    #[error("the journal is full")]
    Full,
    /// Anything else.
    #[error("appending to the journal")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Uses spans as evidence. The same span may be shown more than once.
pub trait SpanSink: Send {
    /// One span, in the order of arrival.
    fn span(&mut self, span: &SpanFacts<'_>);

    /// The same, with the place in its record where the span begins, as [`crate::SpanRun::new`] takes
    /// it.
    fn span_at(&mut self, span: &SpanFacts<'_>, _at: u32) {
        self.span(span);
    }

    /// A span without ids stands at that place: it is no evidence.
    fn nameless_at(&mut self, _at: u32) {}

    /// A run of spans is complete; a good moment to decide.
    fn end_of_piece(&mut self) {}

    /// Spans that arrived between the two times are missing: refused, cut off, or (when this comes
    /// from a replay) seen before the restart and not kept.
    fn gap(&mut self, from: UnixNanos, to: UnixNanos) {
        let _: (UnixNanos, UnixNanos) = (from, to);
    }
}

/// What a journal record held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// So many spans were shown to the sink.
    Spans(u64),
    /// A gap was shown to the sink.
    Gap,
}

/// Shows what a journal record holds to `sink`.
///
/// # Errors
/// [`Error::Record`] for a kind or version that is not known, [`Error::Damaged`] for content that
/// this crate never wrote (whole spans in front of the damage have been shown).
pub fn replay_record(
    kind: u8,
    payload: &[u8],
    sink: &mut dyn SpanSink,
    scratch: &mut SpanScratch,
) -> Result<Replayed, Error> {
    let (version, content) = payload.split_first().unwrap_or((&0, &[]));
    match (kind, *version) {
        (KIND_SPANS, RECORD_VERSION) => {
            let mut count = 0;
            let mut forms = std::mem::take(&mut scratch.forms);
            let scanned = scan_run(content, &mut forms, |span| {
                count += u64::from(show(span, content, sink, scratch));
            });
            scratch.forms = forms;
            scanned.map_err(Error::Damaged)?;
            sink.end_of_piece();
            Ok(Replayed::Spans(count))
        }
        (KIND_GAP, RECORD_VERSION) => {
            let (from, to) = decode_gap(content).ok_or(Error::Damaged(Fault {
                at: payload.len() as u64,
                kind: FaultKind::End,
            }))?;
            sink.gap(from, to);
            Ok(Replayed::Gap)
        }
        (kind, version) => Err(Error::Record { kind, version }),
    }
}

/// Shows everything that `reader` finds to `sink`: evidence is rebuilt like that at the start. Records
/// of other kinds (they belong to others) are stepped over; damaged ones and those of a later version
/// are shown as a gap at their time. Answers how many spans were shown.
///
/// # Errors
/// [`Error::Spool`] if the spool cannot be read.
pub fn replay<T: spool::Storage>(
    reader: &mut spool::Reader<T>,
    sink: &mut dyn SpanSink,
) -> Result<u64, Error> {
    let mut scratch = SpanScratch::default();
    let mut spans = 0;
    let (mut damages, mut last) = (0, UnixNanos::default());
    while let Some(batch) = reader.next().map_err(Error::Spool)? {
        let at = UnixNanos(batch.at);
        if batch.damages > damages {
            sink.gap(last, at);
        }
        (damages, last) = (batch.damages, at);
        if !matches!(batch.kind, KIND_SPANS | KIND_GAP) {
            continue;
        }
        match replay_record(batch.kind, batch.payload, sink, &mut scratch) {
            Ok(Replayed::Spans(count)) => spans += count,
            Ok(Replayed::Gap) => {}
            Err(error) => {
                tracing::error!(%error, "kept spans cannot be read back");
                sink.gap(at, at);
            }
        }
    }
    if reader.damages() > damages {
        sink.gap(last, last);
    }
    Ok(spans)
}

/// Writes down that spans which arrived between the two times are missing, so that a later replay
/// says so, too.
///
/// # Errors
/// If the journal does not take it.
pub fn note_gap(
    journal: &mut impl Journal,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<(), JournalError> {
    journal.append(KIND_GAP, to, &encode_gap(from, to))
}

/// Shows one span to `sink`; answers whether it has ids and was shown.
pub(crate) fn show(
    span: &RawSpan,
    run: &[u8],
    sink: &mut (impl SpanSink + ?Sized),
    scratch: &mut SpanScratch,
) -> bool {
    let facts = span.facts(run, scratch);
    match &facts {
        Some(facts) => sink.span_at(facts, span.at()),
        None => sink.nameless_at(span.at()),
    }
    facts.is_some()
}

/// The payload of a record of [`KIND_GAP`].
pub(crate) fn encode_gap(from: UnixNanos, to: UnixNanos) -> [u8; 17] {
    let mut payload = [RECORD_VERSION; 17];
    let (_, times) = payload.split_at_mut(1);
    for (place, byte) in times
        .iter_mut()
        .zip(from.0.to_le_bytes().into_iter().chain(to.0.to_le_bytes()))
    {
        *place = byte;
    }
    payload
}

fn decode_gap(content: &[u8]) -> Option<(UnixNanos, UnixNanos)> {
    let (from, rest) = content.split_first_chunk::<8>()?;
    let (to, _) = rest.split_first_chunk::<8>()?;
    let time = |bytes: &[u8; 8]| UnixNanos(u64::from_le_bytes(*bytes));
    Some((time(from), time(to)))
}

impl<T: spool::Storage> Journal for spool::Spool<T> {
    fn append(&mut self, kind: u8, at: UnixNanos, payload: &[u8]) -> Result<(), JournalError> {
        match Self::append(self, kind, at.0, payload) {
            Ok(_) => Ok(()),
            Err(spool::Error::Full { .. }) => Err(JournalError::Full),
            Err(error) => Err(JournalError::Failed(Box::new(error))),
        }
    }
}
