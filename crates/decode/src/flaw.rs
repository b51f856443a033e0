//! What is wrong with a line that is shipped all the same.

use model::line::Dialect;
use model::record::Record;

use crate::framer::Framed;
use crate::json;
use crate::marks::Marks;

/// Something about a line that an operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It was longer than a record may be, and is one of several pieces.
    Split,
    /// Its rest did not come.
    Partial,
    /// It is no valid UTF-8: what is not was replaced.
    InvalidUtf8,
    /// It has NUL bytes.
    Nul,
    /// It begins like a JSON object and is none: shipped as text.
    BrokenJson,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Split,
        Self::Partial,
        Self::InvalidUtf8,
        Self::Nul,
        Self::BrokenJson,
    ];

    /// The value of the label `flaw`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Partial => "partial",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Nul => "nul",
            Self::BrokenJson => "broken_json",
        }
    }

    /// One sentence for an operator.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Split => "a line is longer than a record may be, it was cut into several",
            Self::Partial => "the rest of a line did not come, what there was is shipped",
            Self::InvalidUtf8 => "a line is no valid utf-8, what is not was replaced",
            Self::Nul => "a line has nul bytes, they are shipped as they are",
            Self::BrokenJson => "a line begins like json and is none, it is shipped as text",
        }
    }
}

/// Shows the flaws of `line`; `record` is what was decoded of it. Costs next to nothing for a sound
/// line in JSON.
#[inline]
pub fn flaws(line: &Framed<'_>, record: &Record, found: &mut impl FnMut(Flaw)) {
    let is_json = matches!(
        record.dialect,
        Dialect::Logrus | Dialect::Zap | Dialect::EnvoyAccess
    );
    if !is_json || record.lossy || line.split || line.partial {
        look(line, record, is_json, found);
    }
}

fn look(line: &Framed<'_>, record: &Record, is_json: bool, found: &mut impl FnMut(Flaw)) {
    if line.split {
        found(Flaw::Split);
    }
    if line.partial {
        found(Flaw::Partial);
    }
    if record.lossy {
        found(Flaw::InvalidUtf8);
    }
    // no JSON has one
    if !is_json && memchr::memchr(0, line.text).is_some() {
        found(Flaw::Nul);
    }
    // a piece of JSON is none, which was said already
    let is_whole = !line.split && !line.partial;
    if record.dialect == Dialect::Unknown && is_whole && is_broken(line.text) {
        found(Flaw::BrokenJson);
    }
}

fn is_broken(text: &[u8]) -> bool {
    text.starts_with(b"{")
        && !json::object(text.trim_ascii_end(), 0, &Marks::of(text), &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Framer, FramerSettings};
    use model::time::UnixNanos;

    /// The flaws of what a file holds, by record.
    fn of(file: &[u8], record_bytes_max: usize) -> Vec<Vec<Flaw>> {
        let settings = FramerSettings {
            record_bytes_max,
            ..FramerSettings::default()
        };
        let (mut framer, mut decoder) = (Framer::new(settings), Decoder::default());
        let (mut record, mut all) = (Record::default(), Vec::new());
        let mut sink = |line: Framed<'_>| {
            decoder.decode(line.text, line.time, line.stream, 0, &mut record);
            let mut found = Vec::new();
            flaws(&line, &record, &mut |flaw| found.push(flaw));
            all.push(found);
        };
        framer.push(0, 0, file, UnixNanos(1), &mut sink);
        framer.end_of_container(UnixNanos(2), &mut sink);
        all
    }

    fn line(text: &[u8]) -> Vec<Flaw> {
        let mut file = b"2026-11-23T04:09:37.5Z stderr F ".to_vec();
        file.extend_from_slice(text);
        file.push(b'\n');
        let [found] = &of(&file, 1 << 20)[..] else {
            panic!("not one record");
        };
        found.clone()
    }

    #[test]
    fn sound_lines_have_none() {
        for text in [
            &br#"{"level":"info","msg":"fine \u0000","time":"2026-11-23T04:09:37Z"}"#[..],
            br#"{"some":"object"}  "#,
            b"2026/11/23 04:09:37 text",
            "caf\u{e9}".as_bytes(),
            b"",
        ] {
            assert_eq!(line(text), [], "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn each_flaw_is_found() {
        let logrus =
            b"{\"level\":\"info\",\"msg\":\"not \xff utf-8\",\"time\":\"2026-11-23T04:09:37Z\"}";
        assert_eq!(line(logrus), [Flaw::InvalidUtf8]);
        assert_eq!(line(b"nul \0 inside"), [Flaw::Nul]);
        assert_eq!(line(b"\0 \xff"), [Flaw::InvalidUtf8, Flaw::Nul]);
        let whole = br#"{"level":"info","msg":"whole","n":[1,{"a":"b"}]}"#;
        for end in 1..whole.len() {
            assert_eq!(line(&whole[..end]), [Flaw::BrokenJson], "cut at {end}");
        }
        assert_eq!(line(b"{braces} in a text"), [Flaw::BrokenJson]);
        assert_eq!(line(b"{\"msg\":\"a \0 b\"}"), [Flaw::Nul, Flaw::BrokenJson]);
    }

    #[test]
    fn a_piece_of_json_is_a_piece() {
        let mut file = b"2026-11-23T04:09:37.5Z stderr F {\"msg\":\"".to_vec();
        file.resize(3000, b'a');
        file.push(b'\n');
        let all = of(&file, 1024);
        assert!(all.len() >= 2, "{all:?}");
        assert!(all.iter().all(|found| found == &[Flaw::Split]), "{all:?}");
        let partial = b"2026-11-23T04:09:37.5Z stderr P {\"msg\":\"begun\n";
        assert_eq!(of(partial, 1 << 20), [[Flaw::Partial]]);
    }
}
