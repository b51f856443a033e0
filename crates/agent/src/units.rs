//! Amounts with units, as settings write them.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use garde::rules::range::{Bounds, OutOfBounds};
use serde::{Deserialize, Deserializer};

/// A time: `<whole number><unit>` with the units `ms`, `s`, `m` and `h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(Duration);

impl Time {
    /// So many milliseconds.
    pub(crate) const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// So many seconds.
    pub(crate) const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// So many minutes.
    pub(crate) const fn minutes(count: u64) -> Self {
        Self(Duration::from_mins(count))
    }

    /// So many hours.
    pub(crate) const fn hours(count: u64) -> Self {
        Self(Duration::from_hours(count))
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(split)?;
        let number: u64 = number.parse().ok()?;
        let seconds = |per: u64| number.checked_mul(per).map(Self::seconds);
        match unit.trim() {
            "ms" => Some(Self::millis(number)),
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3600),
            _ => None,
        }
    }
}

impl Deref for Time {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => write!(f, "{}s", millis / 1_000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!(
                "is {text:?}, but has to be a time such as 2s, 500ms, 10m or 1h"
            ))
        })
    }
}

impl Bounds for Time {
    type Size = Self;

    const MIN: Self = Self::millis(0);
    const MAX: Self = Self(Duration::MAX);

    fn validate_bounds(&self, lower: Self, upper: Self) -> Result<(), OutOfBounds> {
        if *self < lower {
            Err(OutOfBounds::Lower)
        } else if *self > upper {
            Err(OutOfBounds::Upper)
        } else {
            Ok(())
        }
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::Time;

    /// Limits of a range stand in the schema as they are written.
    impl From<Time> for serde_json::Value {
        fn from(time: Time) -> Self {
            time.to_string().into()
        }
    }

    impl serde::Serialize for Time {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl schemars::JsonSchema for Time {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Time".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
            // "number" lets the limits of a range in; who prints the schema takes it out
            schemars::json_schema!({
                "type": ["string", "number"],
                "pattern": "^[0-9]+ ?(ms|s|m|h)$",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(Time::parse("10m"), Some(Time::minutes(10)));
        for bad in [
            "",
            "5",
            "s",
            "1.5s",
            "5 days",
            "-1s",
            "99999999999999999999s",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
        assert_eq!(Time::parse("9999999999999999h"), None, "more than fits");
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["0s", "1ms", "1500ms", "2s", "90s", "10m", "36h"] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
    }
}
