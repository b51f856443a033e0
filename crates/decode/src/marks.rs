//! Where the marks of JSON stand in a text: quotes, backslashes and control bytes; and whether some
//! other bytes occur at all.
//!
//! Read once a line, sixteen bytes at a time: a bit for each byte, so that finding the end of a string
//! is counting zeros.

use wide::u8x16;

/// Bytes that one word of bits tells of.
const BLOCK: usize = 64;
/// Words that are kept after an unusually long line.
const KEEP_WORDS: usize = 1024;

/// The marks of one text.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    words: Vec<u64>,
    ascii: bool,
    slash: bool,
}

/// What was seen of a text so far.
struct Seen {
    high: u8x16,
    slash: u8x16,
}

impl Marks {
    /// The marks of `text`.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut marks = Self::default();
        marks.read(text);
        marks
    }

    /// Finds the marks of `text`, instead of those of the text before.
    pub(crate) fn read(&mut self, text: &[u8]) {
        self.words.clear();
        self.words.shrink_to(KEEP_WORDS);
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut seen = Seen::nothing();
        for block in blocks {
            self.words.push(marks(block, &mut seen));
        }
        if let Some(last) = text.last_chunk()
            && !rest.is_empty()
        {
            // the end of the text, with what was looked at already pushed out in front
            let word = marks(last, &mut seen);
            self.words.push(word >> (BLOCK - rest.len()));
        } else if !rest.is_empty() {
            let mut block = [b' '; BLOCK];
            if let Some(place) = block.get_mut(..rest.len()) {
                place.copy_from_slice(rest);
            }
            self.words.push(marks(&block, &mut seen));
        }
        self.ascii = seen.high.to_bitmask() == 0;
        self.slash = seen.slash.to_bitmask() != 0;
    }

    /// Whether no byte was above 127.
    pub(crate) const fn is_ascii(&self) -> bool {
        self.ascii
    }

    /// Whether there was a slash.
    pub(crate) const fn has_slash(&self) -> bool {
        self.slash
    }

    /// The place of the first mark at or after `at`; beyond the text if there is none.
    #[inline]
    pub(crate) fn next(&self, at: usize) -> usize {
        let mut index = at / BLOCK;
        let Some(word) = self.words.get(index) else {
            return usize::MAX;
        };
        let mut word = word & (u64::MAX << (at % BLOCK));
        while word == 0 {
            index += 1;
            match self.words.get(index) {
                Some(next) => word = *next,
                None => return usize::MAX,
            }
        }
        index * BLOCK + word.trailing_zeros() as usize
    }
}

impl Seen {
    fn nothing() -> Self {
        let [high, slash] = [u8x16::splat(0); 2];
        Self { high, slash }
    }
}

/// The marks of 64 bytes, the first one's in the lowest bit.
#[inline]
fn marks(block: &[u8; BLOCK], seen: &mut Seen) -> u64 {
    let [quote, slash, last_control] = [b'"', b'\\', 0x1f].map(u8x16::splat);
    let (lanes, _) = block.as_chunks::<16>();
    lanes.iter().rev().fold(0, |word, lane| {
        let bytes = u8x16::new(*lane);
        let controls = bytes.min(last_control).simd_eq(bytes);
        let found = bytes.simd_eq(quote) | bytes.simd_eq(slash) | controls;
        seen.high |= bytes;
        seen.slash |= bytes.simd_eq(u8x16::splat(b'/'));
        word << 16 | u64::from(found.to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_mark(byte: u8) -> bool {
        matches!(byte, b'"' | b'\\' | 0..0x20)
    }

    #[test]
    fn every_byte_is_judged_in_every_place() {
        for place in 0..BLOCK {
            for byte in 0..=255 {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                let expected = u64::from(is_mark(byte)) << place;
                let marks = Marks::of(&block);
                assert_eq!(marks.words, [expected], "{byte} at {place}");
                assert_eq!(marks.is_ascii(), byte.is_ascii());
                assert_eq!(marks.has_slash(), byte == b'/');
            }
        }
    }

    proptest! {
        #[test]
        fn each_mark_is_found_from_each_place(text in prop::collection::vec(prop_oneof![3 => b'a'..=b'z', 1 => any::<u8>()], 0..300)) {
            let marks = Marks::of(&text);
            prop_assert_eq!(marks.is_ascii(), text.is_ascii());
            prop_assert_eq!(marks.has_slash(), text.contains(&b'/'));
            for at in 0..=text.len() {
                let found = text.iter().skip(at).position(|byte| is_mark(*byte));
                match found {
                    Some(distance) => prop_assert_eq!(marks.next(at), at + distance),
                    None => prop_assert!(marks.next(at) >= text.len()),
                }
            }
        }
    }
}
