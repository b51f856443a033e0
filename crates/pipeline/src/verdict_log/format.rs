//! Entries as bytes; the layout is in the header of [`super`]. No files here.

use model::document::RequestSummary;
use model::ids::FileKey;
use model::time::{Day, UnixNanos};
use model::verdict::{Outcome, UserSource};

use crate::coverage::Coverage;
use crate::entry::{FileEntry, FileIndex};
use crate::varint::{Cursor, Malformed, push, push_text};
use crate::verdict_log::names;

pub(super) const VERSION: u8 = 2;
/// Batches without a tally; still read.
const VERSION_WITHOUT_TALLY: u8 = 1;

pub(super) const TAG_LINE: u8 = 0;
pub(super) const TAG_REQUEST: u8 = 1;
pub(super) const TAG_FILE: u8 = 2;
pub(super) const TAG_RETIRED: u8 = 3;
pub(super) const TAG_MASK: u8 = 3;
pub(super) const REQUEST_FRONT: u8 = 1 << 2;
pub(super) const REQUEST_PARENT: u8 = 1 << 3;
pub(super) const LINE_STDOUT: u8 = 1 << 2;
pub(super) const LINE_PARTIAL: u8 = 1 << 3;
pub(super) const LINE_SPLIT: u8 = 1 << 4;
pub(super) const LINE_MORE_PARTS: u8 = 1 << 5;
pub(super) const LINE_FOLLOWS: u8 = 1 << 6;
pub(super) const LINE_SAME_VERDICT: u8 = 1 << 7;

pub(super) const VERDICT_OUTCOME: u8 = 3;
pub(super) const VERDICT_TRACE: u8 = 1 << 2;
pub(super) const VERDICT_SPAN: u8 = 1 << 3;
pub(super) const VERDICT_USER: u8 = 1 << 4;
pub(super) const VERDICT_CANDIDATES: u8 = 1 << 5;
pub(super) const VERDICT_INFERRED: u8 = 1 << 6;
pub(super) const VERDICT_INFERRED_USER: u8 = 1 << 7;

pub(super) const OUTCOMES: [Outcome; 4] = [
    Outcome::None,
    Outcome::Attributed,
    Outcome::Ambiguous,
    Outcome::Background,
];
pub(super) const SOURCES: [UserSource; 4] = [
    UserSource::ProxyClaim,
    UserSource::ProvenHeader,
    UserSource::Gateway,
    UserSource::MutualTls,
];
pub(super) const PROTOCOLS: [&str; 3] = ["http", "grpc", "unknown"];

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
    /// `None` in batches of version 1.
    pub(super) tally: Option<&'a [u8]>,
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
    [snapshot, tally, items]: [&[u8]; 3],
) {
    out.push(VERSION);
    push(out, base);
    push(out, count);
    for part in [snapshot, tally] {
        push(out, part.len() as u64);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(items);
}

/// Takes a payload apart.
pub(super) fn read_payload(payload: &[u8]) -> Result<BatchHeader<'_>, Unreadable> {
    let mut cursor = Cursor(payload);
    let version = cursor.byte()?;
    if !matches!(version, VERSION | VERSION_WITHOUT_TALLY) {
        return Err(Unreadable::Version(version));
    }
    let (base, count) = (cursor.unsigned()?, cursor.unsigned()?);
    base.checked_add(count).ok_or(Malformed)?;
    let length = cursor.small()?;
    let snapshot = cursor.bytes(length)?;
    let tally = match version {
        VERSION => {
            let length = cursor.small()?;
            Some(cursor.bytes(length)?)
        }
        _ => None,
    };
    Ok(BatchHeader {
        base,
        count,
        snapshot,
        tally,
        items: cursor.0,
    })
}

/// Where the item before ended; nowhere at the start of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Previous {
    pub(super) file: FileIndex,
    pub(super) end: u64,
    pub(super) time: u64,
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

pub(super) fn write_file(out: &mut Vec<u8>, entry: &FileEntry) {
    out.extend_from_slice(&entry.key.0);
    push_text(out, &entry.container);
    push(out, u64::from(entry.restart));
    push_text(out, &entry.path);
    push(out, u64::from(entry.first_seen_day.0));
}

pub(super) fn read_file(cursor: &mut Cursor<'_>) -> Result<FileEntry, Malformed> {
    Ok(FileEntry {
        key: FileKey(cursor.array()?),
        container: cursor.text()?.to_owned(),
        restart: cursor.small()?,
        path: cursor.text()?.to_owned(),
        first_seen_day: Day(cursor.small()?),
    })
}

pub(super) fn write_summary(out: &mut Vec<u8>, summary: &RequestSummary) {
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

pub(super) fn read_summary(cursor: &mut Cursor<'_>) -> Result<RequestSummary, Malformed> {
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

pub(super) fn at<T: Copy>(table: &[T], position: u8) -> Result<T, Malformed> {
    table.get(usize::from(position)).copied().ok_or(Malformed)
}

/// The wire value of `value`; the last of the table if it is not in there.
pub(super) fn position<T: PartialEq>(table: &[T], value: &T) -> u8 {
    let found = table.iter().position(|known| known == value);
    u8::try_from(found.unwrap_or(table.len().saturating_sub(1))).unwrap_or(0)
}
