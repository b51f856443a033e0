//! Apache Common Log Format, as gorilla's access log writes it to stdout.
//!
//! `<host> - <user> [<dd/Mon/yyyy:HH:MM:SS ±zzzz>] "<METHOD> <URI> <PROTO>" <status> <bytes>`

use model::time::UnixNanos;

use crate::text::decimal;

/// One access line, borrowed from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonLog<'a> {
    /// Remote address without port.
    pub host: &'a str,
    /// `-` unless the URL carried a user name.
    pub user: &'a str,
    /// Second in which the handler started.
    pub started: UnixNanos,
    /// Method, URI and protocol as they stand between the quotes (`\"` and `\\` escaped).
    pub request: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// Request URI with its query.
    pub uri: &'a str,
    /// `1.1` of `HTTP/1.1`.
    pub version: &'a str,
    /// Last status the handler set.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// Reads one line; `None` if it is not in the format.
pub fn parse(text: &[u8]) -> Option<CommonLog<'_>> {
    let text = text.trim_ascii_end();
    // The date has a fixed length, so everything before it is found from its bracket.
    let bracket = memchr::memchr(b'[', text)?;
    let mut origin = text.get(..bracket)?.split(|byte| *byte == b' ');
    let (host, dash, user) = (origin.next()?, origin.next()?, origin.next()?);
    if dash != b"-" || !origin.next()?.is_empty() || origin.next().is_some() {
        return None;
    }
    let started = time(text.get(bracket + 1..bracket + 27)?)?;
    let rest = text.get(bracket + 27..)?.strip_prefix(b"] \"")?;
    let quote = memchr::memrchr(b'"', rest)?;
    let request = rest.get(..quote)?;
    let answer = rest.get(quote + 1..)?.strip_prefix(b" ")?;
    let (status, bytes) = (answer.get(..3)?, answer.get(3..)?.strip_prefix(b" ")?);
    let method_end = memchr::memchr(b' ', request)?;
    let uri_end = memchr::memrchr(b' ', request).filter(|end| *end > method_end)?;
    let method = request.get(..method_end)?;
    if host.is_empty() || user.is_empty() || !method.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    let utf8 = |part| std::str::from_utf8(part).ok();
    let request = utf8(request)?;
    Some(CommonLog {
        host: utf8(host)?,
        user: utf8(user)?,
        started,
        request,
        method: request.get(..method_end)?,
        uri: request.get(method_end + 1..uri_end)?,
        version: request.get(uri_end + 1..)?.strip_prefix("HTTP/")?,
        status: u16::try_from(decimal(status)?).ok()?,
        bytes: decimal(bytes)?,
    })
}

/// `23/Nov/2022:10:15:29 +0000`
fn time(text: &[u8]) -> Option<UnixNanos> {
    let fixed = [
        (2, b'/'),
        (6, b'/'),
        (11, b':'),
        (14, b':'),
        (17, b':'),
        (20, b' '),
    ];
    if text.len() != 26 || fixed.iter().any(|(at, byte)| text.get(*at) != Some(byte)) {
        return None;
    }
    let number = |from: usize, to: usize| decimal(text.get(from..to)?);
    let month = MONTHS
        .iter()
        .position(|name| Some(&name[..]) == text.get(3..6))? as u64
        + 1;
    let year = i64::try_from(number(7, 11)?).ok()?;
    let local = UnixNanos::from_civil(
        year,
        month,
        number(0, 2)?,
        number(12, 14)?,
        number(15, 17)?,
        number(18, 20)?,
    )?;
    let zone = (number(22, 24)? * 3600 + number(24, 26)? * 60) * 1_000_000_000;
    match text.get(21)? {
        b'+' => Some(local.minus(zone)),
        b'-' => Some(local.plus(zone)),
        _ => None,
    }
}

const MONTHS: [[u8; 3]; 12] = [
    *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct",
    *b"Nov", *b"Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_part() {
        let line = br#"10.1.2.3 - - [23/Nov/2026:05:09:37 +0100] "GET /v2/projects?a=\"x\" HTTP/1.1" 404 18"#;
        let access = parse(line).unwrap();
        assert_eq!((access.host, access.user), ("10.1.2.3", "-"));
        assert_eq!(access.started, UnixNanos(1_795_406_977_000_000_000));
        assert_eq!((access.method, access.version), ("GET", "1.1"));
        assert_eq!(access.uri, r#"/v2/projects?a=\"x\""#);
        assert_eq!((access.status, access.bytes), (404, 18));
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "a - - [23/Nov/2026:05:09:37 +0100] \"GET / HTTP/1.1\" 404",
            "a - - [23/Nov/2026:05:09:37] \"GET / HTTP/1.1\" 404 1",
            "a - - [23/Nvo/2026:05:09:37 +0100] \"GET / HTTP/1.1\" 404 1",
            "a b - - [23/Nov/2026:05:09:37 +0100] \"GET / HTTP/1.1\" 404 1",
            "a - - [23/Nov/2026:05:09:37 +0100] \"get / HTTP/1.1\" 404 1",
            "a - - [23/Nov/2026:05:09:37 +0100] \"GET / HTTP/1.1\" 4040 1",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
