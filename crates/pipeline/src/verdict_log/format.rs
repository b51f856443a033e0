//! Entries as bytes; the layout is in the header of [`super`]. No files here.

use std::collections::HashMap;
use std::hash::Hash;

use model::document::RequestSummary;
use model::ids::{DocumentId, FileKey, SpanId, TraceId};
use model::line::{Extent, Stream};
use model::time::{Day, UnixNanos};
use model::verdict::{CANDIDATES_MAX, Outcome, Rule, User, UserSource, Verdict};

use crate::coverage::Coverage;
use crate::entry::{FileEntry, FileIndex, LineEntry, Part, RequestEntry};
use crate::varint::{Cursor, Malformed, push, push_delta, push_text};
use crate::verdict_log::names;

pub(super) const VERSION: u8 = 1;

const TAG_LINE: u8 = 0;
const TAG_REQUEST: u8 = 1;
const TAG_FILE: u8 = 2;
const TAG_RETIRED: u8 = 3;
const TAG_MASK: u8 = 3;
const LINE_STDOUT: u8 = 1 << 2;
const LINE_PARTIAL: u8 = 1 << 3;
const LINE_SPLIT: u8 = 1 << 4;
const LINE_MORE_PARTS: u8 = 1 << 5;
const LINE_FOLLOWS: u8 = 1 << 6;
const LINE_SAME_VERDICT: u8 = 1 << 7;

const VERDICT_OUTCOME: u8 = 3;
const VERDICT_TRACE: u8 = 1 << 2;
const VERDICT_SPAN: u8 = 1 << 3;
const VERDICT_USER: u8 = 1 << 4;
const VERDICT_CANDIDATES: u8 = 1 << 5;
const VERDICT_INFERRED: u8 = 1 << 6;
const VERDICT_INFERRED_USER: u8 = 1 << 7;

const OUTCOMES: [Outcome; 4] = [
    Outcome::None,
    Outcome::Attributed,
    Outcome::Ambiguous,
    Outcome::Background,
];
const SOURCES: [UserSource; 4] = [
    UserSource::ProxyClaim,
    UserSource::ProvenHeader,
    UserSource::Gateway,
    UserSource::MutualTls,
];
const PROTOCOLS: [&str; 3] = ["http", "grpc", "unknown"];

/// What a batch holds, one after another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Line(LineEntry),
    Request(Box<RequestEntry>),
    File(FileIndex, FileEntry),
    Retired(FileIndex),
}

/// A file in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SnapshotFile {
    pub(super) index: FileIndex,
    pub(super) entry: FileEntry,
    pub(super) retired_in: Option<u64>,
    pub(super) coverage: Coverage,
}

/// State at the beginning of a segment, the entries of its first batch included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) next_index: u32,
    pub(super) files: Vec<SnapshotFile>,
}

/// What a batch's payload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader<'a> {
    /// Sequence before the first entry.
    pub(super) base: u64,
    /// Lines and requests.
    pub(super) count: u64,
    pub(super) snapshot: &'a [u8],
    pub(super) items: &'a [u8],
}

/// Why a payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Version(u8),
    Malformed,
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Puts a payload together.
pub(super) fn write_payload(
    out: &mut Vec<u8>,
    base: u64,
    count: u64,
    snapshot: &[u8],
    items: &[u8],
) {
    out.push(VERSION);
    push(out, base);
    push(out, count);
    push(out, snapshot.len() as u64);
    out.extend_from_slice(snapshot);
    out.extend_from_slice(items);
}

/// Takes a payload apart.
pub(super) fn read_payload(payload: &[u8]) -> Result<BatchHeader<'_>, Unreadable> {
    let mut cursor = Cursor(payload);
    match cursor.byte()? {
        VERSION => {}
        version => return Err(Unreadable::Version(version)),
    }
    let (base, count) = (cursor.unsigned()?, cursor.unsigned()?);
    base.checked_add(count).ok_or(Malformed)?;
    let length = cursor.small()?;
    let snapshot = cursor.bytes(length)?;
    Ok(BatchHeader {
        base,
        count,
        snapshot,
        items: cursor.0,
    })
}

/// What encoder and decoder remember from item to item; empty at the start of a batch.
#[derive(Debug, Default)]
struct Previous {
    file: FileIndex,
    end: u64,
    time: u64,
    verdict: Verdict,
}

/// Values seen in this batch: written once, then by number (from 1; 0 announces a new one).
#[derive(Debug)]
struct Interned<T>(HashMap<T, u64>);

impl<T: Eq + Hash> Interned<T> {
    /// Writes the number of `value`; answers whether the value itself must follow.
    fn push(&mut self, out: &mut Vec<u8>, value: T) -> bool {
        let next = self.0.len() as u64 + 1;
        let number = *self.0.entry(value).or_insert(next);
        push(out, if number == next { 0 } else { number });
        number == next
    }
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Writes items one after another.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) items: Vec<u8>,
    pub(super) count: u64,
    pub(super) newest: UnixNanos,
    previous: Previous,
    traces: Interned<TraceId>,
    spans: Interned<SpanId>,
    users: Interned<User>,
}

impl Encoder {
    pub(super) fn line(&mut self, line: &LineEntry) {
        let follows = self.count > 0
            && line.first.file == self.previous.file
            && line.first.extent.offset == self.previous.end;
        let same = self.count > 0 && line.verdict == self.previous.verdict;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        self.items.push(
            TAG_LINE
                | flag(line.stream == Stream::Stdout, LINE_STDOUT)
                | flag(line.partial, LINE_PARTIAL)
                | flag(line.split, LINE_SPLIT)
                | flag(!line.rest.is_empty(), LINE_MORE_PARTS)
                | flag(follows, LINE_FOLLOWS)
                | flag(same, LINE_SAME_VERDICT),
        );
        if !follows {
            push(&mut self.items, u64::from(line.first.file.0));
            push(&mut self.items, line.first.extent.offset);
        }
        push(&mut self.items, u64::from(line.first.extent.bytes));
        let mut last = line.first;
        if !line.rest.is_empty() {
            push(&mut self.items, line.rest.len() as u64);
            for part in &line.rest {
                push(&mut self.items, u64::from(part.file.0));
                push_delta(&mut self.items, part.extent.offset, last.extent.end());
                push(&mut self.items, u64::from(part.extent.bytes));
                last = *part;
            }
        }
        self.time(line.time, line.home);
        if !same {
            self.verdict(&line.verdict);
            self.previous.verdict.clone_from(&line.verdict);
        }
        self.previous.file = last.file;
        self.previous.end = last.extent.end();
        self.count += 1;
    }

    pub(super) fn request(&mut self, request: &RequestEntry) {
        self.items.push(TAG_REQUEST);
        let out = &mut self.items;
        match request.id {
            DocumentId::Line(key, offset) => {
                out.push(0);
                out.extend_from_slice(&key.0);
                push(out, offset);
            }
            DocumentId::Request(trace, span) => {
                out.push(1);
                out.extend_from_slice(&trace.0);
                out.extend_from_slice(&span.0);
            }
        }
        self.time(request.time, request.home);
        push_text(&mut self.items, &request.container);
        write_summary(&mut self.items, &request.summary);
        self.verdict(&request.verdict);
        self.previous.verdict.clone_from(&request.verdict);
        // A line that follows must say where it stands.
        self.previous.end = u64::MAX;
        self.count += 1;
    }

    pub(super) fn file(&mut self, index: FileIndex, entry: &FileEntry) {
        self.items.push(TAG_FILE);
        push(&mut self.items, u64::from(index.0));
        write_file(&mut self.items, entry);
    }

    pub(super) fn retired(&mut self, index: FileIndex) {
        self.items.push(TAG_RETIRED);
        push(&mut self.items, u64::from(index.0));
    }

    /// Makes the encoder ready for the next batch; keeps its memory.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.count = 0;
        self.newest = UnixNanos::default();
        self.previous = Previous::default();
        self.traces.0.clear();
        self.spans.0.clear();
        self.users.0.clear();
    }

    fn time(&mut self, time: UnixNanos, home: Day) {
        push_delta(&mut self.items, time.0, self.previous.time);
        push_delta(&mut self.items, u64::from(home.0), u64::from(time.day().0));
        self.previous.time = time.0;
        self.newest = self.newest.max(time);
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let inferred_user = matches!(verdict.inferred, Some((_, Some(_))));
        self.items.push(
            position(&OUTCOMES, &verdict.outcome)
                | flag(verdict.trace.is_some(), VERDICT_TRACE)
                | flag(verdict.span.is_some(), VERDICT_SPAN)
                | flag(verdict.user.is_some(), VERDICT_USER)
                | flag(!verdict.candidates.is_empty(), VERDICT_CANDIDATES)
                | flag(verdict.inferred.is_some(), VERDICT_INFERRED)
                | flag(inferred_user, VERDICT_INFERRED_USER),
        );
        self.items.push(position(&Rule::ALL, &verdict.rule));
        if let Some(trace) = verdict.trace {
            self.trace(trace);
        }
        if let Some(span) = verdict.span
            && self.spans.push(&mut self.items, span)
        {
            self.items.extend_from_slice(&span.0);
        }
        if let Some(user) = &verdict.user {
            self.user(user);
        }
        if !verdict.candidates.is_empty() {
            let candidates = verdict.candidates.iter().take(CANDIDATES_MAX);
            push(&mut self.items, candidates.len() as u64);
            candidates.for_each(|trace| self.trace(*trace));
        }
        if let Some((trace, user)) = &verdict.inferred {
            self.trace(*trace);
            user.iter().for_each(|user| self.user(user));
        }
    }

    fn trace(&mut self, trace: TraceId) {
        if self.traces.push(&mut self.items, trace) {
            self.items.extend_from_slice(&trace.0);
        }
    }

    fn user(&mut self, user: &User) {
        if self.users.push(&mut self.items, user.clone()) {
            self.items.push(position(&SOURCES, &user.source));
            push_text(&mut self.items, &user.id);
        }
    }
}

/// Reads items one after another.
#[derive(Debug, Default)]
pub(super) struct Decoder {
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
            TAG_LINE => Item::Line(self.line(tag, cursor)?),
            TAG_REQUEST => Item::Request(Box::new(self.request(cursor)?)),
            TAG_FILE => Item::File(FileIndex(cursor.small()?), read_file(cursor)?),
            _ => Item::Retired(FileIndex(cursor.small()?)),
        }))
    }

    fn line(&mut self, tag: u8, cursor: &mut Cursor<'_>) -> Result<LineEntry, Malformed> {
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
        let rest = match has(LINE_MORE_PARTS) {
            true => read_parts(first, cursor)?,
            false => Vec::new(),
        };
        let last = rest.last().copied().unwrap_or(first);
        let (time, home) = self.time(cursor)?;
        if !has(LINE_SAME_VERDICT) {
            self.previous.verdict = self.verdict(cursor)?;
        }
        self.previous.file = last.file;
        self.previous.end = last.extent.end();
        self.any = true;
        Ok(LineEntry {
            first,
            rest,
            time,
            home,
            stream: if has(LINE_STDOUT) {
                Stream::Stdout
            } else {
                Stream::Stderr
            },
            partial: has(LINE_PARTIAL),
            split: has(LINE_SPLIT),
            verdict: self.previous.verdict.clone(),
        })
    }

    fn request(&mut self, cursor: &mut Cursor<'_>) -> Result<RequestEntry, Malformed> {
        let id = match cursor.byte()? {
            0 => DocumentId::Line(FileKey(cursor.array()?), cursor.unsigned()?),
            1 => DocumentId::Request(TraceId(cursor.array()?), SpanId(cursor.array()?)),
            _ => return Err(Malformed),
        };
        let (time, home) = self.time(cursor)?;
        let container = cursor.text()?.to_owned();
        let summary = read_summary(cursor)?;
        let verdict = self.verdict(cursor)?;
        self.previous.verdict.clone_from(&verdict);
        self.previous.end = u64::MAX;
        self.any = true;
        Ok(RequestEntry {
            id,
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
            let user = match has(VERDICT_INFERRED_USER) {
                true => Some(self.user(cursor)?),
                false => None,
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

impl Snapshot {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        push(out, u64::from(self.next_index));
        push(out, self.files.len() as u64);
        for file in &self.files {
            push(out, u64::from(file.index.0));
            write_file(out, &file.entry);
            push(out, file.retired_in.unwrap_or(0));
            push(out, file.coverage.ranges().len() as u64);
            let mut last = 0;
            for (start, end) in file.coverage.ranges() {
                push(out, start - last);
                push(out, end - start);
                last = *end;
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        let mut snapshot = Self {
            next_index: cursor.small()?,
            files: Vec::new(),
        };
        for _ in 0..cursor.unsigned()? {
            let index = FileIndex(cursor.small()?);
            let entry = read_file(&mut cursor)?;
            let retired_in = Some(cursor.unsigned()?).filter(|segment| *segment > 0);
            let mut coverage = Coverage::default();
            let mut last: u64 = 0;
            for _ in 0..cursor.unsigned()? {
                let start = last.checked_add(cursor.unsigned()?).ok_or(Malformed)?;
                last = start.checked_add(cursor.unsigned()?).ok_or(Malformed)?;
                coverage.insert_range(start, last);
            }
            snapshot.files.push(SnapshotFile {
                index,
                entry,
                retired_in,
                coverage,
            });
        }
        Ok(snapshot)
    }
}

fn read_parts(first: Part, cursor: &mut Cursor<'_>) -> Result<Vec<Part>, Malformed> {
    let (mut parts, mut last) = (Vec::new(), first);
    for _ in 0..cursor.unsigned()? {
        let file = FileIndex(cursor.small()?);
        let offset = cursor.delta(last.extent.end())?;
        let bytes = cursor.small()?;
        let extent = Extent { offset, bytes };
        last = Part { file, extent };
        parts.push(last);
    }
    Ok(parts)
}

fn write_file(out: &mut Vec<u8>, entry: &FileEntry) {
    out.extend_from_slice(&entry.key.0);
    push_text(out, &entry.container);
    push(out, u64::from(entry.restart));
    push_text(out, &entry.path);
    push(out, u64::from(entry.first_seen_day.0));
}

fn read_file(cursor: &mut Cursor<'_>) -> Result<FileEntry, Malformed> {
    Ok(FileEntry {
        key: FileKey(cursor.array()?),
        container: cursor.text()?.to_owned(),
        restart: cursor.small()?,
        path: cursor.text()?.to_owned(),
        first_seen_day: Day(cursor.small()?),
    })
}

fn write_summary(out: &mut Vec<u8>, summary: &RequestSummary) {
    out.push(position(&PROTOCOLS, &summary.protocol));
    push_text(out, &summary.method);
    push_text(out, &summary.path);
    out.push(u8::from(summary.route.is_some()) | u8::from(summary.failed) << 1);
    if let Some(route) = &summary.route {
        push_text(out, route);
    }
    push(out, u64::from(summary.status));
    push(out, summary.start.0);
    push(out, summary.duration);
    push(out, summary.lines);
    push(out, summary.names.len() as u64);
    for (name, value) in &summary.names {
        push_text(out, name);
        push_text(out, value);
    }
}

fn read_summary(cursor: &mut Cursor<'_>) -> Result<RequestSummary, Malformed> {
    let protocol = at(&PROTOCOLS, cursor.byte()?)?;
    let method = cursor.text()?.to_owned();
    let path = cursor.text()?.to_owned();
    let flags = cursor.byte()?;
    let route = match flags & 1 {
        0 => None,
        _ => Some(cursor.text()?.to_owned()),
    };
    let mut summary = RequestSummary {
        protocol,
        method,
        path,
        route,
        status: cursor.small()?,
        start: UnixNanos(cursor.unsigned()?),
        duration: cursor.unsigned()?,
        lines: cursor.unsigned()?,
        failed: flags & 2 != 0,
        names: Vec::new(),
    };
    for _ in 0..cursor.unsigned()? {
        let name = names::intern(cursor.text()?).ok_or(Malformed)?;
        summary.names.push((name, cursor.text()?.to_owned()));
    }
    Ok(summary)
}

fn interned<T: Clone>(
    table: &mut Vec<T>,
    cursor: &mut Cursor<'_>,
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let number: usize = cursor.small()?;
    match number.checked_sub(1) {
        Some(place) => table.get(place).cloned().ok_or(Malformed),
        None => {
            let value = read(cursor)?;
            table.push(value.clone());
            Ok(value)
        }
    }
}

fn at<T: Copy>(table: &[T], position: u8) -> Result<T, Malformed> {
    table.get(usize::from(position)).copied().ok_or(Malformed)
}

/// The wire value of `value`; the last of the table if it is not in there.
fn position<T: PartialEq>(table: &[T], value: &T) -> u8 {
    let found = table.iter().position(|known| known == value);
    u8::try_from(found.unwrap_or(table.len().saturating_sub(1))).unwrap_or(0)
}
