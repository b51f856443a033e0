//! Reads `MessagePack`: where a value ends while it is still arriving, and what it says as JSON.

use std::io::Write;

use model::time::UnixNanos;
use rmp::Marker;

use super::wire::Error;

/// Deepest nesting of a record.
const DEPTH_MAX: usize = 64;

/// What follows a marker: bytes that belong to the value itself, and values inside it.
struct Shape {
    bytes: u64,
    values: u64,
}

/// Finds the end of one value in bytes that arrive in pieces, looking at each byte once.
#[derive(Debug)]
pub(super) struct Scan {
    at: u64,
    missing: u64,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, missing: 1 }
    }
}

impl Scan {
    /// Goes on in `bytes`, which hold the value from its first byte on; answers its length once it is
    /// complete.
    pub(super) fn go_on(&mut self, bytes: &[u8], max: usize) -> Result<Option<usize>, Error> {
        while self.missing > 0 {
            let Some(rest) = usize::try_from(self.at).ok().and_then(|at| bytes.get(at..)) else {
                break;
            };
            let Some((header, shape)) = shape(rest)? else {
                break;
            };
            self.at = self.at.saturating_add(header).saturating_add(shape.bytes);
            self.missing = (self.missing - 1).saturating_add(shape.values);
            // Every value that is missing needs a byte at least.
            if self.at.saturating_add(self.missing) > max as u64 {
                return Err(Error::TooLong { max });
            }
        }
        let complete = self.missing == 0 && self.at <= bytes.len() as u64;
        Ok(complete.then(|| usize::try_from(self.at).unwrap_or(usize::MAX)))
    }
}

/// Length of the header at the start of `bytes` and what follows it; `None` if it is not whole.
fn shape(bytes: &[u8]) -> Result<Option<(u64, Shape)>, Error> {
    let Some((first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let plain = |bytes: u64| Some((1, Shape { bytes, values: 0 }));
    let sized = |width: usize, extra: u64| {
        length(rest, width).map(|bytes| {
            let bytes = bytes + extra;
            (1 + width as u64, Shape { bytes, values: 0 })
        })
    };
    let nested = |width: usize, each: u64| {
        length(rest, width).map(|count| {
            let values = count * each;
            (1 + width as u64, Shape { bytes: 0, values })
        })
    };
    let inside = |values: u64| Some((1, Shape { bytes: 0, values }));
    Ok(match Marker::from_u8(*first) {
        Marker::Reserved => return Err(Error::NotMessagePack),
        Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => {
            plain(0)
        }
        Marker::U8 | Marker::I8 => plain(1),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => plain(2),
        Marker::U32 | Marker::I32 | Marker::F32 => plain(4),
        Marker::U64 | Marker::I64 | Marker::F64 => plain(8),
        Marker::FixExt2 => plain(3),
        Marker::FixExt4 => plain(5),
        Marker::FixExt8 => plain(9),
        Marker::FixExt16 => plain(17),
        Marker::FixStr(bytes) => plain(u64::from(bytes)),
        Marker::Str8 | Marker::Bin8 => sized(1, 0),
        Marker::Str16 | Marker::Bin16 => sized(2, 0),
        Marker::Str32 | Marker::Bin32 => sized(4, 0),
        Marker::Ext8 => sized(1, 1),
        Marker::Ext16 => sized(2, 1),
        Marker::Ext32 => sized(4, 1),
        Marker::FixArray(count) => inside(u64::from(count)),
        Marker::FixMap(count) => inside(u64::from(count) * 2),
        Marker::Array16 => nested(2, 1),
        Marker::Array32 => nested(4, 1),
        Marker::Map16 => nested(2, 2),
        Marker::Map32 => nested(4, 2),
    })
}

fn length(bytes: &[u8], width: usize) -> Option<u64> {
    let bytes = bytes.get(..width)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// One value, its content not yet read when it is nested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a [u8]),
    Array(u64),
    Map(u64),
    Extension(i8, &'a [u8]),
}

/// Reads values one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value.
    pub(super) fn next(&mut self) -> Result<Item<'a>, Error> {
        let (header, shape) = shape(self.rest)?.ok_or(Error::Truncated)?;
        let first = self.rest.first().copied().unwrap_or(0xc1);
        self.take(header)?;
        let body = self.take(shape.bytes)?;
        Ok(match Marker::from_u8(first) {
            Marker::Null | Marker::Reserved => Item::Nil,
            Marker::True => Item::Bool(true),
            Marker::False => Item::Bool(false),
            Marker::FixPos(value) => Item::Unsigned(u64::from(value)),
            Marker::FixNeg(value) => Item::Signed(i64::from(value)),
            Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                Item::Unsigned(length(body, body.len()).unwrap_or(0))
            }
            Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => Item::Signed(signed(body)),
            Marker::F32 => Item::Float(float32(body)),
            Marker::F64 => Item::Float(float64(body)),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => Item::Array(shape.values),
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => Item::Map(shape.values / 2),
            Marker::FixStr(_)
            | Marker::Str8
            | Marker::Str16
            | Marker::Str32
            | Marker::Bin8
            | Marker::Bin16
            | Marker::Bin32 => Item::Text(body),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => {
                let (kind, body) = body.split_first().ok_or(Error::Truncated)?;
                Item::Extension(kind.cast_signed(), body)
            }
        })
    }

    /// The bytes of the next value, whatever it is.
    pub(super) fn skip(&mut self) -> Result<&'a [u8], Error> {
        let end = Scan::default().go_on(self.rest, usize::MAX)?;
        self.take(end.ok_or(Error::Truncated)? as u64)
    }

    /// Writes the next value as JSON.
    pub(super) fn write_json(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.write_value(out, 0)
    }

    fn write_value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::TooDeep { max: DEPTH_MAX });
        }
        match self.next()? {
            Item::Nil => out.extend_from_slice(b"null"),
            Item::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Item::Unsigned(value) => write_json(out, &value),
            Item::Signed(value) => write_json(out, &value),
            Item::Float(value) => write_json(out, &value),
            Item::Text(text) => write_text(out, text),
            Item::Extension(kind, body) => match event_time(kind, body) {
                Some(time) => write_json(out, &time.to_string()),
                None => out.extend_from_slice(b"null"),
            },
            Item::Array(count) => {
                out.push(b'[');
                for index in 0..count {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.write_value(out, depth + 1)?;
                }
                out.push(b']');
            }
            Item::Map(count) => {
                out.push(b'{');
                for index in 0..count {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.write_key(out)?;
                    out.push(b':');
                    self.write_value(out, depth + 1)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }

    fn write_key(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self.next()? {
            Item::Text(text) => write_text(out, text),
            Item::Unsigned(value) => write_json(out, &value.to_string()),
            Item::Signed(value) => write_json(out, &value.to_string()),
            _ => return Err(Error::Key),
        }
        Ok(())
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Error> {
        let count = usize::try_from(count).map_err(|_| Error::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// An `EventTime` (seconds and nanoseconds in extension type 0).
pub(super) fn event_time(kind: i8, body: &[u8]) -> Option<UnixNanos> {
    if kind != 0 || body.len() != 8 {
        return None;
    }
    let seconds = length(body, 4)?;
    let nanos = length(body.get(4..)?, 4)?;
    Some(UnixNanos(seconds * 1_000_000_000 + nanos))
}

fn signed(body: &[u8]) -> i64 {
    let value = length(body, body.len()).unwrap_or(0);
    let unused = 64 - u32::try_from(body.len().min(8)).unwrap_or(8) * 8;
    value.unbounded_shl(unused).cast_signed() >> unused.min(63)
}

fn float32(body: &[u8]) -> f64 {
    let bytes = body.first_chunk().copied().unwrap_or_default();
    f64::from(f32::from_be_bytes(bytes))
}

fn float64(body: &[u8]) -> f64 {
    f64::from_be_bytes(body.first_chunk().copied().unwrap_or_default())
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_json(out, &*String::from_utf8_lossy(text));
}

/// Writing into memory cannot fail, and neither can serialising a scalar.
fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    if serde_json::to_writer(out.by_ref(), value).is_err() {
        out.extend_from_slice(b"null");
    }
}
