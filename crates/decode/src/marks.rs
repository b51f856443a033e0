//! Where the marks of JSON stand in a text: quotes, backslashes and control bytes; and its slashes.
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
    slashes: Vec<u64>,
    ascii: bool,
}

/// What 64 bytes are, the first one's bit the lowest.
struct Bits {
    marks: u64,
    slashes: u64,
    /// Bits if a byte is above 127.
    high: u32,
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
        for words in [&mut self.words, &mut self.slashes] {
            words.clear();
            words.shrink_to(KEEP_WORDS);
        }
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut high = 0;
        for block in blocks {
            high |= self.add(&bits(block), 0);
        }
        if let Some(last) = text.last_chunk()
            && !rest.is_empty()
        {
            // the end of the text, with what was looked at already pushed out in front
            high |= self.add(&bits(last), BLOCK - rest.len());
        } else if !rest.is_empty() {
            let mut block = [b' '; BLOCK];
            if let Some(place) = block.get_mut(..rest.len()) {
                place.copy_from_slice(rest);
            }
            high |= self.add(&bits(&block), 0);
        }
        self.ascii = high == 0;
    }

    fn add(&mut self, bits: &Bits, shift: usize) -> u32 {
        self.words.push(bits.marks >> shift);
        self.slashes.push(bits.slashes >> shift);
        bits.high
    }

    /// Whether no byte was above 127.
    pub(crate) const fn is_ascii(&self) -> bool {
        self.ascii
    }

    /// The places of the first slashes, at most so many.
    pub(crate) fn slashes(&self, most: usize, places: &mut Vec<u32>) {
        places.clear();
        for (word, first) in self.slashes.iter().zip((0_u32..).step_by(BLOCK)) {
            let mut left = *word;
            while left != 0 && places.len() < most {
                places.push(first + left.trailing_zeros());
                left &= left - 1;
            }
        }
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

#[inline]
fn bits(block: &[u8; BLOCK]) -> Bits {
    let [quote, backslash, slash, last_control] = [b'"', b'\\', b'/', 0x1f].map(u8x16::splat);
    let (lanes, _) = block.as_chunks::<16>();
    let mut bits = Bits {
        marks: 0,
        slashes: 0,
        high: 0,
    };
    for lane in lanes.iter().rev() {
        let bytes = u8x16::new(*lane);
        let controls = bytes.min(last_control).simd_eq(bytes);
        let marks = bytes.simd_eq(quote) | bytes.simd_eq(backslash) | controls;
        bits.marks = bits.marks << 16 | u64::from(marks.to_bitmask());
        bits.slashes = bits.slashes << 16 | u64::from(bytes.simd_eq(slash).to_bitmask());
        bits.high |= bytes.to_bitmask();
    }
    bits
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
            }
        }
    }

    proptest! {
        #[test]
        fn each_mark_is_found_from_each_place(text in prop::collection::vec(prop_oneof![3 => b'a'..=b'z', 1 => Just(b'/'), 1 => any::<u8>()], 0..300)) {
            let marks = Marks::of(&text);
            prop_assert_eq!(marks.is_ascii(), text.is_ascii());
            let slashes = text.iter().zip(0..).filter(|(byte, _)| **byte == b'/');
            let expected: Vec<u32> = slashes.map(|(_, place)| place).take(9).collect();
            let mut found = vec![7];
            marks.slashes(9, &mut found);
            prop_assert_eq!(found, expected);
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
