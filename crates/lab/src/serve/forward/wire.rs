//! Cuts a byte stream into messages and reads them; knows no sockets.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use model::time::UnixNanos;

use super::msgpack::{Item, Reader, Scan, event_time};

/// Longest message, and longest content of a compressed one, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a connection is closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// A byte that starts no value.
    #[error("a byte that starts no MessagePack value")]
    NotMessagePack,
    /// A value, but no message.
    #[error("a MessagePack value that is no forward message: {0}")]
    NotAMessage(&'static str),
    /// A value ends in its middle.
    #[error("a MessagePack value that ends in its middle")]
    Truncated,
    /// Too long.
    #[error("a message of more than {max} bytes")]
    TooLong {
        /// Most bytes.
        max: usize,
    },
    /// Too deep.
    #[error("a record nested deeper than {max}")]
    TooDeep {
        /// Deepest.
        max: usize,
    },
    /// A key of a record.
    #[error("a record with a key that is neither text nor an integer")]
    Key,
    /// The compressed content.
    #[error("compressed content that is no gzip")]
    Gzip,
}

impl Error {
    /// The reason in metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::NotMessagePack => "not_messagepack",
            Self::NotAMessage(_) => "not_a_message",
            Self::Truncated => "truncated",
            Self::TooLong { .. } => "too_long",
            Self::TooDeep { .. } => "too_deep",
            Self::Key => "key",
            Self::Gzip => "gzip",
        }
    }
}

/// Collects bytes until a whole message is there.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    start: usize,
    scan: Scan,
}

impl Framer {
    /// Where to put further bytes; the bytes of messages that were taken are gone.
    pub(super) fn spare(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        &mut self.buffer
    }

    /// The next whole message, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        match bytes.first() {
            None => return Ok(None),
            Some(0x90..=0x9f | 0xdc | 0xdd | 0xc0) => {}
            Some(0xc1) => return Err(Error::NotMessagePack),
            Some(_) => return Err(Error::NotAMessage("it is no array")),
        }
        let Some(length) = self.scan.go_on(bytes, MESSAGE_BYTES_MAX)? else {
            return Ok(None);
        };
        self.start += length;
        self.scan = Scan::default();
        Ok(bytes.get(..length))
    }

    /// Bytes of an unfinished message.
    pub(super) fn left(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }
}

/// A message that was understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// The entries in order.
    pub(super) entries: Vec<Entry>,
    /// The acknowledgement to send once they are stored.
    pub(super) ack: Option<Vec<u8>>,
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The time of the entry.
    pub(super) time: UnixNanos,
    /// The record as a JSON object.
    pub(super) json: String,
}

impl Message {
    /// Reads one whole message; `None` is a heartbeat.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let mut reader = Reader::new(bytes);
        let elements = match reader.next()? {
            Item::Nil => return Ok(None),
            Item::Array(elements) => elements,
            _ => return Err(Error::NotAMessage("it is no array")),
        };
        let Item::Text(_tag) = reader.next()? else {
            return Err(Error::NotAMessage("its first element is no tag"));
        };
        let content = reader;
        match reader.next()? {
            Item::Array(count) => {
                if !(2..=3).contains(&elements) {
                    return Err(Error::NotAMessage(
                        "a list of entries needs 2 or 3 elements",
                    ));
                }
                let entries = (0..count)
                    .map(|_| entry(&mut reader))
                    .collect::<Result<_, _>>()?;
                Self::finish(entries, elements == 3, reader).map(Some)
            }
            Item::Text(packed) => {
                if !(2..=3).contains(&elements) {
                    return Err(Error::NotAMessage("packed entries need 2 or 3 elements"));
                }
                let options = options(elements == 3, reader)?;
                let entries = unpack(packed, options.compressed)?;
                Ok(Some(Self {
                    entries,
                    ack: options.ack,
                }))
            }
            _ => {
                if !(3..=4).contains(&elements) {
                    return Err(Error::NotAMessage("a single entry needs 3 or 4 elements"));
                }
                let mut reader = content;
                let entries = vec![time_and_record(&mut reader)?];
                Self::finish(entries, elements == 4, reader).map(Some)
            }
        }
    }

    fn finish(entries: Vec<Entry>, with_options: bool, reader: Reader<'_>) -> Result<Self, Error> {
        let ack = options(with_options, reader)?.ack;
        Ok(Self { entries, ack })
    }
}

#[derive(Default)]
struct Options {
    ack: Option<Vec<u8>>,
    compressed: bool,
}

fn options(present: bool, mut reader: Reader<'_>) -> Result<Options, Error> {
    let mut options = Options::default();
    if !present {
        return Ok(options);
    }
    let count = match reader.next()? {
        Item::Map(count) => count,
        Item::Nil => return Ok(options),
        _ => return Err(Error::NotAMessage("its options are no map")),
    };
    for _ in 0..count {
        let key = reader.next()?;
        let value = reader.skip()?;
        match key {
            // The chunk goes back byte for byte, whatever type it has.
            Item::Text(b"chunk") if value != [0xc0] => {
                options.ack = Some([b"\x81\xa3ack", value].concat());
            }
            Item::Text(b"compressed") => {
                let kind = Reader::new(value).next()?;
                options.compressed = match kind {
                    Item::Text(b"gzip") => true,
                    Item::Text(b"text") | Item::Nil => false,
                    _ => return Err(Error::NotAMessage("its compression is unknown")),
                };
            }
            _ => {}
        }
    }
    Ok(options)
}

fn unpack(packed: &[u8], compressed: bool) -> Result<Vec<Entry>, Error> {
    let mut content = Vec::new();
    let bytes = if compressed {
        // One byte more than allowed tells "exactly at the limit" from "beyond".
        let limit = MESSAGE_BYTES_MAX as u64 + 1;
        let decoder = MultiGzDecoder::new(packed);
        let read = decoder.take(limit).read_to_end(&mut content);
        read.map_err(|_| Error::Gzip)?;
        if content.len() > MESSAGE_BYTES_MAX {
            return Err(Error::TooLong {
                max: MESSAGE_BYTES_MAX,
            });
        }
        content.as_slice()
    } else {
        packed
    };
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(entry(&mut reader)?);
    }
    Ok(entries)
}

fn entry(reader: &mut Reader<'_>) -> Result<Entry, Error> {
    match reader.next()? {
        Item::Array(2) => time_and_record(reader),
        _ => Err(Error::NotAMessage("an entry is no pair of time and record")),
    }
}

fn time_and_record(reader: &mut Reader<'_>) -> Result<Entry, Error> {
    let time = match reader.next()? {
        Item::Unsigned(seconds) => UnixNanos(seconds.saturating_mul(1_000_000_000)),
        Item::Extension(kind, body) => {
            event_time(kind, body).ok_or(Error::NotAMessage("a time of unknown kind"))?
        }
        _ => {
            return Err(Error::NotAMessage(
                "a time is neither integer nor EventTime",
            ));
        }
    };
    let mut map = *reader;
    if !matches!(map.next()?, Item::Map(_)) {
        return Err(Error::NotAMessage("a record is no map"));
    }
    let mut json = Vec::with_capacity(1024);
    reader.write_json(&mut json)?;
    // Text was made valid on the way; the rest is ASCII.
    let json = String::from_utf8(json).map_err(|_| Error::NotMessagePack)?;
    Ok(Entry { time, json })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
