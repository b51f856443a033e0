//! Which names in a directory are log files, and in which order they were written.
//!
//! | written by | name | meaning |
//! |---|---|---|
//! | container runtime | `<n>.log` | what restart `n` writes now |
//! | kubelet | `<n>.log.<YYYYMMDD-HHMMSS>` | rotated, plain text until the next rotation |
//! | kubelet | `<n>.log.<YYYYMMDD-HHMMSS>.gz` | rotated and compressed |
//! | kubelet | `….tmp` | being compressed: not looked at |
//! | logrotate | `<name>.<i>`, `<name>-<date>`, both also `.gz` | copies of a plain file |

use model::time::UnixNanos;

/// Where a file stands among the files of its container, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub(crate) restart: u32,
    rank: Rank,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Rotated(UnixNanos, String),
    Live,
}

impl Default for Rank {
    fn default() -> Self {
        Self::Rotated(UnixNanos(0), String::new())
    }
}

impl Order {
    /// Of a CRI file that was live and has lost its name: right after `last`, the newest rotated file
    /// of its restart that was known by then.
    pub(crate) fn former(restart: u32, last: Option<&Self>) -> Self {
        let stamp = match last.map(|last| &last.rank) {
            Some(Rank::Rotated(_, stamp)) => format!("{stamp}~"),
            _ => String::new(),
        };
        Self {
            restart,
            rank: Rank::Rotated(UnixNanos(0), stamp),
        }
    }

    /// Whether the container still writes it under this name.
    pub(crate) fn is_live(&self) -> bool {
        self.rank == Rank::Live
    }

    /// The file a plain path names now.
    pub(crate) const fn live_plain() -> Self {
        Self {
            restart: 0,
            rank: Rank::Live,
        }
    }

    /// A rotated sibling of a plain file: by its last modification, which rotation keeps.
    pub(crate) fn sibling(modified: UnixNanos, name: &str) -> Self {
        // Of two siblings of one moment the one with the higher number is older.
        let digits: String = name
            .trim_end_matches(".gz")
            .rsplit(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default()
            .to_owned();
        let age = u64::MAX - digits.parse::<u64>().unwrap_or(0);
        Self {
            restart: 0,
            rank: Rank::Rotated(modified, format!("{age:020}")),
        }
    }
}

/// A name that is a log file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogName {
    pub(crate) order: Order,
    pub(crate) gzip: bool,
}

impl LogName {
    /// Of a file in a container's directory.
    pub(crate) fn parse_cri(name: &str) -> Option<Self> {
        let (restart, rest) = name.split_once(".log")?;
        if restart.is_empty() || !restart.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let restart = restart.parse().ok()?;
        let (stamp, gzip) = match rest.strip_suffix(".gz") {
            Some(stamp) => (stamp, true),
            None => (rest, false),
        };
        let rank = match stamp.strip_prefix('.') {
            None if stamp.is_empty() && !gzip => Rank::Live,
            Some(stamp) if is_stamp(stamp) => Rank::Rotated(UnixNanos(0), stamp.to_owned()),
            _ => return None,
        };
        Some(Self {
            order: Order { restart, rank },
            gzip,
        })
    }

    /// Whether `name` looks like a rotated sibling of the plain file `base`, and is compressed.
    pub(crate) fn sibling_of(base: &str, name: &str) -> Option<bool> {
        let rest = name.strip_prefix(base)?;
        let (stamp, gzip) = match rest.strip_suffix(".gz") {
            Some(stamp) => (stamp, true),
            None => (rest, false),
        };
        let stamp = stamp.strip_prefix(['.', '-'])?;
        let plausible =
            |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b'T');
        let numbered = stamp
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit());
        (numbered && stamp.bytes().all(plausible)).then_some(gzip)
    }
}

/// `YYYYMMDD-HHMMSS`; a suffix behind the digits is tolerated as long as it is digits again.
fn is_stamp(text: &str) -> bool {
    text.len() >= 15
        && text.bytes().enumerate().all(|(at, byte)| {
            if at == 8 {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_in_the_order_in_which_they_were_written() {
        let names = [
            "0.log.20260131-100000.gz",
            "0.log.20260131-110000",
            "0.log",
            "1.log.20260131-100500",
            "1.log",
            "2.log",
            "10.log",
        ];
        let orders: Vec<Order> = names
            .iter()
            .map(|name| LogName::parse_cri(name).unwrap().order)
            .collect();
        assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
        let former = Order::former(0, Some(&orders[0]));
        assert!(former > orders[0] && former < orders[1]);
        assert!(Order::former(1, None) > orders[2] && Order::former(1, None) < orders[3]);
    }

    #[test]
    fn what_is_no_log_file_is_left_alone() {
        for name in [
            "",
            "0",
            ".log",
            "a.log",
            "0.log.tmp",
            "0.log.gz",
            "0.log.20260131-100000.tmp",
            "0.log.20260131-100000.gz.tmp",
            "-1.log",
            "99999999999.log",
            "0.logx",
        ] {
            assert_eq!(LogName::parse_cri(name), None, "{name}");
        }
    }

    #[test]
    fn siblings_of_a_plain_file_are_numbered_or_dated() {
        for (name, expected) in [
            ("app.log.1", Some(false)),
            ("app.log.2.gz", Some(true)),
            ("app.log-20260131", Some(false)),
            ("app.log-20260131T1000.gz", Some(true)),
            ("app.log", None),
            ("app.log.bak", None),
            ("app.log.swp", None),
            ("app.logger.1", None),
            ("app.log.gz", None),
            ("other", None),
        ] {
            assert_eq!(LogName::sibling_of("app.log", name), expected, "{name}");
        }
    }

    #[test]
    fn of_two_siblings_of_one_moment_the_higher_number_is_older() {
        let moment = UnixNanos(5);
        assert!(Order::sibling(moment, "a.log.10.gz") < Order::sibling(moment, "a.log.9"));
        assert!(Order::sibling(UnixNanos(4), "a.log.1") < Order::sibling(moment, "a.log.2"));
    }
}
