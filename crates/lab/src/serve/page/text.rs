//! How times, durations and numbers are written for people.

use std::fmt::Write as _;

use model::time::UnixNanos;

/// Bytes of a message that a list shows before it is folded.
pub(super) const MESSAGE_BYTES_MAX: usize = 4000;

/// `2026-11-23`
pub(super) fn day(time: u64) -> String {
    let text = UnixNanos(time).to_string();
    text.get(..10).unwrap_or_default().to_owned()
}

/// `04:09:37.672`
pub(super) fn clock(time: u64) -> String {
    let text = UnixNanos(time).to_string();
    text.get(11..23).unwrap_or_default().to_owned()
}

/// `850 µs`, `12 ms`, `1.25 s`, `3 min 5 s`
pub(super) fn duration(nanos: u64) -> String {
    let micros = nanos / 1000;
    match micros {
        0 => format!("{nanos} ns"),
        1..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 => {
            format!(
                "{}.{:02} s",
                micros / 1_000_000,
                micros % 1_000_000 / 10_000
            )
        }
        _ => format!(
            "{} min {} s",
            micros / 60_000_000,
            micros % 60_000_000 / 1_000_000
        ),
    }
}

/// `+12.345 s` from the start of a request.
pub(super) fn offset(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    format!("+{}.{:03} s", millis / 1000, millis % 1000)
}

/// `nanos` in percent of `whole`, with one decimal.
pub(super) fn share(nanos: u64, whole: u64) -> String {
    let tenths = u128::from(nanos) * 1000 / u128::from(whole.max(1));
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The class of a status: whose fault it was.
pub(super) fn status_class(status: u64, failed: bool) -> &'static str {
    match status {
        _ if failed => "status failed",
        500.. => "status failed",
        400..500 => "status refused",
        _ => "status",
    }
}

/// `12,345`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `text` up to a length, and whether something was cut off.
pub(super) fn shorten(text: &str, max: usize) -> (&str, bool) {
    if text.len() <= max {
        return (text, false);
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (text.get(..end).unwrap_or_default(), true)
}

/// `value` as a part of an address.
pub(super) fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else if write!(out, "%{byte:02X}").is_err() {
            return out;
        }
    }
    out
}

/// One of eight colours, the same for the same name everywhere.
pub(super) fn colour(name: &str) -> u32 {
    // EMCO's services stand apart from each other; anybody else's fall where they fall.
    const KNOWN: [&str; 8] = [
        "orchestrator",
        "rsync",
        "clm",
        "dcm",
        "ncm",
        "gac",
        "dtc",
        "ovnaction",
    ];
    // `orchestrator.emco` is the orchestrator, as proxies call it.
    let short = name.split('.').next().unwrap_or(name);
    let known = KNOWN.iter().position(|known| *known == short);
    let sum = || {
        name.bytes().fold(7_usize, |sum, byte| {
            sum.wrapping_mul(31) + usize::from(byte)
        })
    };
    u32::try_from(known.unwrap_or_else(|| sum() % KNOWN.len())).unwrap_or(0)
}

/// The class of a level; only words of our own become part of one.
pub(super) fn level_class(level: &str) -> &'static str {
    model::line::Severity::parse(level.as_bytes()).map_or("other", model::line::Severity::name)
}

/// What proved a person, in words.
pub(super) fn proof(source: &str) -> &'static str {
    match source {
        "proxy_claim" => "a token that the service’s own proxy verified",
        "proven_header" => "a header that request authentication at the proxy proves",
        "gateway" => "the ingress gateway, which verified the caller’s token",
        "mutual_tls" => "the gateway’s header under strict mutual TLS",
        _ => "an unnamed source",
    }
}

/// Why a line was given to its request, in words.
pub(super) fn rule(rule: &str) -> &'static str {
    match rule {
        "own_id" => "carries the request’s id itself",
        "time" => "only request open at that time",
        "blocked" => "all others were waiting then",
        "code_position" => "no other can reach this code",
        "never_started" => "no other had started this work",
        "names" => "its names belong to no other",
        "token" => "a value of this operation only",
        "app_context" => "only one on its AppContext then",
        "access_line" => "the access line of this request",
        "background_site" => "printed by background work only",
        "gap" => "the evidence had a gap",
        "timeout" => "the wait for evidence ran out",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_counts_are_readable() {
        for (nanos, expected) in [
            (12, "12 ns"),
            (850_000, "850 µs"),
            (1_250_000, "1.2 ms"),
            (12_000_000, "12 ms"),
            (1_250_000_000, "1.25 s"),
            (185_000_000_000, "3 min 5 s"),
        ] {
            assert_eq!(duration(nanos), expected);
        }
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shorten("aéb", 2), ("a", true));
        assert_eq!(shorten("aéb", 4), ("aéb", false));
    }
}
