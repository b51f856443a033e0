//! Text of one record into fields.

use model::line::{Dialect, Stream};
use model::record::Record;
use model::time::UnixNanos;

/// Reads the dialects of EMCO's containers. Holds only memory for re-use: every line is decoded on
/// its own.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// Fills `record` from `text`, whose ranges then refer to it. `time` is the CRI time;
    /// `zone_offset_seconds` the container's zone (east of UTC), for dialects that print none.
    pub fn decode(
        &mut self,
        text: &[u8],
        time: UnixNanos,
        stream: Stream,
        zone_offset_seconds: i32,
        record: &mut Record,
    ) {
        let _ = (text, zone_offset_seconds);
        record.clear();
        record.time = time;
        record.stream = stream;
        record.dialect = Dialect::Unknown;
    }
}
