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
fn unescape(text: &str, out: &mut String) {
    let mut plain = std::mem::take(out).into_bytes();
    let mut rest = text;
    loop {
        let before = plain.len();
        // escapes stand close to each other, so bytes are moved one by one; no meaning is longer
        // than its escape
        plain.resize(before + rest.len(), 0);
        let mut places = plain.iter_mut().skip(before);
        let mut bytes = rest.bytes();
        let mut unit = false;
        while let Some(byte) = bytes.next() {
            let meaning = if byte == b'\\' {
                match bytes.next() {
                    Some(b'b') => 8,
                    Some(b'f') => 0xc,
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(b'u') => {
                        unit = true;
                        break;
                    }
                    Some(itself) => itself,
                    None => break,
                }
            } else {
                byte
            };
            if let Some(place) = places.next() {
                *place = meaning;
            }
        }
        let left = places.len();
        plain.truncate(plain.len() - left);
        if !unit {
            break;
        }
        let behind = rest.get(rest.len() - bytes.len()..).unwrap_or_default();
        let (character, after) = unescape_unit(behind);
        plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    *out = String::from_utf8(plain).unwrap_or_default();
}

/// The character that `\u` followed by `digits` means, and what follows it.
fn unescape_unit(digits: &str) -> (char, &str) {
    let Some((unit, after)) = hex_unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, digits);
    };
    if let Some(character) = char::from_u32(unit) {
        return (character, after);
    }
    let low = after.strip_prefix("\\u").and_then(hex_unit);
    if let (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after))) = (unit, low) {
        let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        let character = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (character, after);
    }
    (char::REPLACEMENT_CHARACTER, after)
}

fn hex_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, after) = text.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, after))
}
