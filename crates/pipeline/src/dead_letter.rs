//! Items that a destination will never take, kept for a later replay.
//!
//! A [`spool`] a lane, bounded; when it is full the oldest segment goes and is counted. One letter
//! is one batch of kind 1; its time is when it was written (Unix nanoseconds). Payload:
//! ```text
//! version u8 = 1 | id text | label text | reason text | item (the rest): the bytes as encoded
//! ```
//! Texts are a LEB128 length and UTF-8 bytes.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use model::time::UnixNanos;
use spool::{Limits, QueueMetrics, Spool};

use crate::error::Error;
use crate::varint::{Cursor, Malformed, push_text};

const KIND_LETTER: u8 = 1;
const VERSION: u8 = 1;
const REASON_BYTES_MAX: usize = 1024;
// What a batch and two segment headers add at the most.
const ENVELOPE_BYTES: usize = 64;

/// One item that was given up, as the lane hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The document's id.
    pub id: model::ids::DocumentId,
    /// Bounded reason, e.g. `mapping`, `too_large`, `expired`.
    pub label: &'static str,
    /// The destination's own words.
    pub reason: String,
    /// The item as it was encoded.
    pub item: Bytes,
}

/// A letter as it is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLetter<'a> {
    /// When it was written.
    pub at: UnixNanos,
    /// The document's id.
    pub id: &'a str,
    /// Bounded reason.
    pub label: &'a str,
    /// The destination's own words.
    pub reason: &'a str,
    /// The item as it was encoded.
    pub item: &'a [u8],
}

/// The dead-letter file of one lane.
#[derive(Debug)]
pub struct DeadLetters {
    spool: Spool,
    bytes_max: u64,
    payload: Vec<u8>,
}

/// Reads the letters of a lane, oldest first.
pub struct LetterReader {
    spool: spool::Reader,
}

impl DeadLetters {
    /// Opens the file in directory `dir`, bounded by `limits`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(dir: &Path, limits: Limits, metrics: QueueMetrics) -> Result<Self, Error> {
        let (spool, _) =
            Spool::open(dir, limits, metrics).map_err(Error::spool("opening dead letters"))?;
        Ok(Self {
            spool,
            bytes_max: limits.bytes_max,
            payload: Vec::new(),
        })
    }

    /// Keeps a letter; returns how many older ones had to go for it.
    ///
    /// # Errors
    /// When it cannot be written, or is larger than the bound.
    pub fn put(&mut self, now: UnixNanos, letter: &DeadLetter) -> Result<u64, Error> {
        self.payload.clear();
        self.payload.push(VERSION);
        push_text(&mut self.payload, &letter.id.to_string());
        push_text(&mut self.payload, letter.label);
        push_text(&mut self.payload, shortened(&letter.reason));
        self.payload.extend_from_slice(&letter.item);
        let mut dropped = 0;
        let failed = |source| Error::Spool {
            doing: "writing dead letter",
            source,
        };
        // One that can never fit must not push out all the others.
        let can_fit = (self.payload.len() + ENVELOPE_BYTES) as u64 <= self.bytes_max;
        loop {
            match self.spool.append(KIND_LETTER, now.0, &self.payload) {
                Ok(_) => return Ok(dropped),
                Err(full @ spool::Error::Full { .. }) if can_fit => {
                    let oldest = self.spool.drop_oldest();
                    match oldest.map_err(Error::spool("dropping dead letters"))? {
                        Some(oldest) => dropped += oldest.batches,
                        None => return Err(failed(full)),
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Makes all letters survive a power loss; blocks.
    ///
    /// # Errors
    /// When the sync fails.
    pub fn sync(&self) -> Result<(), Error> {
        self.spool
            .sync()
            .map_err(Error::spool("syncing dead letters"))
    }

    /// Reads from the oldest letter on.
    pub fn reader(&self) -> LetterReader {
        LetterReader {
            spool: self.spool.reader(self.spool.first()),
        }
    }
}

impl LetterReader {
    /// The next letter; `None` at the end. Letters that are damaged are skipped.
    ///
    /// # Errors
    /// When the file cannot be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "lends from itself and can fail"
    )]
    pub fn next(&mut self) -> Result<Option<StoredLetter<'_>>, Error> {
        let next = self.spool.next();
        let Some(batch) = next.map_err(Error::spool("reading dead letters"))? else {
            return Ok(None);
        };
        let unreadable = |Malformed| StoredLetter {
            at: UnixNanos(batch.at),
            id: "",
            label: "unreadable",
            reason: "the letter has another version or is malformed",
            item: batch.payload,
        };
        let letter = read(batch.at, batch.payload);
        Ok(Some(letter.unwrap_or_else(unreadable)))
    }
}

impl fmt::Debug for LetterReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LetterReader({:?})", self.spool.position())
    }
}

fn read(at: u64, payload: &[u8]) -> Result<StoredLetter<'_>, Malformed> {
    let mut cursor = Cursor(payload);
    if cursor.byte()? != VERSION {
        return Err(Malformed);
    }
    Ok(StoredLetter {
        at: UnixNanos(at),
        id: cursor.text()?,
        label: cursor.text()?,
        reason: cursor.text()?,
        item: cursor.0,
    })
}

fn shortened(reason: &str) -> &str {
    reason
        .get(..reason.floor_char_boundary(REASON_BYTES_MAX))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::{DocumentId, FileKey};

    fn letter(offset: u64) -> DeadLetter {
        DeadLetter {
            id: DocumentId::Line(FileKey([7; 16]), offset),
            label: "mapping",
            reason: "ä".repeat(600),
            item: Bytes::from(vec![b'x'; 2000]),
        }
    }

    #[test]
    fn letters_are_read_back_and_the_oldest_go_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            bytes_max: 64 << 10,
            segment_bytes: 16 << 10,
        };
        let mut letters = DeadLetters::open(dir.path(), limits, QueueMetrics::default()).unwrap();
        let mut dropped = 0;
        for offset in 0..100 {
            dropped += letters.put(UnixNanos(offset), &letter(offset)).unwrap();
        }
        drop(letters);
        let letters = DeadLetters::open(dir.path(), limits, QueueMetrics::default()).unwrap();
        let mut reader = letters.reader();
        let mut expected = dropped;
        while let Some(stored) = reader.next().unwrap() {
            let id = letter(expected).id.to_string();
            assert_eq!((stored.at, stored.id), (UnixNanos(expected), id.as_str()));
            assert_eq!((stored.label, stored.item.len()), ("mapping", 2000));
            assert!(stored.reason.starts_with('ä') && stored.reason.len() <= REASON_BYTES_MAX);
            expected += 1;
        }
        assert_eq!(expected, 100);
        assert!(dropped > 0 && letters.spool.bytes() <= limits.bytes_max);
    }

    #[test]
    fn a_letter_larger_than_the_file_is_an_error_and_loses_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            bytes_max: 1 << 10,
            segment_bytes: 1 << 10,
        };
        let mut letters = DeadLetters::open(dir.path(), limits, QueueMetrics::default()).unwrap();
        assert!(letters.put(UnixNanos(1), &letter(0)).is_err());
        assert_eq!(letters.reader().next().unwrap(), None);
    }
}
