//! The dialects that are plain text: Go's `log`, klog, the Go runtime's dumps, and what is none.

use model::line::{Dialect, Severity};
use model::record::{Range, Value};
use model::time::UnixNanos;

use crate::fields::Fields;
use crate::json::range;
use crate::multiline::{Group, is_klog};

/// Bytes of `yyyy/mm/dd HH:MM:SS `.
const DATE_BYTES: usize = 20;
/// klog's time is believed if it is this close to the runtime's.
const CLOCK_NANOS_MAX: u64 = 600 * 1_000_000_000;

/// Messages that have no level of their own and whose wording would mislead.
const SEVERITIES: &[(&str, Severity)] = &[
    ("Error loading config file:", Severity::Warn),
    ("Error getting cwd.", Severity::Warn),
    ("Bad data in config. Exiting.", Severity::Fatal),
    ("GrpcConnReadyTime must be positive", Severity::Warn),
    ("Pemfile has extra data", Severity::Warn),
    ("Job is failed:", Severity::Error),
    ("http: superfluous response.WriteHeader", Severity::Warn),
    ("http: TLS handshake error", Severity::Warn),
    ("failed to send spans to zipkin", Severity::Warn),
    ("request to http", Severity::Warn),
    ("GRPC Server received ", Severity::Info),
];

/// Whether the text begins with `yyyy/mm/dd HH:MM:SS `.
pub(crate) fn is_go_log(text: &[u8]) -> bool {
    let Some(date) = text.get(..DATE_BYTES) else {
        return false;
    };
    date.iter()
        .zip(b"dddd/dd/dd dd:dd:dd ")
        .all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == shape,
        })
}

/// Whether the text is what the Go runtime prints when something ends badly.
pub(crate) fn is_dump(text: &[u8]) -> bool {
    !is_klog(text) && Group::start(first_line(text)).is_some()
}

/// Go's standard `log`.
pub(crate) fn go_log(fields: &mut Fields<'_>, body: Range) {
    let message = trimmed(
        fields.text,
        body.start as usize + DATE_BYTES,
        body.end as usize,
    );
    fields.record.dialect = Dialect::GoLog;
    fields.record.severity = severity(message.of(fields.text));
    fields.plain("message", message);
}

/// A panic, fatal error or goroutine dump.
pub(crate) fn dump(fields: &mut Fields<'_>, body: Range) {
    let text = body.of(fields.text);
    let first = first_line(text);
    let skip = if is_go_log(first) { DATE_BYTES } else { 0 };
    fields.record.dialect = Dialect::GoPanic;
    fields.record.severity = match first.first() {
        Some(b'0'..=b'9' | b'g' | b'\t') => Severity::Error,
        _ => Severity::Fatal,
    };
    let start = body.start as usize;
    let message = trimmed(fields.text, start + skip, start + first.len());
    fields.plain("message", message);
    if first.len() < text.len() {
        fields.plain("error.stack_trace", body);
    }
}

/// `Lmmdd hh:mm:ss.uuuuuu pid file:line] text`; false if the header is not whole.
pub(crate) fn klog(fields: &mut Fields<'_>, body: Range, zone_offset_seconds: i32) -> bool {
    let text = body.of(fields.text);
    let Some(bracket) = memchr::memmem::find(text.get(..256).unwrap_or(text), b"] ") else {
        return false;
    };
    let mut words = text
        .get(21..bracket)
        .unwrap_or_default()
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let (Some(process), Some(site)) = (words.next().and_then(decimal), words.next()) else {
        return false;
    };
    let start = body.start as usize;
    fields.record.dialect = Dialect::Klog;
    fields.record.severity = match text.first() {
        Some(b'W') => Severity::Warn,
        Some(b'E') => Severity::Error,
        Some(b'F') => Severity::Fatal,
        _ => Severity::Info,
    };
    if let Some(time) = klog_time(text, fields.record.time, zone_offset_seconds) {
        fields.record.time = time;
    }
    let first = first_line(text);
    let message = trimmed(fields.text, start + bracket + 2, start + first.len());
    fields.plain("message", message);
    if let Some(colon) = memchr::memrchr(b':', site)
        && let Some(line) = site.get(colon + 1..).and_then(decimal)
    {
        let end = bracket - (site.len() - colon);
        fields.plain(
            "log.origin.file.name",
            range(start + end - colon, start + end),
        );
        fields.schema("log.origin.file.line", Value::Unsigned(line));
    }
    fields.schema("process.thread.id", Value::Unsigned(process));
    if first.len() < text.len() {
        fields.plain("error.stack_trace", body);
    }
    true
}

/// Text that no dialect claims; shipped as it is.
pub(crate) fn unknown(fields: &mut Fields<'_>, body: Range) {
    fields.record.dialect = Dialect::Unknown;
    fields.record.severity = severity(body.of(fields.text));
    fields.plain("message", body);
}

/// How grave a text without a level is, by its wording.
pub(crate) fn severity(message: &[u8]) -> Severity {
    let message = message.get(..256).unwrap_or(message);
    if let Some((_, known)) = SEVERITIES
        .iter()
        .find(|(start, _)| message.starts_with(start.as_bytes()))
    {
        return *known;
    }
    let first = message
        .iter()
        .position(|byte| !byte.is_ascii_alphabetic())
        .unwrap_or(message.len());
    let word = message.get(..first).unwrap_or_default();
    if let Some(level) = Severity::parse(word) {
        return level;
    }
    let has = |text: &[u8]| memchr::memmem::find(message, text).is_some();
    if has(b" failed:") || word.eq_ignore_ascii_case(b"failed") || has(b": panic ") {
        return Severity::Error;
    }
    Severity::Info
}

/// The time in klog's header, whose year and zone are not printed: those of `near`.
fn klog_time(text: &[u8], near: UnixNanos, zone_offset_seconds: i32) -> Option<UnixNanos> {
    let number = |from: usize, to: usize| text.get(from..to).and_then(decimal);
    let year = i64::from(near.day().civil().0);
    let micros = number(15, 21)?;
    let zone = u64::from(zone_offset_seconds.unsigned_abs()) * 1_000_000_000;
    // A line of New Year's Eve may be read in January, or in the other zone's January.
    (year - 1..=year + 1)
        .filter_map(|year| {
            UnixNanos::from_civil(
                year,
                number(1, 3)?,
                number(3, 5)?,
                number(6, 8)?,
                number(9, 11)?,
                number(12, 14)?,
            )
        })
        .map(|local| local.plus(micros * 1000))
        .map(|local| match zone_offset_seconds {
            0.. => local.minus(zone),
            _ => local.plus(zone),
        })
        .find(|time| time.0.abs_diff(near.0) <= CLOCK_NANOS_MAX)
}

/// Text up to the first newline.
pub(crate) fn first_line(text: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', text)
        .and_then(|end| text.get(..end))
        .unwrap_or(text)
}

/// The range without blanks at its end.
fn trimmed(text: &[u8], start: usize, end: usize) -> Range {
    let inside = text.get(start..end).unwrap_or_default();
    range(start, start + inside.trim_ascii_end().len())
}

pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_tells_severity() {
        for (text, expected) in [
            (
                "Instantiation failed: Error finding the context id",
                Severity::Error,
            ),
            ("Rollback for compApp failed: x", Severity::Error),
            (
                "Failed to obtain reader, failed to marshal fields to JSON",
                Severity::Error,
            ),
            ("ERROR: [core] x", Severity::Error),
            ("warning: skipped value for x: Not a table.", Severity::Warn),
            (
                "Error loading config file:  open config.json",
                Severity::Warn,
            ),
            (
                "Deployment is not ready: default/x. 0 out of 1 expected pods are ready",
                Severity::Info,
            ),
            (
                "GRPC Server received installAppRequest:  {\"failed:\":1}",
                Severity::Info,
            ),
            ("Added Cluster: cluster1", Severity::Info),
        ] {
            assert_eq!(severity(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn klog_takes_year_and_zone_from_its_surroundings() {
        let near = UnixNanos::parse_rfc3339(b"2027-01-01T00:00:01Z").unwrap();
        let line = b"I1231 23:59:59.500000       1 request.go:665] Waited";
        let time = klog_time(line, near, 0).unwrap();
        assert_eq!(time.to_string(), "2026-12-31T23:59:59.500000000Z");
        let line = b"I0101 01:00:00.000001       1 request.go:665] Waited";
        let time = klog_time(line, near, 3600).unwrap();
        assert_eq!(time.to_string(), "2027-01-01T00:00:00.000001000Z");
        assert_eq!(klog_time(line, near, 0), None);
    }
}
