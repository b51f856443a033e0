//! Apache Common Log Format, as gorilla's access log writes it to stdout.
//!
//! `<host> - <user> [<dd/Mon/yyyy:HH:MM:SS ±zzzz>] "<METHOD> <URI> <PROTO>" <status> <bytes>`

use model::time::UnixNanos;

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
    let text = std::str::from_utf8(text).ok()?.trim_end();
    let (host, rest) = text.split_once(" - ")?;
    let (user, rest) = rest.split_once(" [")?;
    let (started, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.rsplit_once("\" ")?;
    let (status, bytes) = rest.split_once(' ')?;
    let (method, rest) = request.split_once(' ')?;
    let (uri, protocol) = rest.rsplit_once(' ')?;
    let blank = |part: &str| part.is_empty() || part.contains(' ');
    if blank(host) || blank(user) || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some(CommonLog {
        host,
        user,
        started: time(started.as_bytes())?,
        request,
        method,
        uri,
        version: protocol.strip_prefix("HTTP/")?,
        status: status.parse().ok().filter(|_| status.len() == 3)?,
        bytes: bytes.parse().ok()?,
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
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.iter().try_fold(0_u64, |value, byte| {
            byte.is_ascii_digit()
                .then(|| value * 10 + u64::from(byte - b'0'))
        })
    };
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
