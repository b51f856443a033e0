//! A validating scanner over one JSON object that is a span.
//!
//! Every byte is checked against JSON's grammar once, and nothing is built: of the few values that
//! are evidence it notes the parsed id or number, or where the string stands. Everything else (most
//! tags, annotations, endpoints, unknown keys) is stepped over.
//!
//! Lenient where senders differ: keys in any order, unknown keys, missing timestamp or duration,
//! ids with dropped leading zeros, `null` for anything, numbers as tags, numbers written as strings.
//! A key that comes twice counts with its last value.

use std::borrow::Cow;

use model::evidence::{SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use model::span::{Message, Span};
use model::time::UnixNanos;

use crate::error::{Fault, FaultKind};
use crate::forms::{FormId, Forms};
use crate::json::{self, Scanner, Stop};
use crate::text::{Part, Text};

/// What was noted about one span; positions count from the start of the run it was scanned in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSpan {
    pub(crate) at: u32,
    pub(crate) trace: Option<TraceId>,
    pub(crate) id: Option<SpanId>,
    pub(crate) parent: Option<SpanId>,
    pub(crate) kind: SpanKind,
    pub(crate) name: Text,
    pub(crate) service: Text,
    pub(crate) rpc_method: Option<Text>,
    pub(crate) rpc_service: Option<Text>,
    pub(crate) statement: Option<Text>,
    pub(crate) timestamp_micros: u64,
    pub(crate) duration_micros: u64,
    pub(crate) failed: bool,
    /// Whether it is of a gRPC call that was not answered with `OK`.
    pub(crate) refused: bool,
}

/// Takes what is no evidence while a span is scanned.
pub(crate) trait Notes {
    /// Whether it takes anything; what is not taken is stepped over faster.
    const WANTED: bool;
    /// A span begins.
    fn begin(&mut self) {}
    /// Its tags begin.
    fn begin_tags(&mut self) {}
    /// A tag.
    fn tag(&mut self, _key: Text, _value: Text) {}
    /// Its annotations begin.
    fn begin_annotations(&mut self) {}
    /// An annotation.
    fn annotation(&mut self, _micros: u64, _text: Text) {}
    /// An annotation that is a message of a call.
    fn message(&mut self, _micros: u64, _message: Message) {}
    /// The name of the service on the other side.
    fn remote(&mut self, _name: Text) {}
}

impl Notes for () {
    const WANTED: bool = false;
}

/// Room for strings that had to be unescaped, and the forms of spans that are shown again; re-used
/// from span to span.
#[derive(Debug, Default)]
pub struct SpanScratch {
    texts: [String; 5],
    pub(crate) forms: Forms,
}

impl RawSpan {
    /// Where it begins in the run it was scanned in.
    pub const fn at(&self) -> u32 {
        self.at
    }

    /// Whether it failed, or was refused.
    pub(crate) const fn says_failure(&self) -> bool {
        self.failed || self.refused
    }

    /// Whether the span has a trace id and an id of its own; without them it is no evidence.
    pub const fn has_ids(&self) -> bool {
        self.trace.is_some() && self.id.is_some()
    }

    /// The span as evidence, borrowed from the `run` it was scanned in, or from `scratch` where a
    /// string has escapes. `None` if an id is missing.
    pub fn facts<'a>(&self, run: &'a [u8], scratch: &'a mut SpanScratch) -> Option<SpanFacts<'a>> {
        let [name, service, method, rpc_service, statement] = &mut scratch.texts;
        Some(SpanFacts {
            trace: self.trace?,
            span: self.id?,
            parent: self.parent,
            kind: self.kind,
            name: self.name.resolve(run, name),
            rpc_method: self.rpc_method.map(|text| text.resolve(run, method)),
            rpc_service: self.rpc_service.map(|text| text.resolve(run, rpc_service)),
            service: self.service.resolve(run, service),
            statement: self.statement.map(|text| text.resolve(run, statement)),
            start: UnixNanos::from_micros(self.timestamp_micros),
            duration: self.duration_micros.saturating_mul(1000),
            failed: self.says_failure(),
        })
    }

    /// What can be told of the span without its tags, borrowed like [`RawSpan::facts`].
    pub fn brief<'a>(&self, run: &'a [u8], scratch: &'a mut SpanScratch) -> Option<SpanFacts<'a>> {
        let bare = Self {
            rpc_method: None,
            rpc_service: None,
            statement: None,
            ..*self
        };
        bare.facts(run, scratch)
    }

    /// The whole span, but for its tags, annotations and remote endpoint.
    pub(crate) fn bare<'a>(&self, part: Part<'a>) -> Option<Span<'a>> {
        Some(Span {
            trace: self.trace?,
            span: self.id?,
            parent: self.parent,
            kind: self.kind,
            name: self.name.meaning(part),
            service: self.service.meaning(part),
            remote: Cow::Borrowed(""),
            start: UnixNanos::from_micros(self.timestamp_micros),
            duration: self.duration_micros.saturating_mul(1000),
            failed: self.failed,
            tags: Vec::new(),
            annotations: Vec::new(),
        })
    }
}

/// Scans the object that starts at `at` (its `{`) and returns what it says, where it ends, and its form
/// if that is known. Of a known form only annotations are noted.
///
/// # Errors
/// [`FaultKind::End`] if `text` ends before the object does: with more bytes it may still be valid.
/// Everything else is final.
pub(crate) fn scan_formed(
    text: &[u8],
    at: usize,
    forms: &mut Forms,
    notes: &mut impl Notes,
) -> Result<(RawSpan, usize, Option<FormId>), Fault> {
    if let Some(known) = forms.recognise(text, at, notes) {
        let mut span = known.span;
        span.at = u32::try_from(at).unwrap_or(u32::MAX);
        return Ok((span, known.end, Some(known.form)));
    }
    let (span, end) = scan_span(text, at, notes)?;
    forms.learn(text, at, end, &span);
    Ok((span, end, None))
}

/// The same, whatever its form.
///
/// # Errors
/// As [`scan_formed`].
pub(crate) fn scan_span(
    text: &[u8],
    at: usize,
    notes: &mut impl Notes,
) -> Result<(RawSpan, usize), Fault> {
    let (mut result, mut end) = scan(text, at, false, notes);
    let scanned = text.get(at..end).unwrap_or_default();
    // One pass over all bytes costs less than a look for these two in every string.
    let (control, beyond_ascii) = json::unusual(scanned);
    if control {
        (result, end) = scan(text, at, true, notes);
    }
    let mut span = result.map_err(|stop| fault(end, stop.kind()))?;
    span.at = u32::try_from(at).unwrap_or(u32::MAX);
    if !beyond_ascii {
        return Ok((span, end));
    }
    match std::str::from_utf8(scanned) {
        Ok(_) => Ok((span, end)),
        Err(error) => Err(fault(at + error.valid_up_to(), FaultKind::Text)),
    }
}

/// Scans once; also answers where the scanner stopped.
fn scan(
    text: &[u8],
    at: usize,
    strict: bool,
    notes: &mut impl Notes,
) -> (Result<RawSpan, Stop>, usize) {
    notes.begin();
    let mut scanner = Scanner { text, at, strict };
    let mut span = RawSpan::default();
    let result = scanner
        .expect(b'{', Stop::Object)
        .and_then(|()| scanner.members(|scanner, key| scanner.span_member(key, &mut span, notes)));
    (result.map(|()| span), scanner.at)
}

impl Scanner<'_> {
    fn span_member<N: Notes>(
        &mut self,
        key: &[u8],
        span: &mut RawSpan,
        notes: &mut N,
    ) -> Result<(), Stop> {
        match key {
            b"traceId" => span.trace = self.id(TraceId::parse)?,
            b"id" => span.id = self.id(SpanId::parse)?,
            b"parentId" => span.parent = self.id(SpanId::parse)?,
            b"name" => span.name = self.text_value()?.unwrap_or_default(),
            b"kind" => {
                let kind = self.text_value()?.unwrap_or_default();
                span.kind = kind.with(self.text, |kind| match kind {
                    b"CLIENT" => SpanKind::Client,
                    b"SERVER" => SpanKind::Server,
                    _ => SpanKind::Unset,
                });
            }
            b"timestamp" => span.timestamp_micros = self.micros()?,
            b"duration" => span.duration_micros = self.micros()?,
            b"localEndpoint" if self.peek()? == b'{' => {
                self.at += 1;
                self.members(|scanner, key| {
                    if key == b"serviceName" {
                        span.service = scanner.text_value()?.unwrap_or_default();
                        return Ok(());
                    }
                    scanner.value()
                })?;
            }
            b"tags" if self.peek()? == b'{' => {
                self.at += 1;
                notes.begin_tags();
                let text = self.text;
                self.members_at(|scanner, key| {
                    let value = key.with(text, |key| scanner.tag::<N>(key, span))?;
                    if let Some(value) = value {
                        notes.tag(key, value);
                    }
                    Ok(())
                })?;
            }
            b"annotations" if self.peek()? == b'[' => self.annotations(span, notes)?,
            b"remoteEndpoint" if N::WANTED && self.peek()? == b'{' => {
                self.at += 1;
                self.members(|scanner, key| {
                    if key == b"serviceName" {
                        notes.remote(scanner.text_value()?.unwrap_or_default());
                        return Ok(());
                    }
                    scanner.value()
                })?;
            }
            _ => self.value()?,
        }
        Ok(())
    }

    /// Steps over the value of a tag; answers it where it was looked at.
    #[inline]
    fn tag<N: Notes>(&mut self, key: &[u8], span: &mut RawSpan) -> Result<Option<Text>, Stop> {
        let value;
        match key {
            b"rpc.method" => {
                value = self.text_value()?;
                span.rpc_method = value;
            }
            b"rpc.service" => {
                value = self.text_value()?;
                span.rpc_service = value;
            }
            b"db.statement" => {
                value = self.text_value()?;
                span.statement = value;
            }
            b"error" => {
                value = self.text_value()?;
                span.failed |=
                    value.is_some_and(|says| says.with(self.text, |says| says != b"false"));
            }
            b"otel.status_code" => {
                value = self.text_value()?;
                let code = value.unwrap_or_default();
                span.failed |= code.with(self.text, |code| code.eq_ignore_ascii_case(b"error"));
            }
            b"rpc.grpc.status_code" | b"grpc.status_code" => {
                value = self.text_value()?;
                let code = value.unwrap_or_default();
                span.refused |= code.with(self.text, |code| !matches!(code, b"" | b"0"));
            }
            _ if N::WANTED => value = self.text_value()?,
            _ => {
                self.value()?;
                value = None;
            }
        }
        Ok(value)
    }

    /// A handler that panicked says so only in an annotation that begins with `exception`.
    pub(crate) fn annotations<N: Notes>(
        &mut self,
        span: &mut RawSpan,
        notes: &mut N,
    ) -> Result<(), Stop> {
        self.at += 1;
        notes.begin_annotations();
        self.elements(|scanner| {
            if scanner.peek()? != b'{' {
                return scanner.value();
            }
            scanner.at += 1;
            let (mut micros, mut text) = (0, Text::default());
            scanner.members(|scanner, key| {
                match key {
                    b"value" => text = scanner.text_value()?.unwrap_or_default(),
                    b"timestamp" if N::WANTED => micros = scanner.micros()?,
                    _ => scanner.value()?,
                }
                Ok(())
            })?;
            span.failed |= text.bytes(scanner.text).starts_with(b"exception");
            notes.annotation(micros, text);
            Ok(())
        })
    }

    fn id<I>(&mut self, parse: impl Fn(&[u8]) -> Option<I>) -> Result<Option<I>, Stop> {
        let id = self.text_value()?;
        Ok(id.and_then(|id| id.with(self.text, parse)))
    }

    /// Microseconds, written as a number or as a string; 0 for what is no time.
    fn micros(&mut self) -> Result<u64, Stop> {
        let text = self.text_value()?.unwrap_or_default();
        let text = std::str::from_utf8(text.bytes(self.text)).unwrap_or_default();
        if let Ok(micros) = text.parse() {
            return Ok(micros);
        }
        let micros: f64 = text.parse().unwrap_or_default();
        // The cast saturates, and turns what is negative or no number into 0.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating is meant"
        )]
        Ok(micros as u64)
    }
}

const fn fault(at: usize, kind: FaultKind) -> Fault {
    Fault {
        at: at as u64,
        kind,
    }
}
