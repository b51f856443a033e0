//! Moves every time stamp of a recording by one difference of whole seconds.
//!
//! | where | stamp | what changes |
//! |---|---|---|
//! | CRI prefix, logrus `time`, zap `ts`, Envoy `start_time` | RFC 3339 | date and time to the second |
//! | zap `ts` as a number | seconds since the epoch | the integer part |
//! | Common Log Format | `[dd/Mon/yyyy:hh:mm:ss +0000]` | all but the zone |
//! | Go `log` | `yyyy/mm/dd hh:mm:ss` at the line's beginning | all |
//! | klog | `Lmmdd hh:mm:ss.uuuuuu` at the line's beginning | all but the fraction |
//! | Zipkin | `"timestamp":` µs since the epoch, of spans and annotations | the number |
//!
//! No other byte changes and no length: fractions and zones stay as they were written, so moving by
//! the opposite difference gives the recording back.

use model::time::UnixNanos;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// Members of JSON objects whose value is a time.
const STAMP_KEYS: [&[u8]; 3] = [b"\"time\":", b"\"ts\":", b"\"start_time\":"];
const NANOS: u64 = 1_000_000_000;

/// A difference of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    seconds: i64,
}

/// A civil time to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    date: [u64; 3],
    time: [u64; 3],
}

impl Shift {
    pub(super) const fn new(seconds: i64) -> Self {
        Self { seconds }
    }

    pub(super) const fn seconds(self) -> i64 {
        self.seconds
    }

    pub(super) const fn nanos(self, nanos: u64) -> u64 {
        nanos.saturating_add_signed(self.seconds.saturating_mul(1_000_000_000))
    }

    /// Moves the time of a CRI line's prefix, in place.
    pub(super) fn prefix(self, line: &mut [u8]) {
        self.rfc3339(line);
    }

    /// Moves the stamps in a line's own text, in place. `recorded_ns` says in which year it was
    /// printed, which klog does not.
    pub(super) fn text(self, line: &mut [u8], recorded_ns: u64) {
        if line.first() != Some(&b'{') && !self.go_log(line) {
            let moved = self.klog(line, recorded_ns);
            moved.or_else(|| self.common_log(line));
        }
        self.json(line);
    }

    /// Moves the times of the members that hold one, in place.
    pub(super) fn json(self, line: &mut [u8]) {
        for key in STAMP_KEYS {
            let mut at = 0;
            while let Some(found) = find(line.get(at..).unwrap_or_default(), key) {
                at += found + key.len();
                let Some(value) = line.get_mut(at..) else {
                    break;
                };
                if let Some((b'"', text)) = value.split_first_mut() {
                    self.rfc3339(text);
                } else {
                    self.integer(value, 10, 1);
                }
            }
        }
    }

    /// Moves the times of spans and annotations in a Zipkin body, in place.
    pub(super) fn zipkin(self, body: &mut [u8]) {
        const KEY: &[u8] = b"\"timestamp\":";
        let mut at = 0;
        while let Some(found) = find(body.get(at..).unwrap_or_default(), KEY) {
            at += found + KEY.len();
            if let Some(value) = body.get_mut(at..) {
                self.integer(value, 16, 1_000_000);
            }
        }
    }

    /// Moves a number of exactly `digits` digits that counts `unit`s of a second.
    fn integer(self, text: &mut [u8], digits: usize, unit: i64) -> Option<()> {
        let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length != digits {
            return None;
        }
        let field = text.get_mut(..digits)?;
        let value = std::str::from_utf8(field).ok()?.parse::<u64>().ok()?;
        let moved = value.checked_add_signed(self.seconds.checked_mul(unit)?)?;
        overwrite(field, &format!("{moved:0digits$}"))
    }

    fn rfc3339(self, text: &mut [u8]) -> Option<()> {
        let field = text.get_mut(..19)?;
        let civil = Civil::read(field, [0, 5, 8, 11, 14, 17], "    -  -  T  :  :  ")?;
        let Civil { date, time } = self.moved(civil)?;
        let ([year, month, day], [hour, minute, second]) = (date, time);
        overwrite(
            field,
            &format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"),
        )
    }

    fn go_log(self, text: &mut [u8]) -> bool {
        let mut shift = || {
            let field = text.get_mut(..19)?;
            let civil = Civil::read(field, [0, 5, 8, 11, 14, 17], "    /  /     :  :  ")?;
            let Civil { date, time } = self.moved(civil)?;
            let ([year, month, day], [hour, minute, second]) = (date, time);
            overwrite(
                field,
                &format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}"),
            )
        };
        shift().is_some()
    }

    fn common_log(self, text: &mut [u8]) -> Option<()> {
        let open = text.iter().position(|byte| *byte == b'[')?;
        let field = text.get_mut(open + 1..open + 21)?;
        let month = MONTHS
            .iter()
            .position(|name| field.get(3..6) == Some(name.as_slice()))?;
        let numbers = [7, 0, 0, 12, 15, 18];
        let mut civil = Civil::read(field, numbers, "  /   /    :  :  :  ")?;
        civil.date = [civil.date[0], month as u64 + 1, digits(field.get(..2)?)?];
        let Civil { date, time } = self.moved(civil)?;
        let ([year, month, day], [hour, minute, second]) = (date, time);
        let name = MONTHS.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
        let name = std::str::from_utf8(name.as_slice()).ok()?;
        overwrite(
            field,
            &format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02}"),
        )
    }

    fn klog(self, text: &mut [u8], recorded_ns: u64) -> Option<()> {
        let (year, ..) = UnixNanos(recorded_ns).day().civil();
        let field = text.get_mut(1..14)?;
        let mut civil = Civil::read(field, [0, 0, 2, 5, 8, 11], "       :  :  ")?;
        civil.date = [
            u64::from(year),
            digits(field.get(..2)?)?,
            digits(field.get(2..4)?)?,
        ];
        let Civil { date, time } = self.moved(civil)?;
        let ([_, month, day], [hour, minute, second]) = (date, time);
        overwrite(
            field,
            &format!("{month:02}{day:02} {hour:02}:{minute:02}:{second:02}"),
        )
    }

    fn moved(self, civil: Civil) -> Option<Civil> {
        let ([year, month, day], [hour, minute, second]) = (civil.date, civil.time);
        let year = i64::try_from(year).ok()?;
        let UnixNanos(nanos) = UnixNanos::from_civil(year, month, day, hour, minute, second)?;
        let moved = nanos.checked_add_signed(self.seconds.checked_mul(1_000_000_000)?)?;
        let (year, month, day) = UnixNanos(moved).day().civil();
        let seconds = moved / NANOS;
        Some(Civil {
            date: [year.into(), month.into(), day.into()],
            time: [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60],
        })
    }
}

impl Civil {
    /// Reads year, month, day, hour, minute and second at `at`, if everything that is no blank in
    /// `pattern` stands in `text` too. All are two digits long but a year that is not at the same
    /// place as the month, which is four.
    fn read(text: &[u8], at: [usize; 6], pattern: &str) -> Option<Self> {
        let fits = text.len() == pattern.len()
            && text
                .iter()
                .zip(pattern.as_bytes())
                .all(|(have, want)| *want == b' ' || have == want);
        if !fits {
            return None;
        }
        let number = |place: usize, width: usize| digits(text.get(place..place + width)?);
        let [year, month, day, hour, minute, second] = at;
        let year = if pattern.len() > 13 {
            number(year, 4)?
        } else {
            0
        };
        // A place of 0 for the month says that the caller reads the date itself.
        let date = if month == 0 {
            [year, 0, 0]
        } else {
            [year, number(month, 2)?, number(day, 2)?]
        };
        let time = [number(hour, 2)?, number(minute, 2)?, number(second, 2)?];
        Some(Self { date, time })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(value * 10 + digit)
    })
}

/// Puts `text` over `field`; only if the length stays.
fn overwrite(field: &mut [u8], text: &str) -> Option<()> {
    (field.len() == text.len()).then(|| field.copy_from_slice(text.as_bytes()))
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Shift = Shift::new(40 * 86_400 + 3661);
    const RECORDED: u64 = 1_795_406_977_672_424_268;

    fn shifted(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        DAY.text(&mut bytes, RECORDED);
        let there = String::from_utf8(bytes.clone()).unwrap();
        Shift::new(-DAY.seconds()).text(&mut bytes, DAY.nanos(RECORDED));
        assert_eq!(String::from_utf8(bytes).unwrap(), text, "and back again");
        there
    }

    #[test]
    fn each_dialect_keeps_its_form() {
        for (line, expected) in [
            (
                r#"{"level":"info","msg":"a \"time\":\"2026-11-23T04:09:37Z\"","time":"2026-11-23T04:09:37.67242426Z"}"#,
                r#"{"level":"info","msg":"a \"time\":\"2026-11-23T04:09:37Z\"","time":"2027-01-02T05:10:38.67242426Z"}"#,
            ),
            (
                r#"{"level":"warn","ts":"2026-11-23T05:09:37.672+0100","msg":"x"}"#,
                r#"{"level":"warn","ts":"2027-01-02T06:10:38.672+0100","msg":"x"}"#,
            ),
            (
                r#"{"level":"warn","ts":1795406977.672,"msg":"x"}"#,
                r#"{"level":"warn","ts":1798866638.672,"msg":"x"}"#,
            ),
            (
                r#"127.0.0.6 - - [23/Nov/2026:04:09:37 +0000] "GET /v2/projects HTTP/1.1" 200 2"#,
                r#"127.0.0.6 - - [02/Jan/2027:05:10:38 +0000] "GET /v2/projects HTTP/1.1" 200 2"#,
            ),
            (
                "2026/11/23 04:09:37 Added Cluster: edge01",
                "2027/01/02 05:10:38 Added Cluster: edge01",
            ),
            (
                "W1123 04:09:37.558597   13473 reflector.go:324] text",
                "W0102 05:10:38.558597   13473 reflector.go:324] text",
            ),
            (
                r#"Warning: apply{"msg":"x","time":"2026-11-23T04:09:37.1Z"}"#,
                r#"Warning: apply{"msg":"x","time":"2027-01-02T05:10:38.1Z"}"#,
            ),
            ("goroutine 1 [running]:", "goroutine 1 [running]:"),
            ("Error", "Error"),
            ("", ""),
        ] {
            assert_eq!(shifted(line), expected);
        }
    }

    #[test]
    fn spans_and_annotations_move_and_statements_do_not() {
        let mut body = br#"[{"timestamp":1795406975252583,"duration":914,"annotations":[{"timestamp":1795406975252590,"value":"x"}],"tags":{"db.statement":"{\"timestamp\":1795406975252583}"}}]"#.to_vec();
        Shift::new(10).zipkin(&mut body);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"[{"timestamp":1795406985252583,"duration":914,"annotations":[{"timestamp":1795406985252590,"value":"x"}],"tags":{"db.statement":"{\"timestamp\":1795406975252583}"}}]"#
        );
    }

    #[test]
    fn nothing_that_is_no_time_changes() {
        for text in [
            "2026/11/23",
            "127.0.0.6 - - [23/Foo/2026:04:09:37 +0000]",
            r#"{"time":"now"}"#,
            "I am",
        ] {
            assert_eq!(shifted(text), text);
        }
    }
}
