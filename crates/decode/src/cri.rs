//! The line format of container runtimes: `<RFC 3339 time> stdout|stderr P|F <text>`.
//!
//! `P` marks a piece of a line that was longer than the runtime's buffer (16 KiB), `F` the last
//! piece. Runtimes may add tags after the first, separated by colons; they are skipped.

use model::line::Stream;
use model::time::{TimeReader, UnixNanos};

/// Longest header that is recognised, in bytes: time (35), stream, tag and three spaces, with room
/// for further tags.
pub const HEADER_BYTES_MAX: usize = 64;

/// What stands before the text of a physical line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When the runtime read the line.
    pub time: UnixNanos,
    /// Which stream it read.
    pub stream: Stream,
    /// Whether the line goes on in the next physical line of the same stream.
    pub partial: bool,
    /// Bytes the header occupies: the text begins there.
    pub bytes: usize,
}

/// Reads the header of one physical line; `None` if the line is not in the format.
pub fn header(line: &[u8]) -> Option<Header> {
    next_header(line, &mut TimeReader::default())
}

/// The header of the line behind those that `times` has read.
pub(crate) fn next_header(line: &[u8], times: &mut TimeReader) -> Option<Header> {
    let head = line.get(..HEADER_BYTES_MAX).unwrap_or(line);
    let space = memchr::memchr(b' ', head)?;
    let time = times.read(head.get(..space)?)?;
    let rest = head.get(space + 1..)?;
    let stream = match rest.get(..7)? {
        b"stdout " => Stream::Stdout,
        b"stderr " => Stream::Stderr,
        _ => return None,
    };
    let tags = rest.get(7..)?;
    let partial = match tags.first()? {
        b'P' => true,
        b'F' => false,
        _ => return None,
    };
    let length = match tags.get(1) {
        // An empty line may lack the last space.
        None => 1,
        Some(b' ') => 2,
        Some(b':') => memchr::memchr(b' ', tags)? + 1,
        Some(_) => return None,
    };
    Some(Header {
        time,
        stream,
        partial,
        bytes: space + 8 + length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_time_stream_and_whether_more_follows() {
        let line = b"2026-11-23T04:09:37.672424268Z stderr P {\"level\":";
        let found = header(line).unwrap();
        assert_eq!(found.time, UnixNanos(1_795_406_977_672_424_268));
        assert_eq!(found.stream, Stream::Stderr);
        assert!(found.partial);
        assert_eq!(&line[found.bytes..], b"{\"level\":");
    }

    #[test]
    fn empty_text_and_further_tags_are_read() {
        for (line, rest) in [
            ("2026-11-23T04:09:37Z stdout F ", ""),
            ("2026-11-23T04:09:37Z stdout F", ""),
            ("2026-11-23T04:09:37+01:00 stdout F:x:y text", "text"),
        ] {
            let found = header(line.as_bytes()).unwrap();
            assert_eq!(&line[found.bytes..], rest);
            assert!(!found.partial && found.stream == Stream::Stdout);
        }
    }

    #[test]
    fn anything_else_has_no_header() {
        for line in [
            "",
            "plain text",
            "2026-11-23T04:09:37Z",
            "2026-11-23T04:09:37Z stdout",
            "2026-11-23T04:09:37Z stdlog F text",
            "2026-11-23T04:09:37Z stdout X text",
            "2026-11-23T04:09:37Z stdout Full text",
            "2026-13-23T04:09:37Z stdout F text",
        ] {
            assert_eq!(header(line.as_bytes()), None, "{line}");
        }
    }
}
