//! Where a string stands in a text, and what it means.

use std::borrow::Cow;

/// Where a string stands, without its quotes, and whether it has escapes; small enough to be returned
/// in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    start: u32,
    /// Twice the end, plus 1 if there are escapes.
    end: u32,
}

/// A part of a run that is known to be text, and where it begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part<'a> {
    pub(crate) text: &'a str,
    pub(crate) from: usize,
}

impl Text {
    // The splitter keeps its buffer below 16 MiB, so positions fit.
    #[inline]
    pub(crate) fn new(start: usize, end: usize, escaped: bool) -> Self {
        let position = |at| u32::try_from(at).unwrap_or(u32::MAX / 2);
        Self {
            start: position(start),
            end: position(end) << 1 | u32::from(escaped),
        }
    }

    /// Where it begins.
    #[inline]
    pub(crate) const fn start(self) -> usize {
        self.start as usize
    }

    /// Where its closing quote stands.
    #[inline]
    pub(crate) const fn end(self) -> usize {
        (self.end >> 1) as usize
    }

    /// The same string, where what stood at `from` stands at `to`. What stands nowhere stays there.
    #[inline]
    pub(crate) fn moved(self, from: usize, to: usize) -> Self {
        if self == Self::default() {
            return self;
        }
        let moved = |at: usize| (at + to).saturating_sub(from);
        Self::new(moved(self.start()), moved(self.end()), self.is_escaped())
    }

    #[inline]
    const fn is_escaped(self) -> bool {
        self.end & 1 == 1
    }

    #[inline]
    pub(crate) fn bytes(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..(self.end >> 1) as usize)
            .unwrap_or_default()
    }

    // The scanner has checked that every span is UTF-8, so the default never replaces anything.
    pub(crate) fn resolve<'a>(self, run: &'a [u8], scratch: &'a mut String) -> &'a str {
        let text = std::str::from_utf8(self.bytes(run)).unwrap_or_default();
        if !self.is_escaped() {
            return text;
        }
        scratch.clear();
        unescape(text, scratch);
        scratch
    }

    /// The meaning of the string.
    pub(crate) fn meaning(self, part: Part<'_>) -> Cow<'_, str> {
        let from = (self.start as usize).wrapping_sub(part.from);
        let to = ((self.end >> 1) as usize).wrapping_sub(part.from);
        let text = part.text.get(from..to).unwrap_or_default();
        if !self.is_escaped() {
            return Cow::Borrowed(text);
        }
        let mut plain = String::with_capacity(text.len());
        unescape(text, &mut plain);
        Cow::Owned(plain)
    }

    /// Shows the meaning of the string to `see`.
    #[inline]
    pub(crate) fn with<R>(self, text: &[u8], see: impl FnOnce(&[u8]) -> R) -> R {
        if self.is_escaped() {
            let mut plain = String::new();
            unescape(&String::from_utf8_lossy(self.bytes(text)), &mut plain);
            return see(plain.as_bytes());
        }
        see(self.bytes(text))
    }
}

/// Appends the meaning of the inside of a valid JSON string. Lone surrogates become U+FFFD.
///
/// Escapes stand close to each other, so bytes are moved a word at a time, and what was moved of a word
/// behind an escape is written over. No meaning is longer than its escape.
fn unescape(text: &str, out: &mut String) {
    let mut plain = std::mem::take(out).into_bytes();
    let before = plain.len();
    plain.resize(before + text.len(), 0);
    let written = unescape_to(plain.get_mut(before..).unwrap_or_default(), text.as_bytes());
    plain.truncate(before + written);
    *out = String::from_utf8(plain).unwrap_or_default();
}

/// Writes the meaning of `text` to `out`, which is as long as that; answers how long it is.
fn unescape_to(out: &mut [u8], text: &[u8]) -> usize {
    let (mut to, mut from) = (0, 0);
    while let Some(byte) = text.get(from) {
        if let (Some(word), Some(place)) = (
            text.get(from..).and_then(<[u8]>::first_chunk),
            out.get_mut(to..).and_then(<[u8]>::first_chunk_mut::<8>),
        ) {
            *place = *word;
            let plain = escape_mark(u64::from_le_bytes(*word)).trailing_zeros() as usize / 8;
            to += plain;
            from += plain;
            if plain == 8 {
                continue;
            }
        } else if *byte != b'\\' {
            put(out, &mut to, *byte);
            from += 1;
            continue;
        }
        let Some(escape) = text.get(from + 1) else {
            break;
        };
        from += 2;
        match *escape {
            b'u' => {
                let (character, after) = unescape_unit(text.get(from..).unwrap_or_default());
                from = text.len() - after.len();
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    put(out, &mut to, byte);
                }
            }
            escape => put(out, &mut to, meaning(escape)),
        }
    }
    to
}

#[inline]
fn put(out: &mut [u8], to: &mut usize, byte: u8) {
    if let Some(place) = out.get_mut(*to) {
        *place = byte;
        *to += 1;
    }
}

/// What the letter behind a backslash means.
#[inline]
const fn meaning(escape: u8) -> u8 {
    match escape {
        b'b' => 8,
        b'f' => 0xc,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        itself => itself,
    }
}

/// Marks, with its highest bit, the first backslash of a little-endian word, and perhaps bytes behind it.
#[inline]
const fn escape_mark(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let backslashes = word ^ (ONES * b'\\' as u64);
    backslashes.wrapping_sub(ONES) & !backslashes & (ONES * 0x80)
}

/// The character that `\u` followed by `digits` means, and what follows it.
fn unescape_unit(digits: &[u8]) -> (char, &[u8]) {
    let Some((unit, after)) = hex_unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, digits);
    };
    if let Some(character) = char::from_u32(unit) {
        return (character, after);
    }
    let low = after.strip_prefix(b"\\u").and_then(hex_unit);
    if let (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after))) = (unit, low) {
        let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        let character = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (character, after);
    }
    (char::REPLACEMENT_CHARACTER, after)
}

fn hex_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = text.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u32::from_str_radix(digits, 16).ok()?, after))
}
