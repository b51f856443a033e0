//! The way back: a record's text from the bytes of its extents.

use model::time::UnixNanos;

use crate::cri;
use crate::settings::Format;

/// Rebuilds a record's text from the bytes of its extents, for whoever reads them from the file
/// again: the result equals [`crate::Framed::text`]. `time` and `split` are the record's.
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
        .flat_map(|bytes| physical_lines(bytes))
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

/// The lines of `bytes`, each with its newline.
fn physical_lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let (line, rest) = bytes.split_at(end);
        bytes = rest;
        (!line.is_empty()).then_some(line)
    })
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
