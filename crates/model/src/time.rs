//! Times as nanoseconds since the Unix epoch, and the day they belong to.

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00Z; 0 means "unknown".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// A civil day in UTC: the home of a document (one index a day).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

const NANOS_PER_DAY: u64 = 86_400_000_000_000;

impl UnixNanos {
    /// From microseconds, as spans carry them; saturates.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1000))
    }

    /// From milliseconds, as access records carry them; saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Whole microseconds.
    pub const fn micros(self) -> u64 {
        self.0 / 1000
    }

    /// This time plus `nanos`; saturates.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This time minus `nanos`; saturates at the epoch.
    #[must_use]
    pub const fn minus(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    /// Nanoseconds from `earlier` to this; 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC day this time lies in.
    // u64 nanoseconds end in the year 2554, day 213503: the cast loses nothing.
    pub const fn day(self) -> Day {
        Day((self.0 / NANOS_PER_DAY) as u32)
    }

    /// Reads an RFC 3339 time with 0 to 9 fractional digits and a zone (`Z`, `±hh:mm` or `±hhmm`).
    /// `None` for anything else, for times before 1970 and for impossible dates.
    pub fn parse_rfc3339(text: &[u8]) -> Option<Self> {
        let [
            y1,
            y2,
            y3,
            y4,
            b'-',
            month @ ..,
            b'T',
            h1,
            h2,
            b':',
            m1,
            m2,
            b':',
            s1,
            s2,
        ] = text.first_chunk::<19>()?
        else {
            return None;
        };
        let [o1, o2, b'-', d1, d2] = month else {
            return None;
        };
        let two = |tens: &u8, ones: &u8| digits(&[*tens, *ones]);
        let seconds = civil_seconds(
            i64::try_from(digits(&[*y1, *y2, *y3, *y4])?).ok()?,
            two(o1, o2)?,
            two(d1, d2)?,
            two(h1, h2)?,
            two(m1, m2)?,
            two(s1, s2)?,
        )?;
        let mut rest = text.get(19..)?;
        let mut nanos = 0;
        if let Some(fraction) = rest.strip_prefix(b".") {
            (nanos, rest) = fraction_nanos(fraction)?;
        }
        let offset = zone_seconds(rest)?;
        let seconds = u64::try_from(seconds - offset).ok()?;
        Some(Self(
            seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?,
        ))
    }

    /// Seconds since the epoch of a civil UTC time; `None` for impossible dates and before 1970.
    pub fn from_civil(
        year: i64,
        month: u64,
        day: u64,
        hour: u64,
        minute: u64,
        second: u64,
    ) -> Option<Self> {
        let seconds = u64::try_from(civil_seconds(year, month, day, hour, minute, second)?).ok()?;
        Some(Self(seconds.checked_mul(1_000_000_000)?))
    }

    /// Appends `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`, always 30 bytes.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rfc3339());
    }

    /// `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`.
    pub fn rfc3339(self) -> [u8; 30] {
        let (year, month, day) = self.day().civil();
        let of_day = self.0 % NANOS_PER_DAY;
        // Both fit: a day has 86 400 seconds, a second 10^9 nanoseconds.
        let seconds = u32::try_from(of_day / 1_000_000_000).unwrap_or(0);
        let nanos = u32::try_from(of_day % 1_000_000_000).unwrap_or(0);
        let [y1, y2] = [pair(year / 100), pair(year % 100)];
        let [month, day] = [pair(month), pair(day)];
        let [hour, minute] = [pair(seconds / 3600), pair(seconds / 60 % 60)];
        let second = pair(seconds % 60);
        let [n1, n2] = [pair(nanos / 10_000_000), pair(nanos / 100_000 % 100)];
        let [n3, n4] = [pair(nanos / 1000 % 100), pair(nanos / 10 % 100)];
        let [_, n5] = pair(nanos % 10);
        [
            y1[0], y1[1], y2[0], y2[1], b'-', month[0], month[1], b'-', day[0], day[1], b'T',
            hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1], b'.', n1[0],
            n1[1], n2[0], n2[1], n3[0], n3[1], n4[0], n4[1], n5, b'Z',
        ]
    }
}

impl Day {
    /// Year, month and day of the month (proleptic Gregorian).
    pub const fn civil(self) -> (u32, u32, u32) {
        // Howard Hinnant's days-from-civil, inverted; eras of 400 years starting in March.
        let days = self.0 + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        (year, month, day)
    }
}

fn civil_seconds(
    year: i64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if day == 0 || day > longest || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = i64::try_from(if month > 2 { month - 3 } else { month + 9 }).ok()?;
    let of_year = (153 * shifted + 2) / 5 + i64::try_from(day).ok()? - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = era * 146_097 + of_era - 719_468;
    Some(days * 86_400 + i64::try_from(hour * 3600 + minute * 60 + second).ok()?)
}

fn zone_seconds(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first()? {
        (b'Z', []) => return Some(0),
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let hours = digits(rest.get(..2)?)?;
    let rest = rest.get(2..)?;
    let minutes = rest.strip_prefix(b":").unwrap_or(rest);
    if minutes.len() != 2 {
        return None;
    }
    let minutes = digits(minutes)?;
    (hours < 24 && minutes < 60)
        .then(|| {
            i64::try_from(hours * 3600 + minutes * 60)
                .ok()
                .map(|s| sign * s)
        })
        .flatten()
}

/// One to nine digits as nanoseconds of a second, and what follows them.
fn fraction_nanos(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut nanos, mut length) = (0, 0);
    while let Some(digit) = text.get(length).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
    {
        nanos = nanos * 10 + u64::from(digit);
        length += 1;
        if length > 9 {
            return None;
        }
    }
    let scale = POWERS_OF_TEN.get(9 - length)?;
    (length > 0).then(|| (nanos * scale, text.get(length..).unwrap_or_default()))
}

const POWERS_OF_TEN: [u64; 9] = [
    1,
    10,
    100,
    1000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

#[inline]
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// Two decimal digits of a number below 100.
fn pair(value: u32) -> [u8; 2] {
    let [value, ..] = value.to_le_bytes();
    [b'0' + value / 10 % 10, b'0' + value % 10]
}

impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(30);
        self.write_rfc3339(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// `YYYY.MM.DD`, the form daily indices are named with.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}.{month:02}.{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_loggers_and_kubelets_write() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T04:09:37.672424268Z", 1_795_406_977_672_424_268),
            ("2026-11-23T05:09:37.67+01:00", 1_795_406_977_670_000_000),
            ("2026-11-22T23:09:37.672-0500", 1_795_406_977_672_000_000),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000_000_000),
        ] {
            assert_eq!(
                UnixNanos::parse_rfc3339(text.as_bytes()),
                Some(UnixNanos(expected)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-23",
            "2026-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-11-23T04:09:37",
            "2026-11-23T04:09:37.Z",
            "2026-11-23T04:09:37.1234567890Z",
            "1969-12-31T23:59:59Z",
            "2026-11-23 04:09:37Z",
        ] {
            assert_eq!(UnixNanos::parse_rfc3339(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn writing_and_reading_agree_on_every_day_of_four_centuries() {
        for day in (0_u32..150_000).step_by(13) {
            let time = UnixNanos(u64::from(day) * NANOS_PER_DAY + 45_296_123_456_789);
            let text = time.to_string();
            assert_eq!(
                UnixNanos::parse_rfc3339(text.as_bytes()),
                Some(time),
                "{text}"
            );
        }
    }

    #[test]
    fn a_day_is_named_as_indices_are() {
        assert_eq!(
            UnixNanos(1_795_406_977_672_424_268).day().to_string(),
            "2026.11.23"
        );
    }
}
