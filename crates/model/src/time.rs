//! Times as nanoseconds since the Unix epoch, and the day they belong to.

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00Z; 0 means "unknown".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// A civil day in UTC: the home of a document (one index a day).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

const NANOS_PER_DAY: u64 = 86_400_000_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

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
        TimeReader::default().read(text)
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
        let small = |part: u64| u32::try_from(part).ok();
        let seconds = civil_seconds(
            u32::try_from(year).ok()?,
            small(month)?,
            small(day)?,
            small(hour)?,
            small(minute)?,
            small(second)?,
        )?;
        Some(Self(seconds.checked_mul(1_000_000_000)?))
    }

    /// Appends `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`, always 30 bytes.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rfc3339());
    }

    /// `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`.
    pub fn rfc3339(self) -> [u8; 30] {
        let (year, month, day) = self.day().civil();
        // It fits: a day has 86 400 seconds.
        let seconds = u32::try_from(self.0 % NANOS_PER_DAY / NANOS_PER_SECOND).unwrap_or(0);
        let [y1, y2] = [pair(year / 100), pair(year % 100)];
        let [month, day] = [pair(month), pair(day)];
        let [hour, minute] = [pair(seconds / 3600), pair(seconds / 60 % 60)];
        let second = pair(seconds % 60);
        let [n0, n1, n2, n3, n4, n5, n6, n7, n8, zone] = fraction_text(self.0 % NANOS_PER_SECOND);
        [
            y1[0], y1[1], y2[0], y2[1], b'-', month[0], month[1], b'-', day[0], day[1], b'T',
            hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1], b'.', n0, n1,
            n2, n3, n4, n5, n6, n7, n8, zone,
        ]
    }
}

/// Reads times that are written nearly in order: the seconds of the one before are not read again.
#[derive(Clone, Debug, Default)]
pub struct TimeReader {
    /// What was written up to the seconds, and how many since the epoch that is without a zone.
    last: Option<([u8; SECONDS_BYTES], u64)>,
}

/// Writes times that come nearly in order: the seconds of the one before are not written again.
#[derive(Clone, Debug, Default)]
pub struct TimeWriter {
    /// The second that `text` begins with, if anything was written.
    last: Option<u64>,
    text: [u8; 30],
}

impl TimeWriter {
    /// As [`UnixNanos::rfc3339`].
    pub fn write(&mut self, time: UnixNanos) -> &[u8; 30] {
        let second = time.0 / NANOS_PER_SECOND;
        if self.last != Some(second) {
            self.text = time.rfc3339();
            self.last = Some(second);
        } else if let Some(place) = self.text.last_chunk_mut::<10>() {
            *place = fraction_text(time.0 % NANOS_PER_SECOND);
        }
        &self.text
    }
}

/// Length of `YYYY-MM-DDTHH:MM:SS`.
const SECONDS_BYTES: usize = 19;

impl TimeReader {
    /// As [`UnixNanos::parse_rfc3339`].
    pub fn read(&mut self, text: &[u8]) -> Option<UnixNanos> {
        let (front, rest) = text.split_first_chunk()?;
        let seconds = match &self.last {
            Some((last, seconds)) if last == front => *seconds,
            _ => self.last.insert((*front, written_seconds(front)?)).1,
        };
        behind_seconds(seconds, rest)
    }
}

/// `YYYY-MM-DDTHH:MM:SS` as seconds since the epoch, as if it was UTC.
fn written_seconds(text: &[u8; SECONDS_BYTES]) -> Option<u64> {
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
    ] = text
    else {
        return None;
    };
    let [o1, o2, b'-', d1, d2] = month else {
        return None;
    };
    civil_seconds(
        two(*y1, *y2)? * 100 + two(*y3, *y4)?,
        two(*o1, *o2)?,
        two(*d1, *d2)?,
        two(*h1, *h2)?,
        two(*m1, *m2)?,
        two(*s1, *s2)?,
    )
}

/// The time whose fraction and zone are `rest`.
fn behind_seconds(seconds: u64, mut rest: &[u8]) -> Option<UnixNanos> {
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        (nanos, rest) = fraction_nanos(fraction)?;
    }
    let seconds = match rest {
        b"Z" => seconds,
        _ => seconds.checked_add_signed(-zone_seconds(rest)?)?,
    };
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    Some(UnixNanos(nanos))
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

/// Days of the year before each month, the year beginning in March.
const DAYS_BEFORE: [u32; 12] = [306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275];
const DAYS_OF: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn civil_seconds(
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
) -> Option<u64> {
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let (longest, before) = (*DAYS_OF.get(index)?, *DAYS_BEFORE.get(index)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let is_date = day > 0 && day <= longest && (month != 2 || day < 29 || leap);
    if !is_date || hour > 23 || minute > 59 || second > 60 || !(1970..10_000).contains(&year) {
        return None;
    }
    // Howard Hinnant's days-from-civil
    let year = year - u32::from(month <= 2);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + before + day - 1 - 719_468;
    Some(u64::from(days) * 86_400 + u64::from(hour * 3600 + minute * 60 + second))
}

fn zone_seconds(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first()? {
        (b'Z', []) => return Some(0),
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let ([h1, h2, b':', m1, m2] | [h1, h2, m1, m2]) = rest else {
        return None;
    };
    let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

/// One to nine digits as nanoseconds of a second, and what follows them.
fn fraction_nanos(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut nanos, mut length) = (0, 0);
    if let Some(first) = text.first_chunk().copied().and_then(eight_digits) {
        (nanos, length) = (first, 8);
    }
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

/// The number that eight decimal digits write; `None` if one of them is none. Neighbours are joined to
/// pairs, those to fours, those to the whole.
#[inline]
pub fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    const SIXES: u64 = u64::from_ne_bytes([6; 8]);
    let digits = u64::from_le_bytes(text) ^ ZEROS;
    // beyond 9 a byte has one of its high bits, or gets one by 6 more
    if (digits | digits.wrapping_add(SIXES)) & u64::from_ne_bytes([0xf0; 8]) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
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

/// The number that two digits write.
#[inline]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Nanoseconds of a second as nine digits, and the zone.
#[inline]
fn fraction_text(nanos: u64) -> [u8; 10] {
    // It fits: a second has 10^9 nanoseconds.
    let nanos = u32::try_from(nanos).unwrap_or(0);
    let [n1, n2] = [pair(nanos / 10_000_000), pair(nanos / 100_000 % 100)];
    let [n3, n4] = [pair(nanos / 1000 % 100), pair(nanos / 10 % 100)];
    let [_, n5] = pair(nanos % 10);
    [
        n1[0], n1[1], n2[0], n2[1], n3[0], n3[1], n4[0], n4[1], n5, b'Z',
    ]
}

/// Two decimal digits of a number below 100.
#[inline]
fn pair(value: u32) -> [u8; 2] {
    let [value, ..] = value.to_le_bytes();
    PAIRS.get(usize::from(value)).copied().unwrap_or([b'0'; 2])
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut rest, mut value) = (pairs.as_mut_slice(), 0);
    while let [first, behind @ ..] = rest {
        *first = [b'0' + value / 10, b'0' + value % 10];
        (rest, value) = (behind, value + 1);
    }
    pairs
};

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
    fn a_writer_forgets_the_second_before() {
        let mut writer = TimeWriter::default();
        for nanos in [
            0,
            1,
            999_999_999,
            1_000_000_000,
            999_999_999,
            1_795_406_977_672_424_268,
            1_795_406_977_000_000_000,
        ] {
            let time = UnixNanos(nanos);
            assert_eq!(writer.write(time), &time.rfc3339(), "{time}");
        }
    }

    #[test]
    fn a_reader_forgets_the_second_before() {
        let mut reader = TimeReader::default();
        for text in [
            "2026-11-23T04:09:37.672424268Z",
            "2026-11-23T04:09:37.7Z",
            "2026-11-23T04:09:37.7+01:00",
            "2026-11-23T04:09:38Z",
            "2026-11-23T04:09:99Z",
            "2026-11-23T04:09:38.Z",
            "2026-11-23T04:09:38.5Z",
            "",
        ] {
            let alone = UnixNanos::parse_rfc3339(text.as_bytes());
            assert_eq!(reader.read(text.as_bytes()), alone, "{text}");
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
    fn eight_digits_are_digits_only() {
        for number in (0..100_000_000_u64).step_by(9_973).chain([99_999_999]) {
            let text: [u8; 8] = format!("{number:08}").into_bytes().try_into().unwrap();
            assert_eq!(eight_digits(text), Some(number));
            for (place, byte) in
                (0..8).flat_map(|place| [0, 9, b'/', b':', 0xff].map(|byte| (place, byte)))
            {
                let mut text = text;
                text[place] = byte;
                assert_eq!(eight_digits(text), None, "{text:?}");
            }
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
