//! Opening a queue: judging the last segment, cutting off a torn batch.

use crate::error::Error;
use crate::format::{self, BATCH_HEADER_BYTES, Header, Position, SEGMENT_HEADER_BYTES, Unparsed};
use crate::queue::State;
use crate::reader::Window;
use crate::storage::Storage;

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments there are.
    pub segments: u64,
    /// Bytes they hold.
    pub bytes: u64,
    /// Bytes of a torn last batch that were cut off.
    pub torn_bytes: u64,
    /// One sentence for each thing that cannot be read.
    pub notes: Vec<String>,
}

impl<S: Storage> State<S> {
    pub(crate) fn repair_tail(&mut self, recovery: &mut Recovery) -> Result<(), Error> {
        let Some((&number, &segment)) = self.segments.iter().next_back() else {
            return Ok(());
        };
        self.tail = number;
        if segment.length == 0 {
            return Ok(());
        }
        let mut window = Window::default();
        let (mut valid, mut known) = (SEGMENT_HEADER_BYTES, (0, 0));
        let note = loop {
            let position = Position {
                segment: number,
                offset: valid,
            };
            if valid == SEGMENT_HEADER_BYTES && known.1 == 0 {
                match self.check_header(number)? {
                    Header::Ours => {}
                    Header::Torn => break self.cut(number, 0, segment.length, recovery)?,
                    other => break Some(describe(number, &other)),
                }
            }
            if valid == segment.length {
                break None;
            }
            match window.batch(self, position, segment.length)? {
                Ok(batch) => {
                    known = (known.0.max(batch.at), known.1 + 1);
                    valid += (BATCH_HEADER_BYTES + batch.payload.len()) as u64;
                }
                Err(Unparsed::Short(_)) => {
                    break self.cut(number, valid, segment.length, recovery)?;
                }
                Err(Unparsed::Damaged) => {
                    break Some(format!(
                        "segment {number} is damaged at offset {valid}: {} bytes after it are skipped",
                        segment.length - valid
                    ));
                }
            }
        };
        match note {
            None => {
                if let Some(tail) = self.segments.get_mut(&number) {
                    tail.known = Some(known);
                }
            }
            Some(note) => {
                self.metrics.damaged.inc();
                tracing::warn!(note, "spool damaged");
                recovery.notes.push(note);
                self.tail = number + 1;
            }
        }
        Ok(())
    }

    /// Judges the first bytes of a segment.
    pub(crate) fn check_header(&mut self, number: u64) -> Result<Header, Error> {
        let mut header = [0; 8];
        let read = self
            .storage
            .read_at(number, 0, &mut header)
            .map_err(Error::segment("reading", number))?;
        Ok(format::read_segment_header(
            header.get(..read).unwrap_or_default(),
        ))
    }

    fn cut(
        &mut self,
        number: u64,
        valid: u64,
        length: u64,
        recovery: &mut Recovery,
    ) -> Result<Option<String>, Error> {
        recovery.torn_bytes = length - valid;
        self.metrics.damaged.inc();
        tracing::warn!(
            segment = number,
            bytes = recovery.torn_bytes,
            "torn batch cut off"
        );
        self.storage
            .truncate(number, valid)
            .map_err(Error::segment("cutting", number))?;
        if let Some(tail) = self.segments.get_mut(&number) {
            tail.length = valid;
        }
        Ok(None)
    }
}

/// Says why a segment cannot be read.
pub(crate) fn describe(number: u64, header: &Header) -> String {
    match header {
        Header::Version(version) => {
            format!("segment {number} has format version {version}, which this program cannot read")
        }
        _ => format!("segment {number} does not begin as a segment"),
    }
}
