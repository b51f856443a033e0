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
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        parse_hex(hex, &mut bytes).then_some(Self(bytes))
    }
}

impl SpanId {
    /// In lower-case hex, two digits a byte.
    pub fn hex(self) -> [[u8; 2]; 8] {
        hex(&self.0)
    }

    /// Reads 1 to 16 hex digits (either case); shorter ids are padded on the left.
    /// `None` for anything else and for the all-zero id.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        parse_hex(hex, &mut bytes).then_some(Self(bytes))
    }
}

/// Fills `out` from the right; answers whether `hex` was all digits, fitted, and was not zero.
fn parse_hex(hex: &[u8], out: &mut [u8]) -> bool {
    if hex.is_empty() || hex.len() > out.len() * 2 {
        return false;
    }
    let mut digits = hex.iter().rev();
    for byte in out.iter_mut().rev() {
        let Some(low) = digits.next() else { break };
        let high = digits.next().unwrap_or(&b'0');
        let (Some(low), Some(high)) = (nibble(*low), nibble(*high)) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    out.iter().any(|byte| *byte != 0)
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
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
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
