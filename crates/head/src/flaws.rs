//! Lines that are not as they should be: shipped all the same, counted, and said now and then.

use std::time::Duration;

use decode::{Flaw, Framed};
use model::record::Record;
use model::time::UnixNanos;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// How long nothing more is said of a flaw after it was said.
const SILENCE: Duration = Duration::from_mins(1);

/// Counts flawed lines.
#[derive(Debug)]
pub struct Flaws {
    kinds: [Kind; Flaw::ALL.len()],
}

#[derive(Debug)]
struct Kind {
    lines: IntCounter,
    said: Option<UnixNanos>,
}

impl Flaws {
    /// Registers the counters, all at 0.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let lines = IntCounterVec::new(
            Opts::new(
                "emco_observer_decode_flawed_lines_total",
                "Lines that were not as they should be and were shipped all the same, by flaw",
            ),
            &["flaw"],
        )?;
        registry.register(Box::new(lines.clone()))?;
        Ok(Self {
            kinds: Flaw::ALL.map(|flaw| Kind {
                lines: lines.with_label_values(&[flaw.name()]),
                said: None,
            }),
        })
    }

    /// Looks at a line that was read; `record` is what was decoded of it.
    #[inline]
    pub(crate) fn look(&mut self, line: &Framed<'_>, record: &Record, now: UnixNanos) {
        decode::flaws(line, record, &mut |flaw| self.found(flaw, line, now));
    }

    #[cold]
    fn found(&mut self, flaw: Flaw, line: &Framed<'_>, now: UnixNanos) {
        let Some(kind) = self.kinds.get_mut(flaw as usize) else {
            return;
        };
        kind.lines.inc();
        let silence = u64::try_from(SILENCE.as_nanos()).unwrap_or(u64::MAX);
        if kind.said.is_some_and(|said| now < said.plus(silence)) {
            return;
        }
        kind.said = Some(now);
        let offset = line.extents.first().map(|(_, extent)| extent.offset);
        tracing::warn!(
            flaw = flaw.name(),
            stream = ?line.stream,
            time = %line.time,
            offset,
            lines = kind.lines.get(),
            "{}",
            flaw.sentence()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::line::Stream;
    use prometheus::TextEncoder;

    fn framed(text: &[u8], split: bool) -> Framed<'_> {
        Framed {
            extents: &[],
            time: UnixNanos(1),
            stream: Stream::Stderr,
            text,
            partial: false,
            split,
        }
    }

    #[test]
    fn flaws_are_counted_by_their_names_and_sound_lines_are_not() {
        let registry = Registry::new();
        let mut flaws = Flaws::new(&registry).unwrap();
        let page = |registry: &Registry| {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap()
        };
        for flaw in Flaw::ALL {
            let zero = format!("_total{{flaw=\"{}\"}} 0\n", flaw.name());
            assert!(page(&registry).contains(&zero), "{zero}");
        }
        let lossy = Record {
            lossy: true,
            ..Record::default()
        };
        flaws.look(&framed(b"fine", false), &Record::default(), UnixNanos(1));
        flaws.look(&framed(b"a piece", true), &Record::default(), UnixNanos(2));
        flaws.look(&framed(b"\xff\0", false), &lossy, UnixNanos(3));
        flaws.look(&framed(b"{\"cut", false), &Record::default(), UnixNanos(4));
        for flaw in ["split", "invalid_utf8", "nul", "broken_json"] {
            let one = format!("_total{{flaw=\"{flaw}\"}} 1\n");
            assert!(page(&registry).contains(&one), "{}", page(&registry));
        }
    }

    #[test]
    fn places_in_the_table_are_those_of_the_flaws() {
        for (place, flaw) in Flaw::ALL.into_iter().enumerate() {
            assert_eq!(flaw as usize, place);
        }
    }
}
