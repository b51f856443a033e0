//! Cuts a body that arrives in frames into runs of whole spans.
//!
//! The buffer holds what has not been handed out: less than [`PIECE_BYTES`] plus one frame, or one
//! long span. A body is scanned only when enough has arrived (or it is complete), so that a span at
//! the buffer's end is scanned twice at most a few times: the bar doubles while nothing whole is in.
//!
//! ```text
//! buffer  ┌───┬─────────────────────────────┬──────────────┐
//!         │ 1 │ {span},{span}, … {span}     │ ,{"traceI    │
//!         └───┴─────────────────────────────┴──────────────┘
//!          version byte: the piece is a       kept for the
//!          journal record as it lies here     next frame
//! ```

use std::ops::Range;

use crate::error::{Fault, FaultKind};
use crate::forms::Forms;
use crate::journal::RECORD_VERSION;
use crate::scan::{RawSpan, scan_formed};

/// A piece is handed out when so many bytes are there.
pub(crate) const PIECE_BYTES: usize = 128 << 10;
/// Longest single span.
pub(crate) const SPAN_BYTES_MAX: usize = 8 << 20;

/// The state of one body.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Up to here the buffer was scanned and found right.
    scanned: usize,
    /// Offset in the body of the buffer's byte 1.
    base: u64,
    /// Scan when so much is not scanned yet.
    bar: usize,
    /// The least bar.
    piece_bytes: usize,
    place: Place,
    spans: Vec<RawSpan>,
    forms: Forms,
    fault: Option<Fault>,
}

/// A run of whole spans.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    record: &'a [u8],
    spans: &'a [RawSpan],
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    FirstOrEnd,
    Span,
    CommaOrEnd,
    Behind,
}

impl Splitter {
    /// Before the first byte of a body.
    pub fn new() -> Self {
        Self::with_piece_bytes(PIECE_BYTES)
    }

    /// The same, with pieces of about so many bytes.
    pub fn with_piece_bytes(piece_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            scanned: 1,
            base: 0,
            bar: piece_bytes,
            piece_bytes,
            place: Place::Start,
            spans: Vec::new(),
            forms: Forms::default(),
            fault: None,
        }
    }

    /// The same, for a sender whose forms may be known from other bodies.
    pub(crate) fn knowing(forms: Forms) -> Self {
        Self {
            forms,
            ..Self::new()
        }
    }

    /// Gives away what was learned of the sender's forms.
    pub(crate) fn take_forms(&mut self) -> Forms {
        std::mem::take(&mut self.forms)
    }

    /// Takes the next bytes of the body. Drain [`Splitter::next_piece`] afterwards.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.scanned > 1 {
            self.base += (self.scanned - 1) as u64;
            self.buffer.drain(1..self.scanned);
            self.scanned = 1;
        }
        if self.buffer.is_empty() {
            self.buffer.push(RECORD_VERSION);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next run of whole spans, if enough has arrived; with `complete` (no more bytes will come)
    /// everything that is left.
    ///
    /// # Errors
    /// After all whole spans in front of the fault have been handed out: where and why the body is no
    /// array of spans. With `complete`, also if it has not ended properly.
    pub fn next_piece(&mut self, complete: bool) -> Result<Option<Piece<'_>>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.buffer.len() - self.scanned.min(self.buffer.len()) < self.bar && !complete {
            return Ok(None);
        }
        self.spans.clear();
        let mut run = 0..0;
        match self.scan(&mut run) {
            Err(fault) if fault.kind == FaultKind::End && !complete => self.raise_bar(run.end),
            Err(fault) => self.fault = Some(self.in_body(fault)),
            Ok(()) if complete && self.place != Place::Behind => {
                self.fault = Some(self.in_body(fault(self.buffer.len(), FaultKind::End)));
            }
            Ok(()) => self.bar = self.piece_bytes,
        }
        if self.spans.is_empty() {
            return self.fault.map_or(Ok(None), Err);
        }
        // In front of the first span there is at least the array's bracket or the comma.
        let record = run.start.saturating_sub(1)..run.end;
        if let Some(version) = self.buffer.get_mut(record.start) {
            *version = RECORD_VERSION;
        }
        Ok(Some(Piece {
            record: self.buffer.get(record).unwrap_or_default(),
            spans: &self.spans,
        }))
    }

    /// Bytes allocated for the body.
    #[cfg(test)]
    pub(crate) const fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Steps over everything whole; `run` becomes the range from the first span to the last.
    fn scan(&mut self, run: &mut Range<usize>) -> Result<(), Fault> {
        loop {
            let space = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
            let rest = self.buffer.get(self.scanned..).unwrap_or_default();
            self.scanned += rest.iter().take_while(space).count();
            let Some(byte) = self.buffer.get(self.scanned) else {
                return Ok(());
            };
            self.place = match (self.place, byte) {
                (Place::Start, b'[') => Place::FirstOrEnd,
                (Place::FirstOrEnd | Place::CommaOrEnd, b']') => Place::Behind,
                (Place::CommaOrEnd, b',') => Place::Span,
                (Place::FirstOrEnd | Place::Span, b'{') => {
                    self.scan_span(run)?;
                    self.place = Place::CommaOrEnd;
                    continue;
                }
                (place, _) => {
                    return Err(fault(self.scanned, FaultKind::Expected(place.expected())));
                }
            };
            self.scanned += 1;
        }
    }

    fn scan_span(&mut self, run: &mut Range<usize>) -> Result<(), Fault> {
        if self.spans.is_empty() {
            *run = self.scanned..self.scanned;
        }
        let text = self.buffer.get(run.start..).unwrap_or_default();
        let at = self.scanned - run.start;
        let scanned = scan_formed(text, at, &mut self.forms, &mut ());
        let (span, end, _) = scanned.map_err(|fault| Fault {
            at: fault.at + run.start as u64,
            ..fault
        })?;
        if end - at > SPAN_BYTES_MAX {
            return Err(fault(self.scanned, FaultKind::SpanTooLong));
        }
        self.spans.push(span);
        run.end = run.start + end;
        self.scanned = run.end;
        Ok(())
    }

    /// A span is not whole yet: scans again when there is much more of it.
    fn raise_bar(&mut self, run_end: usize) {
        let pending = self.buffer.len() - self.scanned.min(self.buffer.len());
        if pending > SPAN_BYTES_MAX {
            self.fault = Some(self.in_body(fault(self.scanned, FaultKind::SpanTooLong)));
        } else if self.spans.is_empty() {
            self.bar = (pending * 2).clamp(self.piece_bytes, SPAN_BYTES_MAX + 1);
        } else {
            debug_assert!(run_end <= self.scanned, "a run ends where scanning stopped");
            self.bar = self.piece_bytes.max(pending + 1);
        }
    }

    const fn in_body(&self, fault: Fault) -> Fault {
        Fault {
            at: (self.base + fault.at).saturating_sub(1),
            kind: fault.kind,
        }
    }
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Piece<'_> {
    /// The spans as they came, separated by commas.
    pub fn run(&self) -> &[u8] {
        self.record.get(1..).unwrap_or_default()
    }

    /// The payload of a journal record of [`crate::KIND_SPANS`]: version byte and run.
    pub const fn record(&self) -> &[u8] {
        self.record
    }

    /// What was noted about each span.
    pub const fn spans(&self) -> &[RawSpan] {
        self.spans
    }
}

impl Place {
    const fn expected(self) -> &'static str {
        match self {
            Self::Start => "an array",
            Self::FirstOrEnd => "a span or the end of the array",
            Self::Span => "a span",
            Self::CommaOrEnd => "a comma or the end of the array",
            Self::Behind => "nothing more",
        }
    }
}

/// Shows each span of a `run` to `each`.
///
/// # Errors
/// At the first byte that is not right; the spans in front of it have been shown.
pub(crate) fn scan_run(
    run: &[u8],
    forms: &mut Forms,
    mut each: impl FnMut(&RawSpan),
) -> Result<(), Fault> {
    let mut at = 0;
    let skip = |from: usize| {
        let rest = run.get(from..).unwrap_or_default();
        let space = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        from + rest.iter().take_while(space).count()
    };
    loop {
        let (span, end, _) = scan_formed(run, skip(at), forms, &mut ())?;
        each(&span);
        at = skip(end);
        match run.get(at) {
            None => return Ok(()),
            Some(b',') => at += 1,
            Some(_) => return Err(fault(at, FaultKind::Expected("a comma"))),
        }
    }
}

const fn fault(at: usize, kind: FaultKind) -> Fault {
    Fault {
        at: at as u64,
        kind,
    }
}
