//! The little `MessagePack` the protocol needs: writing into a growing buffer, reading from a buffer
//! that may not hold everything yet.
//!
//! Strings and binaries are read alike: receivers write nonces as either, and never as valid UTF-8.

use model::document::push_short;
use model::record::Run;

/// Deepest nesting that is skipped over; nothing in the protocol nests deeper than three.
const DEPTH_MAX: u32 = 16;

/// Why nothing could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More bytes are needed.
    Incomplete,
    /// More bytes would not help.
    Invalid,
}

/// Appends a string's header.
pub(crate) fn push_str_header(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let [b3, b2, b1, b0] = length.to_be_bytes();
    match length {
        0..32 => out.push(0xa0 | b0),
        32..256 => out.extend_from_slice(&[0xd9, b0]),
        256..65_536 => out.extend_from_slice(&[0xda, b1, b0]),
        _ => out.extend_from_slice(&[0xdb, b3, b2, b1, b0]),
    }
}

/// Appends a string.
#[inline]
pub(crate) fn push_str(out: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..32) => out.push(0xa0 | length),
        Ok(length) => out.extend_from_slice(&[0xd9, length]),
        Err(_) => push_str_header(out, text.len()),
    }
    push_short(out, text);
}

/// Appends a string that stands in a text.
#[inline]
pub(crate) fn push_run(out: &mut Vec<u8>, run: Run<'_>) {
    let bytes = run.bytes();
    if let Ok(length @ 0..32) = u8::try_from(bytes.len())
        && let Some(block) = run.block::<32>()
    {
        let end = out.len() + 1 + bytes.len();
        out.push(0xa0 | length);
        out.extend_from_slice(block);
        out.truncate(end);
    } else if let Ok(length @ 32..=64) = u8::try_from(bytes.len())
        && let Some(block) = run.block::<64>()
    {
        let end = out.len() + 2 + bytes.len();
        out.extend_from_slice(&[0xd9, length]);
        out.extend_from_slice(block);
        out.truncate(end);
    } else {
        push_str(out, bytes);
    }
}

/// Appends a binary's header.
pub(crate) fn push_bin_header(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.push(0xc6);
    out.extend_from_slice(&length.to_be_bytes());
}

/// Appends an array's header.
pub(crate) fn push_array_header(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let [b3, b2, b1, b0] = length.to_be_bytes();
    match length {
        0..16 => out.push(0x90 | b0),
        16..65_536 => out.extend_from_slice(&[0xdc, b1, b0]),
        _ => out.extend_from_slice(&[0xdd, b3, b2, b1, b0]),
    }
}

/// Appends an unsigned integer in its shortest form.
pub(crate) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let [.., b3, b2, b1, b0] = bytes;
    match value {
        0..128 => out.push(b0),
        128..256 => out.extend_from_slice(&[0xcc, b0]),
        256..65_536 => out.extend_from_slice(&[0xcd, b1, b0]),
        65_536..4_294_967_296 => out.extend_from_slice(&[0xce, b3, b2, b1, b0]),
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends a negative integer.
pub(crate) fn push_negative(out: &mut Vec<u8>, value: i64) {
    if let Ok(small @ -32..=-1) = i8::try_from(value) {
        out.extend_from_slice(&small.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends a floating-point number.
pub(crate) fn push_float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a boolean.
pub(crate) fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// Appends nothing, as a value.
pub(crate) fn push_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Reads values off the front of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes were not read yet.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The elements of an array.
    pub(crate) fn array(&mut self) -> Result<u64, Fault> {
        match self.byte()? {
            byte @ 0x90..=0x9f => Ok(u64::from(byte & 0x0f)),
            0xdc => self.unsigned(2),
            0xdd => self.unsigned(4),
            _ => Err(Fault::Invalid),
        }
    }

    /// The pairs of a map.
    pub(crate) fn map(&mut self) -> Result<u64, Fault> {
        match self.byte()? {
            byte @ 0x80..=0x8f => Ok(u64::from(byte & 0x0f)),
            0xde => self.unsigned(2),
            0xdf => self.unsigned(4),
            _ => Err(Fault::Invalid),
        }
    }

    /// The bytes of a string or binary.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = match self.byte()? {
            byte @ 0xa0..=0xbf => u64::from(byte & 0x1f),
            0xc4 | 0xd9 => self.unsigned(1)?,
            0xc5 | 0xda => self.unsigned(2)?,
            0xc6 | 0xdb => self.unsigned(4)?,
            _ => return Err(Fault::Invalid),
        };
        self.take(length)
    }

    /// A boolean.
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(Fault::Invalid),
        }
    }

    /// Passes over one value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        self.skip_at(DEPTH_MAX)
    }

    fn skip_at(&mut self, depth: u32) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Invalid)?;
        let mut after = *self;
        let (fixed, values) = match after.byte()? {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            byte @ 0x80..=0x8f => (0, u64::from(byte & 0x0f) * 2),
            byte @ 0x90..=0x9f => (0, u64::from(byte & 0x0f)),
            byte @ 0xa0..=0xbf => (u64::from(byte & 0x1f), 0),
            0xc4 | 0xd9 => (after.unsigned(1)?, 0),
            0xc5 | 0xda => (after.unsigned(2)?, 0),
            0xc6 | 0xdb => (after.unsigned(4)?, 0),
            0xc7 => (after.unsigned(1)? + 1, 0),
            0xc8 => (after.unsigned(2)? + 1, 0),
            0xc9 => (after.unsigned(4)? + 1, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 | 0xd4 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd5 => (3, 0),
            0xd6 => (5, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (0, after.unsigned(2)?),
            0xdd => (0, after.unsigned(4)?),
            0xde => (0, after.unsigned(2)? * 2),
            0xdf => (0, after.unsigned(4)? * 2),
            0xc1 => return Err(Fault::Invalid),
        };
        after.take(fixed)?;
        for _ in 0..values {
            after.skip_at(depth)?;
        }
        *self = after;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::Incomplete)?;
        self.rest = rest;
        Ok(*first)
    }

    fn unsigned(&mut self, bytes: u64) -> Result<u64, Fault> {
        let bytes = self.take(bytes)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(length).map_err(|_| Fault::Invalid)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Fault::Incomplete)?;
        self.rest = rest;
        Ok(taken)
    }
}
