//! The parts of a span that are no evidence: all its tags, its annotations, its remote endpoint.
//!
//! What is read here was scanned before: it is known to be right, and where it begins.

use std::borrow::Cow;

use model::span::Annotation;
use model::time::UnixNanos;

use crate::error::{Error, Fault, FaultKind};
use crate::journal::RECORD_VERSION;
use crate::json::{Scanner, Stop};
use crate::scan::{RawSpan, scan_span};
use crate::text::Text;

/// Most tags that a span usually has.
const TAGS_USUAL: usize = 12;

/// The spans of a journal record of [`crate::KIND_SPANS`], one after another.
///
/// ```
/// use in_spans::SpanRun;
///
/// let record = b"\x01{\"traceId\":\"a1\",\"id\":\"b2\",\"tags\":{\"db.system\":\"mongodb\"}}";
/// let mut spans = SpanRun::new(record, 0).unwrap();
/// let span = spans.next_span().unwrap().unwrap();
/// assert_eq!(span.whole(spans.run()).unwrap().tag("db.system"), Some("mongodb"));
/// assert!(spans.next_span().unwrap().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct SpanRun<'a> {
    run: &'a [u8],
    at: usize,
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

    /// Where the next span begins at the earliest.
    pub fn offset(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    /// The next span; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Damaged`] for content that this crate never wrote; nothing comes after it.
    pub fn next_span(&mut self) -> Result<Option<RawSpan>, Error> {
        let rest = self.run.get(self.at..).unwrap_or_default();
        let between = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',');
        self.at += rest.iter().take_while(between).count();
        match self.run.get(self.at) {
            None => Ok(None),
            Some(b'{') => {
                let (span, end) = scan_span(self.run, self.at).map_err(Error::Damaged)?;
                self.at = end;
                Ok(Some(span))
            }
            Some(_) => Err(Error::Damaged(Fault {
                at: self.at as u64,
                kind: FaultKind::Expected("a span"),
            })),
        }
    }
}

/// The tags whose object begins at `from`.
pub(crate) fn tags(run: &[u8], from: u32) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    if from == 0 {
        return Vec::new();
    }
    let mut tags = Vec::with_capacity(TAGS_USUAL);
    let read = scanner(run, from).members_at(|scanner, key| {
        if let Some(value) = scanner.text_value()? {
            tags.push((key.meaning(run), value.meaning(run)));
        }
        Ok(())
    });
    debug_assert!(read.is_ok(), "it was scanned before");
    tags
}

/// The annotations whose array begins at `from`.
pub(crate) fn annotations(run: &[u8], from: u32) -> Vec<Annotation<'_>> {
    if from == 0 {
        return Vec::new();
    }
    let mut annotations = Vec::new();
    let read = scanner(run, from).elements(|scanner| {
        if scanner.peek()? != b'{' {
            return scanner.value();
        }
        scanner.at += 1;
        let (mut micros, mut text) = (0, Text::default());
        scanner.members(|scanner, key| {
            match key {
                b"timestamp" => micros = scanner.micros()?,
                b"value" => text = scanner.text_value()?.unwrap_or_default(),
                _ => scanner.value()?,
            }
            Ok(())
        })?;
        annotations.push(Annotation {
            at: UnixNanos::from_micros(micros),
            text: text.meaning(run),
        });
        Ok(())
    });
    debug_assert!(read.is_ok(), "it was scanned before");
    annotations
}

/// The service name of the remote endpoint whose object begins at `from`.
pub(crate) fn remote(run: &[u8], from: u32) -> Cow<'_, str> {
    let mut name = Text::default();
    if from != 0 {
        let read: Result<(), Stop> = scanner(run, from).members(|scanner, key| {
            if key == b"serviceName" {
                name = scanner.text_value()?.unwrap_or_default();
                return Ok(());
            }
            scanner.value()
        });
        debug_assert!(read.is_ok(), "it was scanned before");
    }
    name.meaning(run)
}

fn scanner(run: &[u8], from: u32) -> Scanner<'_> {
    Scanner {
        text: run,
        at: from as usize,
        strict: false,
    }
}
