//! Steps over JSON and checks every byte of it against the grammar, without building anything.
//!
//! The text may end at any byte: that is [`Stop::End`], and with more bytes it may still be right.

use crate::error::FaultKind;
use crate::text::Text;

/// Deepest nesting inside a value.
const DEPTH_MAX: u32 = 127;

/// A place in a text; each method steps over what it is named after.
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
    /// Whether strings are searched for control characters.
    pub(crate) strict: bool,
}

impl<'a> Scanner<'a> {
    /// Steps over members of an object whose `{` is behind; `member` steps over each value.
    pub(crate) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let text: &'a [u8] = self.text;
        self.members_at(|scanner, key| key.with(text, |key| member(scanner, key)))
    }

    /// The same; `member` gets the place of each key.
    #[inline]
    pub(crate) fn members_at(
        &mut self,
        mut member: impl FnMut(&mut Self, Text) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.expect(b'"', Stop::Key)?;
            let key = self.string()?;
            self.space();
            self.expect(b':', Stop::Colon)?;
            self.space();
            member(self, key)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::ObjectGoesOn),
            }
        }
    }

    /// Steps over elements of an array whose `[` is behind; `element` steps over each value.
    pub(crate) fn elements(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            element(self)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::ArrayGoesOn),
            }
        }
    }

    /// A string, or a number or boolean taken as the text it is written with. Nothing else is text.
    pub(crate) fn text_value(&mut self) -> Result<Option<Text>, Stop> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(Some)
            }
            b'{' | b'[' | b'n' => self.value().map(|()| None),
            _ => {
                let start = self.at;
                self.value()?;
                Ok(Some(Text::new(start, self.at, false)))
            }
        }
    }

    /// Steps over any value.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'"' {
            self.at += 1;
            return self.string().map(drop);
        }
        self.nested_value()
    }

    /// Steps over any value, without recursion.
    fn nested_value(&mut self) -> Result<(), Stop> {
        let mut depth = 0_u32;
        // One bit a level: 1 = object.
        let mut objects = 0_u128;
        loop {
            self.space();
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    self.space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek()? == close {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return Err(Stop::Depth);
                        }
                        depth += 1;
                        objects = objects << 1 | u128::from(open == b'{');
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return Err(Stop::Value),
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.space();
                let object = objects & 1 == 1;
                match (self.peek()?, object) {
                    (b',', true) => {
                        self.at += 1;
                        self.space();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                    }
                    _ => return Err(Stop::GoesOn),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), Stop> {
        self.expect(b'"', Stop::Key)?;
        self.string()?;
        self.space();
        self.expect(b':', Stop::Colon)
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), Stop> {
        for byte in literal {
            self.expect(*byte, Stop::Literal)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit. A number inside an object always has a byte behind it.
    fn digits(&mut self) -> Result<(), Stop> {
        if !self.peek()?.is_ascii_digit() {
            return Err(Stop::Digit);
        }
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// The rest of a string whose opening quote is behind.
    pub(crate) fn string(&mut self) -> Result<Text, Stop> {
        let start = self.at;
        let mut escaped = false;
        'words: while let Some(word) = self.text.get(self.at..).and_then(<[u8]>::first_chunk) {
            let word = u64::from_le_bytes(*word);
            let mut marks = marks(word);
            if self.strict {
                marks |= control_marks(word);
            }
            while marks != 0 {
                let place = self.at + marks.trailing_zeros() as usize / 8;
                if self.text.get(place) == Some(&b'"') {
                    self.at = place + 1;
                    return Ok(Text::new(start, place, escaped));
                }
                let word_at = self.at;
                let next = self.escape(place)?;
                self.at = word_at;
                escaped = true;
                let stepped = next - word_at;
                if stepped >= 8 {
                    self.at = next;
                    continue 'words;
                }
                marks &= u64::MAX << (stepped * 8);
            }
            self.at += 8;
        }
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(Text::new(start, self.at - 1, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.at = self.escape(self.at)?;
                }
                0..0x20 if self.strict => return Err(Stop::Text),
                _ => self.at += 1,
            }
        }
    }

    /// Where the escape at `place` ends. Whatever else stands there cannot be in a string.
    #[inline]
    fn escape(&mut self, place: usize) -> Result<usize, Stop> {
        match self.text.get(place..place + 2) {
            Some(
                [
                    b'\\',
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ],
            ) => Ok(place + 2),
            _ => self.rare_escape(place),
        }
    }

    #[cold]
    fn rare_escape(&mut self, place: usize) -> Result<usize, Stop> {
        for (offset, fits) in [
            (0, (|byte| byte == b'\\') as fn(u8) -> bool),
            (1, |byte| byte == b'u'),
            (2, |byte| byte.is_ascii_hexdigit()),
            (3, |byte| byte.is_ascii_hexdigit()),
            (4, |byte| byte.is_ascii_hexdigit()),
            (5, |byte| byte.is_ascii_hexdigit()),
        ] {
            self.at = place + offset;
            if !fits(self.peek()?) {
                return Err(Stop::Text);
            }
        }
        Ok(place + 6)
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, Stop> {
        match self.text.get(self.at) {
            Some(byte) => Ok(*byte),
            None => Err(Stop::End),
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, stop: Stop) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(stop);
        }
        self.at += 1;
        Ok(())
    }
}

/// Why the scanner stopped, in a byte: it is returned from everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    End,
    Text,
    Depth,
    Object,
    Key,
    Colon,
    Value,
    Literal,
    Digit,
    ObjectGoesOn,
    ArrayGoesOn,
    GoesOn,
}

impl Stop {
    /// The same in words.
    pub(crate) const fn kind(self) -> FaultKind {
        FaultKind::Expected(match self {
            Self::End => return FaultKind::End,
            Self::Text => return FaultKind::Text,
            Self::Depth => return FaultKind::Depth,
            Self::Object => "an object",
            Self::Key => "a key in quotes",
            Self::Colon => "a colon",
            Self::Value => "a value",
            Self::Literal => "true, false or null",
            Self::Digit => "a digit",
            Self::ObjectGoesOn => "a comma or the end of the object",
            Self::ArrayGoesOn => "a comma or the end of the array",
            Self::GoesOn => "a comma or the end of the value around it",
        })
    }
}

const LOW: u64 = u64::from_le_bytes([0x7f; 8]);
const ONES: u64 = u64::from_le_bytes([1; 8]);

/// Marks, with its highest bit, every quote and backslash of a little-endian word.
#[inline]
const fn marks(word: u64) -> u64 {
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    // The highest bit of a byte stays clear in both sums only if the byte is 0.
    let quotes = ((quotes & LOW) + LOW) | quotes;
    let backslashes = ((backslashes & LOW) + LOW) | backslashes;
    !(quotes & backslashes) & !LOW
}

/// Marks, with its highest bit, every byte below a space.
#[inline]
const fn control_marks(word: u64) -> u64 {
    !(((word & LOW) + ONES * 0x60) | word) & !LOW
}

/// Whether there are bytes below a space, and bytes beyond ASCII; a word at a time.
pub(crate) fn unusual(bytes: &[u8]) -> (bool, bool) {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut()
        .zip(rest)
        .for_each(|(place, byte)| *place = *byte);
    let (mut control, mut high) = (0, 0);
    for word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(*word);
        control |= control_marks(word);
        high |= word;
    }
    (control != 0, high & !LOW != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_bytes_are_found_anywhere() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'~'; 20];
                bytes[at] = byte;
                assert_eq!(
                    unusual(&bytes),
                    (byte < 0x20, byte >= 0x80),
                    "{byte} at {at}"
                );
            }
        }
        assert_eq!(unusual(b""), (false, false));
    }
}
