//! The query part of an address, and what it asks for.

use model::time::UnixNanos;

use crate::serve::facts::Attribution;
use crate::serve::store::Query;

/// Decoded `key=value` pairs, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=b&c=d`; damaged escapes stay as they are, bytes that are no UTF-8 are replaced.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The value of `key`, without white space around it; empty if it is not there.
    pub(crate) fn get(&self, key: &str) -> &str {
        let pair = self.0.iter().find(|(name, _)| name == key);
        pair.map_or("", |(_, value)| value.trim())
    }

    /// The number that `key` has; `None` if it is not there.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        let value = self.get(key);
        if value.is_empty() {
            return Ok(None);
        }
        let number = value.parse().map(Some);
        number.map_err(|_| format!("parameter {key}: {value:?} is no fitting number"))
    }
}

/// What a search asks for, read at the time `now`.
pub(crate) fn query_from(params: &Params, now: UnixNanos) -> Result<Query, String> {
    let attribution = match params.get("attribution") {
        "" => None,
        name => Some(Attribution::parse(name).ok_or_else(|| {
            format!(
                "parameter attribution: {name:?} is none of person, unproven, ambiguous, \
                 background, none"
            )
        })?),
    };
    Ok(Query {
        text: params.get("q").to_owned(),
        user: params.get("user").to_owned(),
        service: params.get("service").to_owned(),
        level: params.get("level").to_owned(),
        attribution,
        trace: params.get("trace").to_owned(),
        from: moment("from", params.get("from"), now)?,
        to: moment("to", params.get("to"), now)?,
    })
}

/// A moment as RFC 3339, as `YYYY-MM-DDThh:mm[:ss]` in UTC, as nanoseconds since the epoch, or as a
/// distance back from now like `15m`.
fn moment(key: &str, text: &str, now: UnixNanos) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(distance) = distance(text) {
        return Ok(Some(now.minus(distance).0));
    }
    if let Ok(nanos) = text.parse::<u64>() {
        return Ok(Some(nanos));
    }
    let full = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    UnixNanos::parse_rfc3339(full.as_bytes())
        .map(|time| Some(time.0))
        .ok_or_else(|| {
            format!("parameter {key}: {text:?} is no time; try 2026-11-23T04:09:37Z or 15m")
        })
}

fn distance(text: &str) -> Option<u64> {
    let (seconds, digits) = [(1, "s"), (60, "m"), (3600, "h"), (86_400, "d")]
        .iter()
        .find_map(|(seconds, unit)| Some((seconds, text.strip_suffix(unit)?)))?;
    let count: u64 = digits.trim_start_matches('-').parse().ok()?;
    count.checked_mul(seconds * 1_000_000_000)
}

/// Undoes percent encoding; `+` is a space only in the query part.
pub(super) fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' if plus_is_space => bytes.push(b' '),
            b'%' => match after.split_first_chunk::<2>().and_then(escaped) {
                Some((byte, after)) => {
                    bytes.push(byte);
                    rest = after;
                }
                None => bytes.push(b'%'),
            },
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped<'a>((digits, after): (&[u8; 2], &'a [u8])) -> Option<(u8, &'a [u8])> {
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u8::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_damaged_ones_stay() {
        let params = Params::parse("q=a+b%20%22c%22&x=%zz%4&empty=&flag&u=%C3%A9&u=second");
        assert_eq!(params.get("q"), "a b \"c\"");
        assert_eq!(params.get("x"), "%zz%4");
        assert_eq!(params.get("u"), "é");
        assert_eq!(params.get("empty"), "");
        assert_eq!(params.get("missing"), "");
        assert_eq!(params.number::<u32>("missing"), Ok(None));
        assert!(params.number::<u32>("q").is_err());
    }

    #[test]
    fn moments_are_understood_in_every_form_or_refused() {
        let now = UnixNanos(1_795_406_977_000_000_000);
        let nanos = Ok(Some(1_795_406_940_000_000_000));
        for text in [
            "2026-11-23T04:09:00Z",
            "2026-11-23T04:09",
            "2026-11-23T04:09:00",
            "1795406940000000000",
            "37s",
        ] {
            assert_eq!(moment("from", text, now), nanos, "{text}");
        }
        for text in ["yesterday", "2026-11-23", "m", "99999999999999999999d"] {
            assert!(moment("from", text, now).is_err(), "{text}");
        }
    }
}
