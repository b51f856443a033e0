//! The few facts of a record that the ledger needs.

use model::line::{LineFacts, Name, NameKey};
use model::record::Record;
use model::time::UnixNanos;

/// Most names one line states; further ones only narrow less.
const NAMES_MAX: usize = 16;

/// Room for the names of one line; cheap to make anew for each.
#[derive(Clone, Copy, Debug)]
pub struct FactBuf<'a> {
    names: [Name<'a>; NAMES_MAX],
    length: usize,
}

impl Default for FactBuf<'_> {
    fn default() -> Self {
        let name = Name {
            key: NameKey::Token,
            value: "",
        };
        Self {
            names: [name; NAMES_MAX],
            length: 0,
        }
    }
}

/// The facts of a decoded line. `text` is what was decoded, `arrival` the CRI time.
pub fn facts<'b, 'a: 'b>(
    record: &'a Record,
    _text: &'a [u8],
    arrival: UnixNanos,
    buffer: &'b mut FactBuf<'a>,
) -> LineFacts<'b> {
    buffer.length = 0;
    LineFacts {
        time: record.time,
        own_time: record.time != arrival,
        arrival,
        dialect: record.dialect,
        stream: record.stream,
        severity: record.severity,
        site: None,
        message: "",
        names: buffer.names.get(..buffer.length).unwrap_or_default(),
        access: None,
    }
}
