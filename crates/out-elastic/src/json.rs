//! The JSON writer behind the encoder: strings escaped, everything else as it is.

use model::document::push_short;

const HEX: [u8; 16] = *b"0123456789abcdef";

/// Appends `text` in quotes, escaped where JSON wants it.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` as the inside of a JSON string.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (plain, tail) = rest
            .split_at_checked(plain_length(rest))
            .unwrap_or((rest, &[]));
        push_short(out, plain);
        let Some((byte, tail)) = tail.split_first() else {
            return;
        };
        push_escape(out, *byte);
        rest = tail;
    }
}

/// Appends the inside of a JSON string that has its escapes already, in quotes. Half a surrogate
/// pair (`\ud83d` alone) is legal JSON and no text: some servers and many readers refuse the whole
/// document for it, so it becomes U+FFFD.
pub(crate) fn push_verbatim(out: &mut Vec<u8>, inside: &[u8]) {
    out.push(b'"');
    let mut rest = inside;
    // `contains` is the fast search, and most strings have no escape.
    while rest.contains(&b'\\')
        && let Some(at) = rest.iter().position(|byte| *byte == b'\\')
    {
        let (plain, escape) = rest.split_at(at);
        push_short(out, plain);
        let length = escape_length(escape);
        let (escape, tail) = escape.split_at_checked(length).unwrap_or((escape, &[]));
        if is_lone_surrogate(escape) {
            push_short(out, b"\\ufffd");
        } else {
            push_short(out, escape);
        }
        rest = tail;
    }
    push_short(out, rest);
    out.push(b'"');
}

/// How many bytes at the front need no escape; looks at eight bytes at a time, since almost all text
/// needs none.
fn plain_length(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let marks = special(u64::from_le_bytes(*word));
        if marks != 0 {
            return length + marks.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    length + rest.iter().position(special).unwrap_or(rest.len())
}

/// The highest bit of the lowest byte that is a control byte, a quote or a backslash; bits of bytes
/// above it may be set as well, those below are not.
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & HIGH
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// How long the escape at the front is; both halves of a surrogate pair are one escape.
fn escape_length(escape: &[u8]) -> usize {
    match (surrogate(escape), escape.get(6..).map(surrogate)) {
        (Some(Half::High), Some(Some(Half::Low))) => 12,
        _ if escape.get(1) == Some(&b'u') => 6,
        _ => 2,
    }
}

fn is_lone_surrogate(escape: &[u8]) -> bool {
    escape.len() == 6 && surrogate(escape).is_some()
}

enum Half {
    High,
    Low,
}

/// Which half of a surrogate pair the escape `\uXXXX` at the front is.
fn surrogate(escape: &[u8]) -> Option<Half> {
    match escape.get(..4)? {
        [b'\\', b'u', b'd' | b'D', digit] => match digit {
            b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Half::High),
            b'c'..=b'f' | b'C'..=b'F' => Some(Half::Low),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbatim(inside: &str) -> String {
        let mut out = Vec::new();
        push_verbatim(&mut out, inside.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_that_are_there_stay_as_they_are() {
        for inside in [
            "",
            "plain",
            r"a\nb\\",
            r"\u00e9",
            r"\ud83d\ude00!",
            r#"\"q\""#,
        ] {
            assert_eq!(verbatim(inside), format!("\"{inside}\""));
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        assert_eq!(verbatim(r"\ud83d"), r#""\ufffd""#);
        assert_eq!(verbatim(r"\ud83d\n"), r#""\ufffd\n""#);
        assert_eq!(verbatim(r"\uDE00\ud83d\ude00"), r#""\ufffd\ud83d\ude00""#);
        assert_eq!(verbatim(r"\ud83d\ud83d\ude00"), r#""\ufffd\ud83d\ude00""#);
    }

    #[test]
    fn a_byte_that_needs_an_escape_is_found_at_every_place() {
        for length in 0..40 {
            for special in [0, 0x1f, b'"', b'\\'] {
                for at in 0..length {
                    let mut text = vec![b'\xff'; length];
                    text[at] = special;
                    assert_eq!(plain_length(&text), at, "{special} of {length}");
                }
            }
            for plain in [0x20, b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                assert_eq!(plain_length(&vec![plain; length]), length, "{plain}");
            }
        }
    }

    #[test]
    fn every_byte_below_space_is_escaped() {
        let text: Vec<u8> = (0..0x80).collect();
        let mut out = Vec::new();
        push_string(&mut out, &text);
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back.as_bytes(), text);
        assert!(out.iter().all(|byte| *byte >= 0x20));
    }
}
