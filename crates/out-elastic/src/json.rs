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
    while let Some(at) = rest.iter().position(|byte| must_escape(*byte)) {
        let (plain, tail) = rest.split_at(at);
        push_short(out, plain);
        let Some((byte, tail)) = tail.split_first() else {
            return;
        };
        push_escape(out, *byte);
        rest = tail;
    }
    push_short(out, rest);
}

/// Appends the inside of a JSON string that has its escapes already, in quotes. Half a surrogate
/// pair (`\ud83d` alone) is legal JSON and no text: some servers and many readers refuse the whole
/// document for it, so it becomes U+FFFD.
pub(crate) fn push_verbatim(out: &mut Vec<u8>, inside: &[u8]) {
    out.push(b'"');
    let mut rest = inside;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
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

const fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
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
    fn every_byte_below_space_is_escaped() {
        let text: Vec<u8> = (0..0x80).collect();
        let mut out = Vec::new();
        push_string(&mut out, &text);
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back.as_bytes(), text);
        assert!(out.iter().all(|byte| *byte >= 0x20));
    }
}
