//! Chunks of log files into records: physical lines cut, pieces joined, dumps gathered.
//!
//! # Promise
//! Every byte fed ends up in the extents of exactly one [`Framed`], and the records do not depend on
//! how the bytes were cut into chunks.
//!
//! # Layers
//! ```text
//! push ─▶ physical line (header read, no newline yet: `Line`)
//!            └▶ piece ─▶ Slot of its stream: P … F joined, too long ones cut
//!                          └▶ whole line ─▶ Group of the stream: dumps of the Go runtime
//!                                             └▶ sink
//! ```
//! A line that lies whole in one chunk and is nobody's piece goes straight to the sink, borrowed.
//! What is held is bounded: one record a stream and one dump a stream, each at most
//! `record_bytes_max` (the rest of a line is never collected: it is cut as it comes).

use model::line::{Extent, Stream};
use model::time::UnixNanos;

use crate::cri;
use crate::multiline::{Group, Next};
use crate::settings::{Format, FramerSettings};

/// Most extents one record may have: bounds streams of empty pieces.
const EXTENTS_MAX: usize = 4096;
/// Memory a buffer may keep after an unusually long record.
const KEEP_BYTES: usize = 64 << 10;
/// The slot of lines in a CRI file that are not in the format.
const FOREIGN: usize = 2;

/// One record's text and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// File and run of bytes, in reading order; neighbouring runs are one. Never empty.
    pub extents: &'a [(u32, Extent)],
    /// CRI time of the first piece; without CRI the time it was read.
    pub time: UnixNanos,
    /// Which stream it came from.
    pub stream: Stream,
    /// The text without headers: pieces joined, lines of a dump separated by newlines.
    pub text: &'a [u8],
    /// A piece whose rest did not come.
    pub partial: bool,
    /// Begins or ends inside a line that was too long, or inside a dump that was too long.
    pub split: bool,
}

/// Cuts one container's log (or one plain file) into records. Sans-I/O; see the module header.
#[derive(Debug)]
pub struct Framer {
    settings: FramerSettings,
    /// First bytes of a physical line whose header is not complete; at most
    /// [`cri::HEADER_BYTES_MAX`].
    head: Vec<u8>,
    /// The physical line that has begun: its header is read, its newline is not.
    line: Option<Line>,
    /// File and offset of the next byte.
    position: Option<(u32, u64)>,
    slots: [Slot; 3],
}

#[derive(Clone, Copy, Debug)]
struct Line {
    slot: usize,
    time: UnixNanos,
    partial: bool,
}

/// Text with its extents, being gathered.
#[derive(Debug, Default)]
struct Pending {
    text: Vec<u8>,
    extents: Vec<(u32, Extent)>,
    time: UnixNanos,
    /// When something was added last.
    since: UnixNanos,
    split: bool,
}

#[derive(Debug, Default)]
struct Slot {
    stream: Stream,
    /// Pieces of the current line.
    pieces: Pending,
    /// Lines of the open dump.
    dump: Pending,
    group: Option<Group>,
}

/// A run of bytes of one physical line as it comes in.
#[derive(Clone, Copy)]
struct Piece<'a> {
    file: u32,
    offset: u64,
    /// Header bytes before the content; the newline after it is `raw - skip - content`.
    skip: usize,
    content: &'a [u8],
    raw: usize,
    time: UnixNanos,
    /// The record goes on after this piece.
    continues: bool,
    /// The piece does not begin its physical line.
    inside: bool,
}

impl Framer {
    /// A framer that has seen nothing.
    pub fn new(settings: FramerSettings) -> Self {
        let settings = FramerSettings {
            record_bytes_max: settings.record_bytes_max.max(1024),
            ..settings
        };
        let slot = |stream| Slot {
            stream,
            ..Slot::default()
        };
        Self {
            settings,
            head: Vec::new(),
            line: None,
            position: None,
            slots: [
                slot(Stream::Stdout),
                slot(Stream::Stderr),
                slot(Stream::Stderr),
            ],
        }
    }

    /// Takes the next bytes of a file and shows every record they complete. A jump to another file
    /// or offset ends the current physical line.
    pub fn push(
        &mut self,
        file: u32,
        offset: u64,
        bytes: &[u8],
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        if self.position.is_some_and(|next| next != (file, offset)) {
            self.end_line(now, sink);
        }
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let newline = memchr::memchr(b'\n', rest);
            let length = newline.map_or(rest.len(), |index| index + 1);
            let (run, after) = rest.split_at(length);
            self.run(file, at, run, now, sink);
            at += length as u64;
            rest = after;
        }
        self.position = Some((file, at));
        self.flush_idle(now, sink);
    }

    /// The file has ended for good (rotated away and read to its end): a physical line without
    /// newline is whole. Pieces and dumps may go on in the next file.
    pub fn end_of_file(&mut self, file: u32, now: UnixNanos, sink: &mut impl FnMut(Framed<'_>)) {
        if self.position.is_some_and(|(current, _)| current == file) {
            self.end_line(now, sink);
            self.position = None;
        }
    }

    /// The container is gone: shows everything that is held.
    pub fn end_of_container(&mut self, now: UnixNanos, sink: &mut impl FnMut(Framed<'_>)) {
        self.end_line(now, sink);
        self.position = None;
        for slot in &mut self.slots {
            slot.end_dump(sink);
            slot.flush_pieces(false, sink);
        }
    }

    /// Shows what has waited longer than the settings allow.
    pub fn flush_idle(&mut self, now: UnixNanos, sink: &mut impl FnMut(Framed<'_>)) {
        let (dump_wait, piece_wait) = (
            self.settings.multiline_wait_nanos,
            self.settings.partial_wait_nanos,
        );
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.group.is_some() && slot.dump.since.plus(dump_wait) <= now {
                slot.end_dump(sink);
            }
            if !slot.pieces.extents.is_empty() && slot.pieces.since.plus(piece_wait) <= now {
                let inside = self.line.is_some_and(|line| line.slot == index);
                slot.flush_pieces(inside, sink);
            }
        }
    }

    /// When [`Framer::flush_idle`] has to be called at the latest; `None` if nothing waits.
    pub fn next_deadline(&self) -> Option<UnixNanos> {
        let dumps = self.slots.iter().filter(|slot| slot.group.is_some());
        let pieces = self.slots.iter().filter(|s| !s.pieces.extents.is_empty());
        dumps
            .map(|slot| slot.dump.since.plus(self.settings.multiline_wait_nanos))
            .chain(pieces.map(|slot| slot.pieces.since.plus(self.settings.partial_wait_nanos)))
            .min()
    }

    /// One run of bytes that holds at most one newline, at its end.
    fn run(
        &mut self,
        file: u32,
        offset: u64,
        run: &[u8],
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        if self.line.is_some() {
            self.go_on(file, offset, run, now, sink);
        } else if self.head.is_empty() {
            self.begin(file, offset, run, false, now, sink);
        } else {
            let mut head = std::mem::take(&mut self.head);
            let known = head.len();
            let missing = cri::HEADER_BYTES_MAX.saturating_sub(known).min(run.len());
            let (first, rest) = run.split_at(missing);
            head.extend_from_slice(first);
            self.begin(file, offset - known as u64, &head, false, now, sink);
            if !rest.is_empty() {
                self.go_on(file, offset + missing as u64, rest, now, sink);
            }
        }
    }

    /// Reads the header of a physical line. `last`: no more bytes of it will come.
    fn begin(
        &mut self,
        file: u32,
        offset: u64,
        run: &[u8],
        last: bool,
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        let content = run.strip_suffix(b"\n").unwrap_or(run);
        let ended = last || content.len() < run.len();
        let (slot, time, partial, skip) = match self.settings.format {
            Format::Plain(stream) => (stream as usize, now, false, 0),
            Format::Cri => match cri::header(content) {
                Some(header) if ended || header.bytes < content.len() => (
                    header.stream as usize,
                    header.time,
                    header.partial,
                    header.bytes,
                ),
                _ if !ended && content.len() < cri::HEADER_BYTES_MAX => {
                    self.head = run.to_vec();
                    return;
                }
                _ => (FOREIGN, now, false, 0),
            },
        };
        if !ended {
            self.line = Some(Line {
                slot,
                time,
                partial,
            });
        }
        let piece = Piece {
            file,
            offset,
            skip,
            content: content.get(skip..).unwrap_or_default(),
            raw: run.len(),
            time,
            continues: !ended || partial,
            inside: false,
        };
        self.piece(slot, piece, now, sink);
    }

    /// More bytes of the physical line that has begun.
    fn go_on(
        &mut self,
        file: u32,
        offset: u64,
        run: &[u8],
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        let Some(line) = self.line else { return };
        let content = run.strip_suffix(b"\n").unwrap_or(run);
        let ended = content.len() < run.len();
        if ended {
            self.line = None;
        }
        let piece = Piece {
            file,
            offset,
            skip: 0,
            content,
            raw: run.len(),
            time: line.time,
            continues: !ended || line.partial,
            inside: true,
        };
        self.piece(line.slot, piece, now, sink);
    }

    /// No newline will come for the physical line that has begun.
    fn end_line(&mut self, now: UnixNanos, sink: &mut impl FnMut(Framed<'_>)) {
        if !self.head.is_empty() {
            let head = std::mem::take(&mut self.head);
            if let Some((file, next)) = self.position {
                let offset = next.saturating_sub(head.len() as u64);
                self.begin(file, offset, &head, true, now, sink);
            }
        }
        let Some(line) = self.line.take() else { return };
        if let Some(slot) = self.slots.get_mut(line.slot)
            && !line.partial
            && !slot.pieces.extents.is_empty()
        {
            slot.end_pieces(self.settings, line.slot, now, sink);
        }
    }

    fn piece(
        &mut self,
        index: usize,
        piece: Piece<'_>,
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        let settings = self.settings;
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let alone = slot.pieces.extents.is_empty() && !piece.continues && !piece.inside;
        if alone && piece.content.len() <= settings.record_bytes_max {
            let extents = [(piece.file, extent(piece.offset, piece.raw))];
            slot.whole_line(
                settings,
                index,
                (&extents, piece.time, piece.content),
                now,
                sink,
            );
            return;
        }
        slot.gather(piece, settings.record_bytes_max, now, sink);
        if !piece.continues {
            slot.end_pieces(settings, index, now, sink);
        }
    }
}

impl Slot {
    /// Adds a piece to the current line, cutting records off that would be too long.
    fn gather(
        &mut self,
        piece: Piece<'_>,
        max: usize,
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        if self.pieces.extents.is_empty() {
            self.pieces.time = piece.time;
            self.pieces.split = piece.inside;
        }
        self.pieces.since = now;
        let (mut content, mut skip, mut offset) = (piece.content, piece.skip, piece.offset);
        let end = piece.offset + piece.raw as u64;
        loop {
            let full = self.pieces.extents.len() >= EXTENTS_MAX;
            let room = max.saturating_sub(self.pieces.text.len());
            let cut = match full {
                true => 0,
                false if content.len() <= room => break,
                false => boundary(content, room).min(content.len()),
            };
            if cut == content.len() && !full {
                break;
            }
            if cut > 0 {
                let (first, rest) = content.split_at(cut);
                self.pieces.text.extend_from_slice(first);
                self.pieces.add(piece.file, offset, skip + cut);
                offset += (skip + cut) as u64;
                (content, skip) = (rest, 0);
            }
            self.pieces.split = true;
            self.pieces.emit(self.stream, false, sink);
            self.pieces.time = piece.time;
            self.pieces.split = true;
        }
        self.pieces.text.extend_from_slice(content);
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        self.pieces.add(piece.file, offset, left);
    }

    /// The current line is whole.
    fn end_pieces(
        &mut self,
        settings: FramerSettings,
        index: usize,
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        if self.pieces.split {
            self.pieces.emit(self.stream, false, sink);
            return;
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        let line = (&pieces.extents[..], pieces.time, &pieces.text[..]);
        self.whole_line(settings, index, line, now, sink);
        pieces.clear();
        self.pieces = pieces;
    }

    /// The rest of the current line did not come.
    fn flush_pieces(&mut self, inside: bool, sink: &mut impl FnMut(Framed<'_>)) {
        self.pieces.split |= inside;
        self.pieces.emit(self.stream, true, sink);
    }

    /// A whole line: part of the open dump, the first of a new one, or a record.
    fn whole_line(
        &mut self,
        settings: FramerSettings,
        index: usize,
        (extents, time, text): (&[(u32, Extent)], UnixNanos, &[u8]),
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        let record = Framed {
            extents,
            time,
            stream: self.stream,
            text,
            partial: false,
            split: false,
        };
        if settings.format == Format::Cri && index == FOREIGN {
            sink(record);
            return;
        }
        if let Some(group) = &mut self.group {
            match group.next(text) {
                Next::Member => {
                    self.add_to_dump(&record, settings.record_bytes_max, now, sink);
                    return;
                }
                Next::Foreign => {
                    sink(record);
                    return;
                }
                Next::End => self.end_dump(sink),
            }
        }
        self.group = Group::start(text);
        if self.group.is_some() {
            self.add_to_dump(&record, settings.record_bytes_max, now, sink);
        } else {
            sink(record);
        }
    }

    fn add_to_dump(
        &mut self,
        line: &Framed<'_>,
        max: usize,
        now: UnixNanos,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
        let full = self.dump.text.len() + 1 + line.text.len() > max
            || self.dump.extents.len() + line.extents.len() > EXTENTS_MAX;
        if full && !self.dump.extents.is_empty() {
            self.dump.split = true;
            self.dump.emit(self.stream, false, sink);
            self.dump.split = true;
        }
        if self.dump.extents.is_empty() {
            self.dump.time = line.time;
        } else {
            self.dump.text.push(b'\n');
        }
        self.dump.since = now;
        self.dump.text.extend_from_slice(line.text);
        for (file, extent) in line.extents {
            self.dump.add(*file, extent.offset, extent.bytes as usize);
        }
    }

    fn end_dump(&mut self, sink: &mut impl FnMut(Framed<'_>)) {
        self.group = None;
        self.dump.emit(self.stream, false, sink);
    }
}

impl Pending {
    fn add(&mut self, file: u32, offset: u64, bytes: usize) {
        if bytes == 0 && !self.extents.is_empty() {
            return;
        }
        let added = extent(offset, bytes);
        if let Some((last_file, last)) = self.extents.last_mut()
            && *last_file == file
            && last.end() == offset
            && let Some(sum) = last.bytes.checked_add(added.bytes)
        {
            last.bytes = sum;
        } else {
            self.extents.push((file, added));
        }
    }

    /// Shows what was gathered, if anything, and forgets it.
    fn emit(&mut self, stream: Stream, partial: bool, sink: &mut impl FnMut(Framed<'_>)) {
        if !self.extents.is_empty() {
            sink(Framed {
                extents: &self.extents,
                time: self.time,
                stream,
                text: &self.text,
                partial,
                split: self.split,
            });
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEEP_BYTES);
        self.extents.clear();
        self.split = false;
    }
}

fn extent(offset: u64, bytes: usize) -> Extent {
    Extent {
        offset,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}

/// The first place at or after `room` where `content` may be cut without parting a UTF-8 character
/// (at most three bytes on).
fn boundary(content: &[u8], room: usize) -> usize {
    let inside = |at: &usize| content.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (room..room + 3).find(|at| !inside(at)).unwrap_or(room + 3)
}

/// Rebuilds a record's text from the bytes of its extents, for whoever reads them from the file
/// again: the result equals [`Framed::text`]. `time` and `split` are the record's.
///
/// The text is borrowed from the extent if the record is one physical line.
pub fn rejoin<'a>(
    format: Format,
    time: UnixNanos,
    split: bool,
    extents: &[&'a [u8]],
    buffer: &'a mut Vec<u8>,
) -> &'a [u8] {
    let mut lines = extents
        .iter()
        .flat_map(|bytes| bytes.split_inclusive(|byte| *byte == b'\n'))
        .enumerate()
        .map(|(index, line)| strip(format, time, split && index == 0, line));
    let first = lines.next().unwrap_or((&[], false));
    let Some(second) = lines.next() else {
        return first.0;
    };
    buffer.clear();
    let mut newline = false;
    for (text, ends) in [first, second].into_iter().chain(lines) {
        if newline {
            buffer.push(b'\n');
        }
        buffer.extend_from_slice(text);
        newline = ends;
    }
    buffer
}

/// A physical line's text, and whether the next physical line begins a new line of the text.
fn strip(format: Format, time: UnixNanos, inside: bool, line: &[u8]) -> (&[u8], bool) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if format != Format::Cri {
        return (line, true);
    }
    match cri::header(line) {
        Some(header) if !inside || header.time == time => (
            line.get(header.bytes..).unwrap_or_default(),
            !header.partial,
        ),
        _ => (line, !inside),
    }
}
#[cfg(test)]
mod tests;
