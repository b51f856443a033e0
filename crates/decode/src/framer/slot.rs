//! What is gathered of one stream: the pieces of its current line and the lines of its open dump.

use model::line::{Extent, Stream};
use model::time::UnixNanos;

use super::Framed;
use crate::multiline::{Group, Next};
use crate::settings::{Format, FramerSettings};

/// Most extents one record may have: bounds streams of empty pieces.
pub(super) const EXTENTS_MAX: usize = 4096;
/// Memory a buffer may keep after an unusually long record.
pub(super) const KEEP_BYTES: usize = 64 << 10;
/// The slot of lines in a CRI file that are not in the format.
pub(super) const FOREIGN: usize = 2;

/// Text with its extents, being gathered.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) text: Vec<u8>,
    pub(super) extents: Vec<(u32, Extent)>,
    pub(super) time: UnixNanos,
    /// When something was added last.
    pub(super) since: UnixNanos,
    pub(super) split: bool,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) stream: Stream,
    /// Pieces of the current line.
    pub(super) pieces: Pending,
    /// Lines of the open dump.
    pub(super) dump: Pending,
    pub(super) group: Option<Group>,
}

/// A run of bytes of one physical line as it comes in.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) file: u32,
    pub(super) offset: u64,
    /// Header bytes before the content; the newline after it is `raw - skip - content`.
    pub(super) skip: usize,
    pub(super) content: &'a [u8],
    pub(super) raw: usize,
    pub(super) time: UnixNanos,
    /// The record goes on after this piece.
    pub(super) continues: bool,
    /// The piece does not begin its physical line.
    pub(super) inside: bool,
}

impl Slot {
    /// Adds a piece to the current line, cutting records off that would be too long.
    pub(super) fn gather(
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
            let full = self.pieces.is_full(piece.file, offset);
            let room = max.saturating_sub(self.pieces.text.len());
            let cut = match full {
                true => 0,
                false if content.len() <= room => break,
                false => {
                    // What an earlier chunk already added while looking for a place to cut.
                    let over = self.pieces.text.len().saturating_sub(max);
                    boundary(content, room, over).min(content.len())
                }
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
    pub(super) fn end_pieces(
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
    pub(super) fn flush_pieces(&mut self, inside: bool, sink: &mut impl FnMut(Framed<'_>)) {
        self.pieces.split |= inside;
        self.pieces.emit(self.stream, true, sink);
    }

    /// A whole line: part of the open dump, the first of a new one, or a record.
    pub(super) fn whole_line(
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

    pub(super) fn add_to_dump(
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

    pub(super) fn end_dump(&mut self, sink: &mut impl FnMut(Framed<'_>)) {
        self.group = None;
        self.dump.emit(self.stream, false, sink);
    }
}

impl Pending {
    pub(super) fn add(&mut self, file: u32, offset: u64, bytes: usize) {
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

    /// Whether bytes there would need an extent too many.
    fn is_full(&self, file: u32, offset: u64) -> bool {
        let last = self.extents.last();
        let goes_on = last.is_some_and(|(of, last)| *of == file && last.end() == offset);
        self.extents.len() >= EXTENTS_MAX && !goes_on
    }

    /// Shows what was gathered, if anything, and forgets it.
    pub(super) fn emit(
        &mut self,
        stream: Stream,
        partial: bool,
        sink: &mut impl FnMut(Framed<'_>),
    ) {
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

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEEP_BYTES);
        self.extents.clear();
        self.split = false;
    }
}

pub(super) fn extent(offset: u64, bytes: usize) -> Extent {
    Extent {
        offset,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}

/// The first place at or after `room` where `content` may be cut without parting a UTF-8 character
/// (at most three bytes on, of which `over` are spent).
pub(super) fn boundary(content: &[u8], room: usize, over: usize) -> usize {
    let inside = |at: &usize| content.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = room + 3_usize.saturating_sub(over);
    (room..end).find(|at| !inside(at)).unwrap_or(end)
}
