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
use model::time::{TimeReader, UnixNanos};

use crate::cri;
use crate::settings::{Format, FramerSettings};

mod slot;

use slot::{FOREIGN, Piece, Slot, extent};

/// A header of full length and the first byte of the text.
const HEAD_BYTES_MAX: usize = cri::HEADER_BYTES_MAX + 1;

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
    /// First bytes of a physical line up to the first of its text, which says in which record its
    /// header stands; at most [`HEAD_BYTES_MAX`].
    head: Vec<u8>,
    /// The physical line that has begun: its header is read, its newline is not.
    line: Option<Line>,
    /// File and offset of the next byte.
    position: Option<(u32, u64)>,
    slots: [Slot; 3],
    times: TimeReader,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    slot: usize,
    time: UnixNanos,
    partial: bool,
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
            times: TimeReader::default(),
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
            let missing = HEAD_BYTES_MAX.saturating_sub(known).min(run.len());
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
            Format::Cri => match cri::next_header(content, &mut self.times) {
                Some(header) if ended || content.len() > header.bytes => (
                    header.stream as usize,
                    header.time,
                    header.partial,
                    header.bytes,
                ),
                _ if !ended && content.len() < HEAD_BYTES_MAX => {
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

#[cfg(test)]
mod tests;
