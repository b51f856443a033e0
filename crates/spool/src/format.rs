//! Segments as bytes: how a batch is written and recognised. No files here.

/// Longest payload of one batch, so that a damaged length cannot ask for all memory.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 7] = *b"emcospl";
const VERSION: u8 = 1;
/// Bytes before the first batch of a segment.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 8;
/// Bytes before a batch's payload.
pub(crate) const BATCH_HEADER_BYTES: usize = 17;

/// Where a batch begins. Later batches have greater positions; the default is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in the segment, in bytes.
    pub offset: u64,
}

impl Position {
    /// Behind every batch.
    pub const END: Self = Self {
        segment: u64::MAX,
        offset: u64::MAX,
    };
}

/// A batch as found in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    pub(crate) kind: u8,
    pub(crate) at: u64,
    pub(crate) payload: &'a [u8],
}

/// Why no batch could be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unparsed {
    /// The batch needs this many bytes in all.
    Short(usize),
    /// These bytes were never written as a batch here.
    Damaged,
}

/// What a segment's first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Ours,
    Torn,
    Version(u8),
    Foreign,
}

/// Appends the bytes every segment begins with.
pub(crate) fn write_segment_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
}

/// Judges the first bytes of a segment.
pub(crate) fn read_segment_header(bytes: &[u8]) -> Header {
    match bytes.split_first_chunk::<7>() {
        Some((&MAGIC, [VERSION, ..])) => Header::Ours,
        Some((&MAGIC, [version, ..])) => Header::Version(*version),
        Some((&MAGIC, [])) => Header::Torn,
        None if MAGIC.starts_with(bytes) => Header::Torn,
        _ => Header::Foreign,
    }
}

/// Appends a batch that will stand at `position`.
pub(crate) fn write_batch(
    out: &mut Vec<u8>,
    position: Position,
    kind: u8,
    at: u64,
    payload: &[u8],
) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&checksum(position, length, kind, at, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads the batch at `position`, where `bytes` begin.
pub(crate) fn read_batch(position: Position, bytes: &[u8]) -> Result<Parsed<'_>, Unparsed> {
    let (parsed, crc) = split_batch(bytes)?;
    let Parsed { kind, at, payload } = parsed;
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if crc != checksum(position, length, kind, at, payload) {
        return Err(Unparsed::Damaged);
    }
    Ok(parsed)
}

/// Reads a batch that was found to be whole before.
pub(crate) fn read_checked_batch(bytes: &[u8]) -> Result<Parsed<'_>, Unparsed> {
    split_batch(bytes).map(|(parsed, _)| parsed)
}

/// What a batch says, and its checksum.
fn split_batch(bytes: &[u8]) -> Result<(Parsed<'_>, u32), Unparsed> {
    let short = Unparsed::Short(BATCH_HEADER_BYTES);
    let Some((header, rest)) = bytes.split_first_chunk::<BATCH_HEADER_BYTES>() else {
        return Err(short);
    };
    let [
        l0,
        l1,
        l2,
        l3,
        kind,
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        t6,
        t7,
        c0,
        c1,
        c2,
        c3,
    ] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let at = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    if length as usize > PAYLOAD_BYTES_MAX {
        return Err(Unparsed::Damaged);
    }
    let Some(payload) = rest.get(..length as usize) else {
        return Err(Unparsed::Short(BATCH_HEADER_BYTES + length as usize));
    };
    Ok((Parsed { kind, at, payload }, crc))
}

fn checksum(position: Position, length: u32, kind: u8, at: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&position.segment.to_le_bytes());
    crc.update(&position.offset.to_le_bytes());
    crc.update(&length.to_le_bytes());
    crc.update(&[kind]);
    crc.update(&at.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every prefix of a batch is short, the whole is read back, and no flipped bit passes.
        #[test]
        fn a_batch_is_read_back_or_not_at_all(
            payload in prop::collection::vec(any::<u8>(), 0..64), kind: u8, at: u64,
            segment: u64, offset: u64, flip in 0usize..8,
        ) {
            let position = Position { segment, offset };
            let mut bytes = Vec::new();
            write_batch(&mut bytes, position, kind, at, &payload);
            prop_assert_eq!(read_batch(position, &bytes), Ok(Parsed { kind, at, payload: &payload }));
            for cut in 0..bytes.len() {
                prop_assert!(matches!(read_batch(position, &bytes[..cut]), Err(Unparsed::Short(_))));
            }
            for byte in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[byte] ^= 1 << flip;
                prop_assert!(read_batch(position, &damaged).is_err());
            }
            let elsewhere = Position { segment, offset: offset ^ 1 };
            prop_assert_eq!(read_batch(elsewhere, &bytes), Err(Unparsed::Damaged));
        }

        /// Foreign bytes never panic.
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _judged = (read_segment_header(&bytes), read_batch(Position::default(), &bytes).is_ok());
        }
    }

    #[test]
    fn a_header_says_whose_it_is() {
        let mut ours = Vec::new();
        write_segment_header(&mut ours);
        assert_eq!(ours.len() as u64, SEGMENT_HEADER_BYTES);
        assert_eq!(read_segment_header(&ours), Header::Ours);
        for cut in 0..ours.len() {
            assert_eq!(read_segment_header(&ours[..cut]), Header::Torn, "{cut}");
        }
        assert_eq!(read_segment_header(b"emcospl\x09"), Header::Version(9));
        assert_eq!(read_segment_header(b"\0\0\0\0\0\0\0\0"), Header::Foreign);
    }
}
