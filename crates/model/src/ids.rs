//! Identities: traces, spans, files, documents.

use std::fmt;

use crate::record::{Range, Run};

/// A 128-bit trace id; 64-bit ids are padded with zeros on the left, as `OpenTelemetry` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TraceId(pub [u8; 16]);

/// A 64-bit span id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SpanId(pub [u8; 8]);

/// The identity of one log file, independent of its name, inode and compression: a 128-bit hash over
/// pod uid, container, restart count and the file's first complete line (for plain files: a random
/// generation that is persisted with the checkpoint).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileKey(pub [u8; 16]);

/// The id under which a document is stored, made only from where it came from.
///
/// Written `<file key in hex>-<uncompressed offset in hex>` for lines and
/// `r-<trace>-<span>` for requests, so that sending again always meets the first copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DocumentId {
    /// A line: the file it stands in and the uncompressed offset of its first byte.
    Line(FileKey, u64),
    /// A request document: the server span (or, without one, the access record) it describes.
    Request(TraceId, SpanId),
}

impl TraceId {
    /// In lower-case hex, two digits a byte.
    pub fn hex(self) -> [[u8; 2]; 16] {
        hex(&self.0)
    }

    /// Reads 1 to 32 hex digits (either case); shorter ids are padded on the left.
    /// `None` for anything else and for the all-zero id, which means "no trace".
    #[inline]
    pub fn parse(hex: &[u8]) -> Option<Self> {
        full_id(hex).or_else(|| padded_id(hex)).map(Self)
    }
}

impl SpanId {
    /// In lower-case hex, two digits a byte.
    pub fn hex(self) -> [[u8; 2]; 8] {
        hex(&self.0)
    }

    /// Reads 1 to 16 hex digits (either case); shorter ids are padded on the left.
    /// `None` for anything else and for the all-zero id.
    #[inline]
    pub fn parse(hex: &[u8]) -> Option<Self> {
        full_id(hex).or_else(|| padded_id(hex)).map(Self)
    }
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// An id written with all its digits, the usual case. None is zero.
#[inline]
fn full_id<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let (words, rest) = digits.as_chunks::<8>();
    if words.len() * 4 != BYTES || !rest.is_empty() {
        return None;
    }
    let mut id = [0; BYTES];
    let (places, _) = id.as_chunks_mut::<4>();
    let (mut valid, mut any) = (HIGHS, 0);
    for (place, word) in places.iter_mut().zip(words) {
        let word = u64::from_le_bytes(*word);
        valid &= digit_marks(word);
        let bytes = packed(word);
        any |= bytes;
        *place = bytes.to_le_bytes();
    }
    (valid == HIGHS && any != 0).then_some(id)
}

/// Marks, with its highest bit, every hexadecimal digit of a word.
#[inline]
const fn digit_marks(word: u64) -> u64 {
    let ascii = word & !HIGHS;
    let lower = ascii | (ONES * 0x20);
    // the highest bit of a sum is set if the byte is at least what was meant
    let decimal = (ascii + ONES * (0x80 - 0x30)) & !(ascii + ONES * (0x80 - 0x3a));
    let letter = (lower + ONES * (0x80 - 0x61)) & !(lower + ONES * (0x80 - 0x67));
    (decimal | letter) & !word & HIGHS
}

/// The four bytes that eight digits mean, the first one lowest.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is cut off is the same once more"
)]
const fn packed(word: u64) -> u32 {
    let nibbles = (word & (ONES * 0xf)) + ((word >> 6) & ONES) * 9;
    let pairs = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (halves | halves >> 16) as u32
}

/// An id that may lack digits on its left; `None` if `hex` is not all digits, too long, or zero.
fn padded_id<const BYTES: usize>(hex: &[u8]) -> Option<[u8; BYTES]> {
    let mut id = [0; BYTES];
    if hex.is_empty() || hex.len() > id.len() * 2 {
        return None;
    }
    let mut digits = hex.iter().rev();
    for byte in id.iter_mut().rev() {
        let Some(low) = digits.next() else { break };
        let high = digits.next().unwrap_or(&b'0');
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    (id != [0; BYTES]).then_some(id)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The hex digits of bytes, a multiple of 4 of them.
#[inline]
fn hex<const BYTES: usize>(bytes: &[u8; BYTES]) -> [[u8; 2]; BYTES] {
    const { assert!(BYTES.is_multiple_of(4)) };
    let mut out = [[0; 2]; BYTES];
    let (groups, _) = bytes.as_chunks::<4>();
    let (places, _) = out.as_chunks_mut::<4>();
    for (group, place) in groups.iter().zip(places) {
        let digits = eight_digits(u32::from_be_bytes(*group)).to_be_bytes();
        let (pairs, _) = digits.as_chunks::<2>();
        place.copy_from_slice(pairs);
    }
    out
}

/// The eight hex digits of a number, the first one in the highest byte: each half byte gets a byte
/// of its own, and what is above 9 is moved on to the letters.
#[inline]
fn eight_digits(value: u32) -> u64 {
    let spread = u64::from(value);
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1)
}

/// The text of a [`DocumentId`], without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; 64],
    length: usize,
}

impl IdText {
    /// The text, ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.run().bytes()
    }

    /// The text as a run.
    pub fn run(&self) -> Run<'_> {
        let end = u32::try_from(self.length).unwrap_or(0);
        Run::new(&self.bytes, Range { start: 0, end })
    }

    #[inline]
    fn push(&mut self, text: &[u8]) {
        let end = self.length + text.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(text);
            self.length = end;
        }
    }
}

impl DocumentId {
    /// The id's text, at most 52 ASCII characters.
    pub fn text(&self) -> IdText {
        let mut text = IdText {
            bytes: [0; 64],
            length: 0,
        };
        match self {
            Self::Line(file, offset) => {
                text.push(hex(&file.0).as_flattened());
                text.push(b"-");
                // moved as a whole number: the leading zeros fall out in front
                let zeros = (offset.leading_zeros() / 4).min(15);
                let mut digits = [0; 16];
                digits.copy_from_slice(hex(&offset.to_be_bytes()).as_flattened());
                let digits = u128::from_be_bytes(digits) << (8 * zeros);
                text.push(&digits.to_be_bytes());
                text.length -= zeros as usize;
            }
            Self::Request(trace, span) => {
                text.push(b"r-");
                text.push(hex(&trace.0).as_flattened());
                text.push(b"-");
                text.push(hex(&span.0).as_flattened());
            }
        }
        text
    }

    /// Appends the id's text.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text().as_bytes());
    }
}

macro_rules! hex_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}
hex_display!(TraceId, SpanId, FileKey);

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.text().as_bytes()))
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_trace_id_is_padded_on_the_left() {
        let id = TraceId::parse(b"48485a3953bb6124").unwrap();
        assert_eq!(id.to_string(), "000000000000000048485a3953bb6124");
    }

    #[test]
    fn ids_with_all_their_digits_are_read_as_those_that_lack_some() {
        for at in 0..16 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"0123456789abCDeF";
                digits[at] = byte;
                let (full, padded) = (full_id::<8>(&digits), padded_id::<8>(&digits));
                assert_eq!(full, padded, "{byte} at {at}");
            }
        }
        assert_eq!(full_id::<8>(&[b'0'; 16]), None);
        let trace = TraceId::parse(b"00112233445566778899aabbccddeeff");
        assert_eq!(trace.unwrap().0[..3], [0, 0x11, 0x22]);
        assert_eq!(TraceId::parse(b"00112233445566778899aabbccddeefg"), None);
    }

    #[test]
    fn every_byte_has_its_two_digits() {
        for byte in 0..=255_u8 {
            let id = TraceId(std::array::from_fn(|place| {
                byte.wrapping_add(u8::try_from(place).unwrap())
            }));
            assert_eq!(id.hex().as_flattened(), id.to_string().as_bytes());
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        for text in [
            "",
            "0",
            "00000000000000000000000000000000",
            "xyz",
            "1234567890123456789012345678901234",
        ] {
            assert_eq!(TraceId::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(SpanId::parse(b"12345678901234567"), None);
    }

    #[test]
    fn document_ids_say_where_they_came_from() {
        let line = DocumentId::Line(FileKey([0xab; 16]), 0x1f40);
        assert_eq!(line.to_string(), format!("{}-1f40", "ab".repeat(16)));
        assert_eq!(
            DocumentId::Line(FileKey([0; 16]), 0).to_string(),
            format!("{}-0", "00".repeat(16))
        );
        let request = DocumentId::Request(TraceId([1; 16]), SpanId([2; 8]));
        assert_eq!(
            request.to_string(),
            format!("r-{}-{}", "01".repeat(16), "02".repeat(8))
        );
    }
}
