//! Ids in hexadecimal digits, eight digits at a time.

use model::ids::{SpanId, TraceId};

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// An id of a trace, however it is written.
pub(crate) fn trace_id(digits: &[u8]) -> Option<TraceId> {
    full(digits).map(TraceId).or_else(|| TraceId::parse(digits))
}

/// An id of a span, however it is written.
pub(crate) fn span_id(digits: &[u8]) -> Option<SpanId> {
    full(digits).map(SpanId).or_else(|| SpanId::parse(digits))
}

/// An id written with all its digits, the usual case. None is zero.
#[inline]
fn full<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let (words, rest) = digits.as_chunks::<8>();
    if words.len() * 4 != BYTES || !rest.is_empty() {
        return None;
    }
    let mut id = [0; BYTES];
    let (places, _) = id.as_chunks_mut::<4>();
    let (mut valid, mut any) = (HIGH, 0);
    for (place, word) in places.iter_mut().zip(words) {
        let word = u64::from_le_bytes(*word);
        valid &= digit_marks(word);
        let bytes = packed(word);
        any |= bytes;
        *place = bytes.to_le_bytes();
    }
    (valid == HIGH && any != 0).then_some(id)
}

/// Marks, with its highest bit, every hexadecimal digit of a word.
#[inline]
const fn digit_marks(word: u64) -> u64 {
    let ascii = word & !HIGH;
    let lower = ascii | (ONES * 0x20);
    // the highest bit of a sum is set if the byte is at least what was meant
    let decimal = (ascii + ONES * (0x80 - 0x30)) & !(ascii + ONES * (0x80 - 0x3a));
    let letter = (lower + ONES * (0x80 - 0x61)) & !(lower + ONES * (0x80 - 0x67));
    (decimal | letter) & !word & HIGH
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_read_as_the_model_reads_it() {
        for at in 0..16 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"0123456789abCDeF";
                digits[at] = byte;
                assert_eq!(
                    full(&digits).map(SpanId),
                    SpanId::parse(&digits),
                    "{byte} at {at}"
                );
            }
        }
        assert_eq!(full::<8>(&[b'0'; 16]), None);
    }

    #[test]
    fn ids_of_any_length_are_read() {
        let trace = trace_id(b"00112233445566778899aabbccddeeff");
        assert_eq!(trace.unwrap().0[..3], [0, 0x11, 0x22]);
        assert_eq!(trace_id(b"a1").unwrap().0[15], 0xa1);
        assert_eq!(span_id(b"0").map(|id| id.0), None);
        assert_eq!(trace_id(b"00112233445566778899aabbccddeefg"), None);
    }
}
