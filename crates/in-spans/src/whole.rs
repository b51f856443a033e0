//! Spans of a record once more, with what is no evidence: all tags, annotations, the remote endpoint.
//!
//! Where these stand is noted while a span is scanned; they are read only when they are asked for.

use std::borrow::Cow;
use std::ops::Range;

use model::span::{Annotation, Message, Span};
use model::time::UnixNanos;

use crate::error::{Error, Fault, FaultKind};
use crate::forms::{FormId, Forms};
use crate::journal::RECORD_VERSION;
use crate::scan::{Notes, RawSpan, scan_formed, scan_span};
use crate::text::{Part, Text};

/// The tag that differs from span to span of a form.
const STATEMENT: &str = "db.statement";

/// The spans of a journal record of [`crate::KIND_SPANS`], one after another.
///
/// ```
/// use in_spans::SpanRun;
///
/// let record = b"\x01{\"traceId\":\"a1\",\"id\":\"b2\",\"tags\":{\"db.system\":\"mongodb\"}}";
/// let mut spans = SpanRun::new(record, 0).unwrap();
/// let span = spans.next_span().unwrap().unwrap();
/// assert_eq!(spans.whole(&span).unwrap().tag("db.system"), Some("mongodb"));
/// assert!(spans.next_span().unwrap().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct SpanRun<'a> {
    run: &'a [u8],
    at: usize,
    /// The span that was scanned last.
    last: Range<usize>,
    /// Its form, if it is known; then of the parts only the annotations are.
    form: Option<FormId>,
    parts: Parts,
}

/// Where the parts of the last span stand.
#[derive(Clone, Debug, Default)]
struct Parts {
    tags: Vec<(Text, Text)>,
    annotations: Vec<(u64, Note)>,
    remote: Text,
}

/// What an annotation says.
#[derive(Clone, Copy, Debug)]
enum Note {
    Text(Text),
    Message(Message),
}

impl<'a> SpanRun<'a> {
    /// Begins at `offset` in the record's run: 0, or what [`SpanRun::offset`] answered.
    ///
    /// # Errors
    /// [`Error::Record`] for a version that is not known.
    pub fn new(payload: &'a [u8], offset: u32) -> Result<Self, Error> {
        match payload.split_first() {
            Some((&RECORD_VERSION, run)) => Ok(Self {
                run,
                at: offset as usize,
                last: 0..0,
                form: None,
                parts: Parts::default(),
            }),
            version => Err(Error::Record {
                kind: crate::journal::KIND_SPANS,
                version: version.map_or(0, |(version, _)| *version),
            }),
        }
    }

    /// The bytes that spans are borrowed from.
    pub const fn run(&self) -> &'a [u8] {
        self.run
    }

    /// How long the last span is.
    pub const fn last_bytes(&self) -> usize {
        self.last.end.saturating_sub(self.last.start)
    }

    /// Where the next span begins at the earliest.
    pub fn offset(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    /// Goes to a place where a span begins.
    pub const fn go_to(&mut self, offset: u32) {
        self.at = offset as usize;
    }

    /// The next span; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Damaged`] for content that this crate never wrote; nothing comes after it.
    pub fn next_span(&mut self) -> Result<Option<RawSpan>, Error> {
        self.next(|run, at, parts| {
            let (span, end) = scan_span(run, at, parts)?;
            Ok((span, end, None))
        })
    }

    /// The same, faster if it has one of the `forms`; they learn from it otherwise.
    ///
    /// # Errors
    /// As [`SpanRun::next_span`].
    pub fn next_formed(&mut self, forms: &mut Forms) -> Result<Option<RawSpan>, Error> {
        self.next(|run, at, parts| scan_formed(run, at, forms, parts))
    }

    /// The form of the last span, if it was known when the span was scanned.
    pub const fn form(&self) -> Option<FormId> {
        self.form
    }

    fn next(
        &mut self,
        scan: impl FnOnce(&[u8], usize, &mut Parts) -> Result<(RawSpan, usize, Option<FormId>), Fault>,
    ) -> Result<Option<RawSpan>, Error> {
        let rest = self.run.get(self.at..).unwrap_or_default();
        let between = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',');
        self.at += rest.iter().take_while(between).count();
        match self.run.get(self.at) {
            None => Ok(None),
            Some(b'{') => {
                let scanned = scan(self.run, self.at, &mut self.parts);
                let (span, end, form) = scanned.map_err(Error::Damaged)?;
                self.form = form;
                self.last = self.at..end;
                self.at = end;
                Ok(Some(span))
            }
            Some(_) => Err(Error::Damaged(Fault {
                at: self.at as u64,
                kind: FaultKind::Expected("a span"),
            })),
        }
    }

    /// The whole span that was answered last. `None` if an id is missing.
    pub fn whole(&self, last: &RawSpan) -> Option<Span<'a>> {
        let part = self.last_part()?;
        let again = self.form.map(|_| {
            let mut parts = Parts::default();
            // it was scanned before, and found right
            scan_span(self.run, self.last.start, &mut parts).ok();
            parts
        });
        let parts = again.as_ref().unwrap_or(&self.parts);
        let mut span = last.bare(part)?;
        let tags = parts.tags.iter();
        span.tags = tags
            .map(|(key, value)| (key.meaning(part), value.meaning(part)))
            .collect();
        span.annotations = parts.annotations(part);
        span.remote = parts.remote.meaning(part);
        Some(span)
    }

    /// The span that was answered last, without what all spans of its form have in common beside kind,
    /// name and service: remote endpoint and tags, but for the statement. Messages of calls have no text.
    /// `None` if an id is missing.
    pub fn outline(&self, last: &RawSpan) -> Option<Span<'a>> {
        let part = self.last_part()?;
        let mut span = last.bare(part)?;
        let statement = last.statement.iter();
        span.tags = statement
            .map(|text| (Cow::Borrowed(STATEMENT), text.meaning(part)))
            .collect();
        span.annotations = self.parts.annotations(part);
        Some(span)
    }

    fn last_part(&self) -> Option<Part<'a>> {
        // a scan answers only what is UTF-8
        let text = std::str::from_utf8(self.run.get(self.last.clone())?).ok()?;
        Some(Part {
            text,
            from: self.last.start,
        })
    }
}

impl Parts {
    fn annotations<'a>(&self, part: Part<'a>) -> Vec<Annotation<'a>> {
        let annotations = self.annotations.iter();
        annotations
            .map(|(micros, note)| {
                let (text, message) = match note {
                    Note::Text(text) => (text.meaning(part), None),
                    Note::Message(message) => (Cow::Borrowed(""), Some(*message)),
                };
                Annotation {
                    at: UnixNanos::from_micros(*micros),
                    text,
                    message,
                }
            })
            .collect()
    }
}

impl Notes for Parts {
    const WANTED: bool = true;

    fn begin(&mut self) {
        self.tags.clear();
        self.annotations.clear();
        self.remote = Text::default();
    }

    fn begin_tags(&mut self) {
        self.tags.clear();
    }

    fn tag(&mut self, key: Text, value: Text) {
        self.tags.push((key, value));
    }

    fn begin_annotations(&mut self) {
        self.annotations.clear();
    }

    fn annotation(&mut self, micros: u64, text: Text) {
        self.annotations.push((micros, Note::Text(text)));
    }

    fn message(&mut self, micros: u64, message: Message) {
        self.annotations.push((micros, Note::Message(message)));
    }

    fn remote(&mut self, name: Text) {
        self.remote = name;
    }
}
