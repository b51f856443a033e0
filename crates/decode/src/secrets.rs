//! Finds secrets in text and masks them.
//!
//! | found | masked |
//! |---|---|
//! | `password`, `token`, `secret`, `apikey` … before `:` or `=`, in JSON, YAML, URLs and prose, at any depth of escaping | the string or word after it |
//! | `Authorization:` | the rest of the header |
//! | `Bearer x` | `x` |
//! | `eyJ…` (JWT, base64 of JSON), base64 of PEM or of a Kubernetes manifest | the run |
//! | PEM blocks of private keys | the block |
//! | a Kubernetes `Secret` with its data | the whole text |
//!
//! Most lines hold nothing of this: [`suspicious`] asks once a line for hints of these words (SIMD
//! where there is some), where there are any for fragments of them, and only then is anything looked
//! at closely.

use std::sync::LazyLock;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::noncontiguous::NFA;
use aho_corasick::{Anchored, Input, Match, MatchKind, packed};

/// What stands in place of a secret.
pub(crate) const MASK: &str = "[REDACTED]";

/// What each fragment has at least one of: few and short enough that the search nearly never stops for
/// nothing, which halves its cost. One line in twenty has one (`key`).
const HINTS: &[&str] = &[
    "ssw", "SSW", "cret", "CRET", "oken", "OKEN", "key", "Key", "KEY", "rer ", "eyJ", "thor",
    "beco", "beCo", "dent", "LS0", "YXB",
];

/// Fragments without which no secret is recognised, chosen so that few patterns cover the usual
/// spellings: more than 32 would halve the speed of the search.
const FRAGMENTS: &[&str] = &[
    "assw",
    "ASSW",
    "ecret",
    "ECRET",
    "oken",
    "OKEN",
    "earer ",
    "eyJ",
    "VATE KEY",
    "uthoriz",
    "pikey",
    "piKey",
    "pi_key",
    "pi-key",
    "PI_KEY",
    "sskey",
    "ssKey",
    "ss_key",
    "SS_KEY",
    "tekey",
    "teKey",
    "te_key",
    "TE_KEY",
    "ubeconfig",
    "ubeConfig",
    "t-key-",
    "redential",
    "LS0tLS1CRUdJ",
    "YXBpVmVyc2lv",
];

/// Longest of [`ANCHORS`].
const ANCHOR_BYTES_MAX: usize = 15;
/// Longest text between the start of a PEM block and the words `PRIVATE KEY`.
const PEM_LABEL_BYTES_MAX: usize = 64;

/// What the close look begins with, in any case.
const ANCHORS: &[(&str, Anchor)] = &[
    ("password", Anchor::Word),
    ("passwd", Anchor::Word),
    ("secret", Anchor::Word),
    ("token", Anchor::Word),
    ("apikey", Anchor::Word),
    ("api_key", Anchor::Word),
    ("api-key", Anchor::Word),
    ("accesskey", Anchor::Word),
    ("access_key", Anchor::Word),
    ("privatekey", Anchor::Word),
    ("private_key", Anchor::Word),
    ("client-key-data", Anchor::Word),
    ("kubeconfig", Anchor::Word),
    ("credential", Anchor::Word),
    ("credentials", Anchor::Word),
    ("authorization", Anchor::Header),
    ("bearer ", Anchor::Bearer),
    ("eyj", Anchor::Base64("eyJ")),
    ("ls0tls1crudj", Anchor::Base64("LS0tLS1CRUdJ")),
    ("yxbpvmvyc2lv", Anchor::Base64("YXBpVmVyc2lv")),
    ("private key-----", Anchor::Pem),
];

#[derive(Clone, Copy, Debug)]
enum Anchor {
    /// A word that names a secret.
    Word,
    /// A header whose whole value is one.
    Header,
    /// The word before a token.
    Bearer,
    /// The beginning of base64 text, in exactly this case.
    Base64(&'static str),
    /// The end of a PEM block's first line.
    Pem,
}

static HINT: LazyLock<Option<packed::Searcher>> =
    LazyLock::new(|| packed::Searcher::new(HINTS.iter()));
static FAST: LazyLock<Option<packed::Searcher>> =
    LazyLock::new(|| packed::Searcher::new(FRAGMENTS.iter()));
/// Where the processor cannot do the former.
static SLOW: LazyLock<Option<NFA>> = LazyLock::new(|| NFA::new(FRAGMENTS).ok());
static CLOSE: LazyLock<Option<NFA>> = LazyLock::new(|| {
    NFA::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostLongest)
        .build(ANCHORS.iter().map(|(word, _)| word))
        .ok()
});

/// Whether `text` may hold a secret. Never false where [`mask`] finds one in the usual spellings.
pub(crate) fn suspicious(text: &[u8]) -> bool {
    if let Some(hint) = HINT.as_ref()
        && hint.find(text).is_none()
    {
        return false;
    }
    if let Some(searcher) = FAST.as_ref() {
        return searcher.find(text).is_some();
    }
    SLOW.as_ref()
        .is_none_or(|searcher| first(searcher, text).is_some())
}

fn first(searcher: &NFA, text: &[u8]) -> Option<Match> {
    let input = Input::new(text).anchored(Anchored::No);
    searcher.try_find(&input).ok().flatten()
}

/// Whether a field of this (normalised) name holds a secret by its name alone.
pub(crate) fn is_secret_name(name: &[u8]) -> bool {
    [
        &b"password"[..],
        b"passwd",
        b"secret",
        b"token",
        b"apikey",
        b"api_key",
        b"accesskey",
        b"access_key",
        b"privatekey",
        b"private_key",
        b"client_key_data",
        b"kubeconfig",
        b"credential",
        b"credentials",
        b"authorization",
    ]
    .iter()
    .any(|word| name.ends_with(word))
}

/// Appends `text` with its secrets masked and answers how many there were. Valid UTF-8 stays valid.
pub(crate) fn mask(text: &[u8], out: &mut Vec<u8>) -> u32 {
    let Some(close) = CLOSE.as_ref() else {
        out.extend_from_slice(MASK.as_bytes());
        return 1;
    };
    if is_secret_manifest(text) {
        out.extend_from_slice(MASK.as_bytes());
        return 1;
    }
    let (mut masked, mut copied, mut from) = (0, 0, 0);
    while let Some(found) = text.get(from..).and_then(|rest| first(close, rest)) {
        let (start, end) = (from + found.start(), from + found.end());
        let anchor = ANCHORS.get(found.pattern().as_usize()).map(|(_, a)| *a);
        let secret = anchor.and_then(|anchor| extent(anchor, text, start, end));
        from = end;
        let Some((first, last)) = secret.filter(|(first, last)| first < last) else {
            continue;
        };
        let first = first.max(copied);
        if first >= last {
            continue;
        }
        if text.get(first..last) != Some(MASK.as_bytes()) {
            out.extend_from_slice(text.get(copied..first).unwrap_or_default());
            out.extend_from_slice(MASK.as_bytes());
            masked += 1;
            copied = last;
        }
        // The end of a value may be the name of the next one: `secret: token: x`. That of a block is
        // its last line.
        let again = match anchor {
            Some(Anchor::Pem) => 0,
            _ => ANCHOR_BYTES_MAX + 1,
        };
        from = end.max(last.saturating_sub(again));
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    masked
}

/// Where the secret lies that the anchor at `start..end` announces.
fn extent(anchor: Anchor, text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    match anchor {
        Anchor::Word => assigned(text, end, false),
        Anchor::Header => assigned(text, end, true),
        Anchor::Bearer => {
            let run = run(text, end, is_token);
            (run >= end + 4).then_some((end, run))
        }
        Anchor::Base64(exact) => {
            let inside = start > 0 && text.get(start - 1).is_some_and(u8::is_ascii_alphanumeric);
            if inside || text.get(start..end) != Some(exact.as_bytes()) {
                return None;
            }
            let run = run(text, start, is_token);
            (run >= start + 16).then_some((start, run))
        }
        Anchor::Pem => {
            let from = start.saturating_sub(PEM_LABEL_BYTES_MAX);
            let begin = from + memchr::memmem::rfind(text.get(from..start)?, b"-----BEGIN ")?;
            let body = text.get(end..)?;
            let close = memchr::memmem::find(body, b"PRIVATE KEY-----")
                .map_or(text.len(), |at| end + at + b"PRIVATE KEY-----".len());
            Some((begin, close))
        }
    }
}

/// The value after a word that ends at `end`: `": "x"`, `=x`, `: x`, `\": \"x\"`.
fn assigned(text: &[u8], end: usize, header: bool) -> Option<(usize, usize)> {
    let mut at = run(text, end, |byte| byte == b'\\');
    at += usize::from(matches!(text.get(at), Some(b'"' | b'\'')));
    at = run(text, at, |byte| byte == b' ');
    if !matches!(text.get(at), Some(b':' | b'=')) {
        return None;
    }
    at = run(text, at + 1, |byte| byte == b' ');
    let quote = run(text, at, |byte| byte == b'\\');
    match text.get(quote)? {
        b'"' => Some((quote + 1, closing(text, quote + 1, quote - at))),
        b'\'' => {
            let inside = text.get(quote + 1..)?;
            let length = memchr::memchr(b'\'', inside).unwrap_or(inside.len());
            Some((quote + 1, quote + 1 + length))
        }
        b'{' | b'[' | b'<' => None,
        _ if quote > at => None,
        _ => {
            let word = |byte| {
                !matches!(
                    byte,
                    b'"' | b'\'' | b'\\' | b',' | b';' | b'&' | b'}' | b']' | b')' | b'<' | b'>'
                ) && byte > b' '
            };
            let rest = |byte| !matches!(byte, b'"' | b'\\' | b'\r' | b'\n');
            let last = if header {
                run(text, at, rest)
            } else {
                run(text, at, word)
            };
            let value = text.get(at..last)?;
            let nothing = matches!(value, b"null" | b"nil" | b"true" | b"false");
            (!nothing).then_some((at, last))
        }
    }
}

/// Where the string ends whose quotes are escaped by `level` backslashes.
fn closing(text: &[u8], start: usize, level: usize) -> usize {
    let (mut backslashes, period) = (0, 2 * (level + 1));
    for (index, byte) in text.iter().enumerate().skip(start) {
        match byte {
            b'\\' => backslashes += 1,
            // A quote inside has twice as many and one more; an escaped backslash adds a period.
            b'"' if backslashes < level => return index - backslashes,
            b'"' if backslashes % period == level => return index - level,
            _ => backslashes = 0,
        }
    }
    text.len()
}

/// The first place at or after `start` whose byte is not of the kind.
fn run(text: &[u8], start: usize, kind: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| kind(**byte)).count()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
}

/// `kind: Secret` or `"kind":"Secret"` with a member `data` or `stringData`.
fn is_secret_manifest(text: &[u8]) -> bool {
    let data = || {
        memchr::memmem::find(text, b"data").is_some()
            || memchr::memmem::find(text, b"stringData").is_some()
    };
    memchr::memmem::find_iter(text, b"Secret").any(|at| {
        let before = text.get(at.saturating_sub(16)..at).unwrap_or_default();
        let trimmed: Vec<u8> = before
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b' ' | b'"' | b'\\'))
            .collect();
        trimmed.ends_with(b"kind:")
    }) && data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut out = Vec::new();
        let count = mask(text.as_bytes(), &mut out);
        assert!(
            count == 0 || suspicious(text.as_bytes()),
            "prefilter misses {text}"
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn secrets_are_masked_and_their_surroundings_kept() {
        for (text, expected) in [
            (
                r#"{"password":"a\"b","x":1}"#,
                r#"{"password":"[REDACTED]","x":1}"#,
            ),
            (
                r#"{\"gitToken\": \"gh\",\"n\":1}"#,
                r#"{\"gitToken\": \"[REDACTED]\",\"n\":1}"#,
            ),
            (
                r#"{\\\"api_key\\\":\\\"k\\\"}"#,
                r#"{\\\"api_key\\\":\\\"[REDACTED]\\\"}"#,
            ),
            (
                "GET /v2?access_token=abc&x=1 HTTP/1.1",
                "GET /v2?access_token=[REDACTED]&x=1 HTTP/1.1",
            ),
            (
                "Authorization: Basic dXNl\r\nHost: a",
                "Authorization: [REDACTED]\r\nHost: a",
            ),
            ("with Bearer abcdef.g-h done", "with Bearer [REDACTED] done"),
            (
                "jwt eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.sig_-x!",
                "jwt [REDACTED]!",
            ),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[REDACTED]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMII", "[REDACTED]"),
            ("passwd: hunter2, next", "passwd: [REDACTED], next"),
            (
                "get secret: token: abc",
                "get secret: [REDACTED] [REDACTED]",
            ),
            ("token=password=\"x y\"!", "token=[REDACTED]\"[REDACTED]\"!"),
            (
                "client-key-data: LS0tLS1CRUdJTiBSU0E=",
                "client-key-data: [REDACTED]",
            ),
            (
                r#"{"apiVersion":"v1","kind":"Secret","data":{"a":"Yg=="}}"#,
                "[REDACTED]",
            ),
            ("kind: Secret\nstringData:\n  a: b", "[REDACTED]"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn every_fragment_has_a_hint() {
        for fragment in FRAGMENTS {
            assert!(
                HINTS.iter().any(|hint| fragment.contains(hint)),
                "{fragment}"
            );
            assert!(
                suspicious(format!("a {fragment} b").as_bytes()),
                "{fragment}"
            );
        }
        assert!(!suspicious(b"a key to the door"));
    }

    #[test]
    fn words_alone_are_no_secrets() {
        for text in [
            r#"{"secretName":"tls","secretRef":{"name":"x"},"token":null,"password":""}"#,
            "Temp file for Kubeconfig",
            "Get kubeconfig failed: not found",
            "invalid character in token",
            "automountServiceAccountToken: true",
            "http-server+Secret",
            "monkeyJungle12345678901234567890",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        for part in [
            "PRIVATE KEY-----",
            "eyJ",
            ".eyJ",
            "token\\\\",
            "password \"",
            "Secret",
            "eyJ ",
        ] {
            let text = part.repeat((1 << 20) / part.len());
            assert!(masked(&text).len() <= text.len() * 4);
        }
    }

    #[test]
    fn masking_twice_changes_nothing() {
        let once = masked(r#"{"password":"x","t":"Bearer abcdefgh"}"#);
        assert_eq!(masked(&once), once);
    }
}
