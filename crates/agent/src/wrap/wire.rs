//! Bytes of a stream into the lines a container runtime would write.
//!
//! ```text
//! 2026-11-23T04:09:37.672424268Z stderr F a line
//! 2026-11-23T04:09:37.672424268Z stdout P the first 16384 bytes of a longer one
//! 2026-11-23T04:09:37.672424268Z stdout F and its end
//! ```
//!
//! A line is written when its newline has come, or when it is longer than [`TEXT_BYTES_MAX`]; what has
//! begun is held until then. Output that ends without a newline leaves a `P` that no `F` follows, as
//! with a runtime.

use model::line::Stream;
use model::time::UnixNanos;

/// Longest text of one line; more goes to the next.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// A block is handed on when it is at least so long, so that memory is bounded whatever comes.
const BLOCK_BYTES: usize = 64 * 1024;

/// Frames one stream.
pub(super) struct Framing {
    name: &'static [u8],
    /// The beginning of a line whose newline has not come; at most [`TEXT_BYTES_MAX`].
    held: Vec<u8>,
}

/// Lines for the file.
#[derive(Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// How many lines of the stream end in it.
    pub(super) lines: u64,
}

impl Framing {
    pub(super) const fn new(stream: Stream) -> Self {
        let name = match stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        };
        Self {
            name,
            held: Vec::new(),
        }
    }

    /// Adds the lines of `input` to `block` until that is full; answers what is left of the input.
    pub(super) fn frame<'i>(
        &mut self,
        input: &'i [u8],
        now: UnixNanos,
        block: &mut Block,
    ) -> &'i [u8] {
        let (mut time, mut rest) = (Vec::new(), input);
        while !rest.is_empty() && block.bytes.len() < BLOCK_BYTES {
            let room = TEXT_BYTES_MAX.saturating_sub(self.held.len());
            // a newline right behind a text of full length still belongs to it
            let window = rest.get(..=room).unwrap_or(rest);
            let newline = memchr::memchr(b'\n', window);
            if newline.is_none() && rest.len() <= room {
                self.held.extend_from_slice(rest);
                return &[];
            }
            if time.is_empty() {
                now.write_rfc3339(&mut time);
            }
            let (text, after) = rest.split_at(newline.unwrap_or(room));
            self.line(&time, newline.is_some(), text, block);
            block.lines += u64::from(newline.is_some());
            rest = after
                .get(usize::from(newline.is_some())..)
                .unwrap_or_default();
        }
        rest
    }

    /// No more will come.
    pub(super) fn finish(&mut self, now: UnixNanos, block: &mut Block) {
        if !self.held.is_empty() {
            let mut time = Vec::new();
            now.write_rfc3339(&mut time);
            self.line(&time, false, &[], block);
            block.lines += 1;
        }
    }

    fn line(&mut self, time: &[u8], whole: bool, text: &[u8], block: &mut Block) {
        let tag: &[u8] = if whole { b"F " } else { b"P " };
        for part in [time, self.name, tag, &self.held, text, b"\n"] {
            block.bytes.extend_from_slice(part);
        }
        self.held.clear();
    }
}

impl Block {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lines = 0;
    }
}

#[cfg(test)]
mod tests {
    use decode::{Framer, FramerSettings};
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixNanos = UnixNanos(1_795_406_977_672_424_268);

    /// The file that these pieces of output make.
    fn file<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<u8>, u64) {
        let mut framing = Framing::new(Stream::Stdout);
        let mut file = Vec::new();
        let mut block = Block::default();
        for mut piece in pieces {
            while !piece.is_empty() {
                piece = framing.frame(piece, NOW, &mut block);
                assert!(block.bytes.len() <= BLOCK_BYTES + TEXT_BYTES_MAX + 64);
                file.append(&mut block.bytes);
            }
        }
        framing.finish(NOW, &mut block);
        file.append(&mut block.bytes);
        (file, block.lines)
    }

    fn text(pieces: &[&str]) -> String {
        let pieces = pieces.iter().map(|piece| piece.as_bytes());
        String::from_utf8(file(pieces).0).unwrap()
    }

    #[test]
    fn lines_are_those_of_a_runtime() {
        let time = "2026-11-23T04:09:37.672424268Z stdout";
        assert_eq!(
            text(&["on", "e\n\ntw", "o\nrest"]),
            format!("{time} F one\n{time} F \n{time} F two\n{time} P rest\n")
        );
        assert_eq!(text(&[]), "");
        assert_eq!(text(&["one\n"]), format!("{time} F one\n"));
    }

    #[test]
    fn a_line_is_split_only_where_it_is_too_long() {
        let time = "2026-11-23T04:09:37.672424268Z stdout";
        let full = "x".repeat(TEXT_BYTES_MAX);
        for pieces in [&[&*format!("{full}\n")][..], &[&full, "\n"]] {
            assert_eq!(text(pieces), format!("{time} F {full}\n"));
        }
        for pieces in [&[&*format!("{full}y\n")][..], &[&full, "y", "\n"]] {
            assert_eq!(text(pieces), format!("{time} P {full}\n{time} F y\n"));
        }
        let twice = format!("{full}{full}\n");
        assert_eq!(
            text(&[&twice]),
            format!("{time} P {full}\n{time} F {full}\n")
        );
    }

    proptest! {
        /// What the sidecar reads is what was written, however it was cut.
        #[test]
        fn the_decoder_reads_the_lines_that_were_written(
            lines in prop::collection::vec(prop_oneof![
                "[a-z ]{0,40}".prop_map(String::into_bytes),
                (0usize..40_000).prop_map(|length| vec![b'x'; length]),
            ], 0..12),
            cut in 1usize..70_000,
            ended: bool,
        ) {
            let mut output = lines.join(&b'\n');
            let mut expected = lines.clone();
            if ended && !lines.is_empty() {
                output.push(b'\n');
            } else if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            let (file, counted) = file(output.chunks(cut));
            let mut framer = Framer::new(FramerSettings::default());
            let mut read = Vec::new();
            let mut sink = |line: decode::Framed<'_>| read.push(line.text.to_vec());
            framer.push(0, 0, &file, NOW, &mut sink);
            framer.end_of_container(NOW, &mut sink);
            prop_assert!(read == expected);
            prop_assert_eq!(counted, expected.len() as u64);
        }
    }
}
