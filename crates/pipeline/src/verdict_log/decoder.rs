//! Reads items; the layout is in the header of [`super`].

use model::ids::{DocumentId, FileKey, SpanId, TraceId};
use model::line::{Extent, Stream};
use model::time::{Day, UnixNanos};
use model::verdict::{CANDIDATES_MAX, Rule, User, Verdict};

use crate::entry::{Entry, FileEntry, FileIndex, LineEntry, Part, RequestEntry};
use crate::varint::{Cursor, Malformed};
use crate::verdict_log::format::{
    LINE_FOLLOWS, LINE_MORE_PARTS, LINE_PARTIAL, LINE_SAME_VERDICT, LINE_SPLIT, LINE_STDOUT,
    OUTCOMES, Previous, REQUEST_FRONT, REQUEST_PARENT, SOURCES, TAG_FILE, TAG_LINE, TAG_MASK,
    TAG_REQUEST, VERDICT_CANDIDATES, VERDICT_INFERRED, VERDICT_INFERRED_USER, VERDICT_OUTCOME,
    VERDICT_SPAN, VERDICT_TRACE, VERDICT_USER, at, read_file, read_summary,
};

/// What a batch holds, one after another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// [`Decoder::entry`] has it.
    Entry,
    File(FileIndex, FileEntry),
    Retired(FileIndex),
}

/// Reads items one after another.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The line that was read last; its verdict is always that of the entry before.
    line: LineEntry,
    /// Set if a request came after it.
    request: Option<Box<RequestEntry>>,
    previous: Previous,
    any: bool,
    traces: Vec<TraceId>,
    spans: Vec<SpanId>,
    users: Vec<User>,
}

impl Decoder {
    /// Makes the decoder ready for the next batch; keeps its memory.
    pub(super) fn clear(&mut self) {
        self.previous = Previous::default();
        self.any = false;
        self.request = None;
        self.traces.clear();
        self.spans.clear();
        self.users.clear();
    }

    /// The next item; `None` at the end.
    pub(super) fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Item>, Malformed> {
        if cursor.0.is_empty() {
            return Ok(None);
        }
        let tag = cursor.byte()?;
        Ok(Some(match tag & TAG_MASK {
            TAG_LINE => {
                self.request = None;
                self.line(tag, cursor)?;
                Item::Entry
            }
            TAG_REQUEST => {
                self.request = Some(Box::new(self.request(tag, cursor)?));
                Item::Entry
            }
            TAG_FILE => Item::File(FileIndex(cursor.small()?), read_file(cursor)?),
            _ => Item::Retired(FileIndex(cursor.small()?)),
        }))
    }

    /// The entry that was read last.
    pub(super) fn entry(&self) -> Entry<'_> {
        match &self.request {
            Some(request) => Entry::Request(request),
            None => Entry::Line(&self.line),
        }
    }

    fn line(&mut self, tag: u8, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let has = |bit: u8| tag & bit != 0;
        if !self.any && (has(LINE_FOLLOWS) || has(LINE_SAME_VERDICT)) {
            return Err(Malformed);
        }
        let (file, offset) = if has(LINE_FOLLOWS) {
            (self.previous.file, self.previous.end)
        } else {
            (FileIndex(cursor.small()?), cursor.unsigned()?)
        };
        let bytes = cursor.small()?;
        let extent = Extent { offset, bytes };
        let first = Part { file, extent };
        self.line.rest.clear();
        if has(LINE_MORE_PARTS) {
            read_parts(first, cursor, &mut self.line.rest)?;
        }
        let last = self.line.rest.last().copied().unwrap_or(first);
        (self.line.time, self.line.home) = self.time(cursor)?;
        if !has(LINE_SAME_VERDICT) {
            self.line.verdict = self.verdict(cursor)?;
        }
        self.previous.file = last.file;
        self.previous.end = last.extent.end();
        self.any = true;
        self.line.first = first;
        self.line.stream = if has(LINE_STDOUT) {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        self.line.partial = has(LINE_PARTIAL);
        self.line.split = has(LINE_SPLIT);
        Ok(())
    }

    fn request(&mut self, tag: u8, cursor: &mut Cursor<'_>) -> Result<RequestEntry, Malformed> {
        let id = match cursor.byte()? {
            0 => DocumentId::Line(FileKey(cursor.array()?), cursor.unsigned()?),
            1 => DocumentId::Request(TraceId(cursor.array()?), SpanId(cursor.array()?)),
            _ => return Err(Malformed),
        };
        let mut span_if = |bit: u8| match tag & bit {
            0 => Ok(None),
            _ => cursor.array().map(|span| Some(SpanId(span))),
        };
        let (front, parent) = (span_if(REQUEST_FRONT)?, span_if(REQUEST_PARENT)?);
        let (time, home) = self.time(cursor)?;
        let container = cursor.text()?.to_owned();
        let summary = read_summary(cursor)?;
        let verdict = self.verdict(cursor)?;
        self.line.verdict.clone_from(&verdict);
        self.previous.end = u64::MAX;
        self.any = true;
        Ok(RequestEntry {
            id,
            front,
            parent,
            home,
            time,
            container,
            summary,
            verdict,
        })
    }

    fn time(&mut self, cursor: &mut Cursor<'_>) -> Result<(UnixNanos, Day), Malformed> {
        let time = UnixNanos(cursor.delta(self.previous.time)?);
        let home = cursor.delta(u64::from(time.day().0))?;
        self.previous.time = time.0;
        Ok((time, Day(u32::try_from(home).map_err(|_| Malformed)?)))
    }

    fn verdict(&mut self, cursor: &mut Cursor<'_>) -> Result<Verdict, Malformed> {
        let flags = cursor.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let outcome = at(&OUTCOMES, flags & VERDICT_OUTCOME)?;
        let mut verdict = Verdict {
            outcome,
            rule: at(&Rule::ALL, cursor.byte()?)?,
            ..Verdict::default()
        };
        if has(VERDICT_TRACE) {
            verdict.trace = Some(self.trace(cursor)?);
        }
        if has(VERDICT_SPAN) {
            verdict.span = Some(interned(&mut self.spans, cursor, |cursor| {
                Ok(SpanId(cursor.array()?))
            })?);
        }
        if has(VERDICT_USER) {
            verdict.user = Some(self.user(cursor)?);
        }
        if has(VERDICT_CANDIDATES) {
            let count = cursor.small::<usize>()?;
            if count > CANDIDATES_MAX {
                return Err(Malformed);
            }
            for _ in 0..count {
                verdict.candidates.push(self.trace(cursor)?);
            }
        }
        if has(VERDICT_INFERRED) {
            let trace = self.trace(cursor)?;
            let user = if has(VERDICT_INFERRED_USER) {
                Some(self.user(cursor)?)
            } else {
                None
            };
            verdict.inferred = Some((trace, user));
        }
        Ok(verdict)
    }

    fn trace(&mut self, cursor: &mut Cursor<'_>) -> Result<TraceId, Malformed> {
        interned(&mut self.traces, cursor, |cursor| {
            Ok(TraceId(cursor.array()?))
        })
    }

    fn user(&mut self, cursor: &mut Cursor<'_>) -> Result<User, Malformed> {
        interned(&mut self.users, cursor, |cursor| {
            let source = at(&SOURCES, cursor.byte()?)?;
            let id = cursor.text()?.into();
            Ok(User { id, source })
        })
    }
}

fn read_parts(
    first: Part,
    cursor: &mut Cursor<'_>,
    parts: &mut Vec<Part>,
) -> Result<(), Malformed> {
    let mut last = first;
    for _ in 0..cursor.unsigned()? {
        let file = FileIndex(cursor.small()?);
        let offset = cursor.delta(last.extent.end())?;
        let bytes = cursor.small()?;
        let extent = Extent { offset, bytes };
        last = Part { file, extent };
        parts.push(last);
    }
    Ok(())
}

fn interned<T: Clone>(
    table: &mut Vec<T>,
    cursor: &mut Cursor<'_>,
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let number: usize = cursor.small()?;
    if let Some(place) = number.checked_sub(1) {
        return table.get(place).cloned().ok_or(Malformed);
    }
    let value = read(cursor)?;
    table.push(value.clone());
    Ok(value)
}
