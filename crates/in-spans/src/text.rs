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
    pub(crate) fn meaning(self, run: &[u8]) -> Cow<'_, str> {
        let text = std::str::from_utf8(self.bytes(run)).unwrap_or_default();
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
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let mut characters = behind.chars();
        let plain = match characters.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (character, after) = unescape_unit(characters.as_str());
                out.push(character);
                rest = after;
                continue;
            }
            Some(itself) => itself,
            None => break,
        };
        out.push(plain);
        rest = characters.as_str();
    }
    out.push_str(rest);
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
