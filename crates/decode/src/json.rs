//! A validating JSON scanner that copies nothing: the members of one object as ranges.
//!
//! Grammar of RFC 8259 in full (structure, escapes, numbers, control bytes), except: nesting is
//! limited to [`DEPTH_MAX`], members of the outermost object to [`MEMBERS_MAX`]. UTF-8 is the
//! caller's business: it is checked once a line, and so are the ends of strings ([`Marks`]).

use model::record::Range;

use crate::marks::Marks;
use crate::table::Entry;

/// Deepest nesting that is read; EMCO's own documents have less than 20 levels.
pub(crate) const DEPTH_MAX: u32 = 96;
/// Most members of the outermost object; lines have 3 to 30.
pub(crate) const MEMBERS_MAX: usize = 256;

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string; the range is its inside.
    Text(Escapes),
    Number,
    True,
    False,
    #[default]
    Null,
    /// An object or array; the range is its text.
    Nested,
}

/// Which escapes a string has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Escapes {
    #[default]
    None,
    Some,
    /// Surrogates among them, which may stand alone.
    Surrogates,
}

/// One member of the object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    pub(crate) key: Range,
    pub(crate) value: Range,
    pub(crate) kind: Kind,
    /// What the key means, for whoever looked it up.
    pub(crate) entry: Option<&'static Entry>,
}

/// Reads the object that begins at `start` and reaches to the end of `text` (but for white space);
/// `marks` are those of the text, or of one that begins with it; `members` is filled with the
/// object's. Answers whether it is one.
pub(crate) fn object(text: &[u8], start: usize, marks: &Marks, members: &mut Vec<Member>) -> bool {
    members.clear();
    let mut scanner = Scanner {
        text,
        marks,
        at: start,
    };
    let read = scanner.members(members).is_some();
    scanner.space();
    read && scanner.at >= text.len()
}

struct Scanner<'t> {
    text: &'t [u8],
    marks: &'t Marks,
    at: usize,
}

impl Scanner<'_> {
    fn members(&mut self, members: &mut Vec<Member>) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.eat(b'}') {
            return Some(());
        }
        loop {
            self.space();
            let (key, _) = self.string()?;
            // nearly always there is no space, and the value is a string
            let (value, kind) = if self.follows(*b":\"") {
                let (value, escapes) = self.rest_of_string()?;
                (value, Kind::Text(escapes))
            } else {
                self.space();
                self.expect(b':')?;
                self.space();
                self.value(0)?
            };
            if members.len() >= MEMBERS_MAX {
                return None;
            }
            members.push(Member {
                key,
                value,
                kind,
                entry: None,
            });
            if self.text.get(self.at) == Some(&b',') {
                self.at += 1;
                continue;
            }
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn value(&mut self, depth: u32) -> Option<(Range, Kind)> {
        let start = self.at;
        let kind = match self.text.get(self.at)? {
            b'"' => {
                let (range, escapes) = self.string()?;
                return Some((range, Kind::Text(escapes)));
            }
            b'{' => {
                self.nested_object(depth)?;
                Kind::Nested
            }
            b'[' => {
                self.array(depth)?;
                Kind::Nested
            }
            b't' => self.word(b"true", Kind::True)?,
            b'f' => self.word(b"false", Kind::False)?,
            b'n' => self.word(b"null", Kind::Null)?,
            _ => {
                self.number()?;
                Kind::Number
            }
        };
        Some((range(start, self.at), kind))
    }

    fn nested_object(&mut self, depth: u32) -> Option<()> {
        if depth >= DEPTH_MAX {
            return None;
        }
        self.at += 1;
        self.space();
        if self.eat(b'}') {
            return Some(());
        }
        loop {
            self.space();
            self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            self.value(depth + 1)?;
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        if depth >= DEPTH_MAX {
            return None;
        }
        self.at += 1;
        self.space();
        if self.eat(b']') {
            return Some(());
        }
        loop {
            self.space();
            self.value(depth + 1)?;
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    #[inline]
    fn string(&mut self) -> Option<(Range, Escapes)> {
        self.expect(b'"')?;
        self.rest_of_string()
    }

    /// A string after its first quote.
    #[inline]
    fn rest_of_string(&mut self) -> Option<(Range, Escapes)> {
        let start = self.at;
        self.at = self.marks.next(start);
        if self.text.get(self.at) == Some(&b'"') {
            self.at += 1;
            return Some((range(start, self.at - 1), Escapes::None));
        }
        self.escaped_string(start)
    }

    /// The rest of a string, from its first escape on.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Option<(Range, Escapes)> {
        let mut escapes = Escapes::None;
        loop {
            match self.next()? {
                b'"' => return Some((range(start, self.at - 1), escapes)),
                b'\\' => {
                    let found = self.escape()?;
                    if escapes != Escapes::Surrogates {
                        escapes = found;
                    }
                }
                _ => return None,
            }
            self.at = self.marks.next(self.at);
        }
    }

    fn escape(&mut self) -> Option<Escapes> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(Escapes::Some),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 4;
                let surrogate = matches!(
                    digits,
                    [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]
                );
                Some(if surrogate {
                    Escapes::Surrogates
                } else {
                    Escapes::Some
                })
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        (length > 0).then_some(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Option<Kind> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(kind)
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    /// Passes over two bytes, if they are those.
    #[inline]
    fn follows(&mut self, bytes: [u8; 2]) -> bool {
        let next = self.text.get(self.at..).and_then(<[u8]>::first_chunk);
        let found = next == Some(&bytes);
        self.at += if found { 2 } else { 0 };
        found
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }
}

/// A range of the text; lines are far below 4 GiB.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "records are at most a few MiB"
)]
pub(crate) fn range(start: usize, end: usize) -> Range {
    Range {
        start: start as u32,
        end: end as u32,
    }
}

/// Appends the meaning of the inside of a JSON string that [`object`] has accepted; surrogates that
/// stand alone become U+FFFD.
pub(crate) fn unescape(inside: &[u8], out: &mut Vec<u8>) {
    let mut rest = inside;
    while let Some(index) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(index);
        out.extend_from_slice(plain);
        let (bytes, length) = meaning(escape);
        let mut utf8 = [0; 4];
        out.extend_from_slice(bytes.encode_utf8(&mut utf8).as_bytes());
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The character an escape stands for, and the escape's length.
fn meaning(escape: &[u8]) -> (char, usize) {
    let simple = |byte| (char::from(byte), 2);
    match escape.get(1) {
        Some(b'b') => simple(8),
        Some(b'f') => simple(12),
        Some(b'n') => simple(b'\n'),
        Some(b'r') => simple(b'\r'),
        Some(b't') => simple(b'\t'),
        Some(b'u') => {
            let first = unit(escape);
            if let Some(char) = char::from_u32(first) {
                return (char, 6);
            }
            let second = escape.get(6..).map_or(0, unit);
            if first < 0xdc00 && (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return (char::from_u32(code).unwrap_or('\u{fffd}'), 12);
            }
            ('\u{fffd}', 6)
        }
        Some(byte) => simple(*byte),
        None => ('\\', 1),
    }
}

/// The UTF-16 unit of `\uXXXX`; 0 for anything else.
fn unit(escape: &[u8]) -> u32 {
    match escape {
        [b'\\', b'u', a, b, c, d, ..] => [a, b, c, d].iter().fold(0, |unit, digit| {
            unit << 4 | char::from(**digit).to_digit(16).unwrap_or(0)
        }),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &[u8]) -> bool {
        object(text, 0, &Marks::of(text), &mut Vec::new())
    }

    #[test]
    fn members_are_ranges_over_the_text() {
        let text = br#" {"a":"x\ny", "b" : [1,{"c":null}], "d":-1.5e+3,"e":true,"f":null} "#;
        let mut members = Vec::new();
        assert!(object(text, 1, &Marks::of(text), &mut members));
        let values: Vec<_> = members.iter().map(|m| m.value.of(text)).collect();
        let expected: [&[u8]; 5] = [br"x\ny", br#"[1,{"c":null}]"#, b"-1.5e+3", b"true", b"null"];
        assert_eq!(values, expected);
        assert_eq!(members[0].kind, Kind::Text(Escapes::Some));
        assert_eq!(members[1].kind, Kind::Nested);
    }

    #[test]
    fn escapes_mean_what_serde_json_says() {
        for inside in [
            r"a\u003cb\u003e\u0026",
            r#"\"\\\/\b\f\n\r\t"#,
            r"\ud83d\ude00 \u00e9",
        ] {
            let mut out = Vec::new();
            unescape(inside.as_bytes(), &mut out);
            let expected: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        unescape(br"\ud83d x \ude00", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\u{fffd} x \u{fffd}");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels)).into_bytes()
        };
        assert!(accepts(&deep(90)));
        assert!(!accepts(&deep(100_000)));
    }

    proptest! {
        /// Accepts exactly what `serde_json` accepts as an object (up to lone surrogates, which
        /// only it refuses).
        #[test]
        fn agrees_with_serde_json(text in r#"\{("[a-z\\"]{0,3}":([0-9.eE+-]{1,4}|"[a-z\\"un\t]{0,9}"|true|nul|null|\[[0-9,]{0,4}\]|\{\}),?){0,3}\}?"#) {
            let strict = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            let out_of_range = strict.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert!(out_of_range || accepts(text.as_bytes()) == strict.is_ok(), "{}", text);
        }

        #[test]
        fn cut_or_changed_documents_agree_too(cut in 0_usize..120, at in 0_usize..120, byte in 32_u8..127) {
            let mut text = br#"{"SOURCE":"file[a.go:1] func[b.c]","n":-0.5e10,"o":{"k":[true,null,"\u00e9"]},"msg":"x"}"#.to_vec();
            text.truncate(text.len() - cut.min(text.len()));
            if let Some(place) = text.get_mut(at) { *place = byte; }
            let strict = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text);
            let special = strict.as_ref().is_err_and(|e| {
                let reason = e.to_string();
                reason.contains("out of range") || reason.contains("surrogate")
            });
            prop_assert!(special || accepts(&text) == strict.is_ok(), "{}", String::from_utf8_lossy(&text));
        }
    }
}
