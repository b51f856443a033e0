//! Two checksummed slots that hold one small, often rewritten value.
//!
//! # Layout
//! Slot `g mod 2` of a file, at offset 0 or 4096, holds the value of generation `g`:
//! ```text
//! generation u64 | length u32 | crc32 u32 | value (at most 4080 bytes)      little-endian
//! ```
//! The checksum covers generation, length and value. The intact slot with the higher generation is
//! the value; a write never touches that slot, so a torn write loses only itself.

/// Bytes a slot occupies.
pub(crate) const SLOT_BYTES: u64 = 4096;
const HEADER_BYTES: usize = 16;
/// Longest value.
pub(crate) const VALUE_BYTES_MAX: usize = 4096 - HEADER_BYTES;

/// Finds the newest intact value of a slot file: its generation (0 if there is none) and bytes.
pub(crate) fn newest(file: &[u8]) -> (u64, Option<&[u8]>) {
    let slots = [file, file.get(4096..).unwrap_or_default()];
    let intact = slots.into_iter().filter_map(read);
    match intact.max_by_key(|(generation, _)| *generation) {
        Some((generation, value)) => (generation, Some(value)),
        None => (0, None),
    }
}

/// The bytes of a value of `generation`, and the offset where they go.
pub(crate) fn write(generation: u64, value: &[u8]) -> (u64, Vec<u8>) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let mut slot = Vec::with_capacity(HEADER_BYTES + value.len());
    slot.extend_from_slice(&generation.to_le_bytes());
    slot.extend_from_slice(&length.to_le_bytes());
    slot.extend_from_slice(&checksum(generation, length, value).to_le_bytes());
    slot.extend_from_slice(value);
    (generation % 2 * SLOT_BYTES, slot)
}

fn read(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (generation, rest) = slot.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (generation, length) = (u64::from_le_bytes(*generation), u32::from_le_bytes(*length));
    let value = rest.get(..length as usize)?;
    let intact = value.len() <= VALUE_BYTES_MAX
        && generation > 0
        && u32::from_le_bytes(*crc) == checksum(generation, length, value);
    intact.then_some((generation, value))
}

fn checksum(generation: u64, length: u32, value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&generation.to_le_bytes());
    crc.update(&length.to_le_bytes());
    crc.update(value);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A write that is cut at any byte leaves the value before it.
        #[test]
        fn a_torn_write_loses_only_itself(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..48), 1..6),
        ) {
            let mut file: Vec<u8> = Vec::new();
            let put = |file: &mut Vec<u8>, (offset, bytes): (u64, Vec<u8>), cut: usize| {
                let start = usize::try_from(offset).unwrap();
                file.resize(file.len().max(start + cut), 0);
                file[start..start + cut].copy_from_slice(&bytes[..cut]);
            };
            for (generation, value) in (1..).zip(&values) {
                let slot = write(generation, value);
                let whole = slot.1.len();
                put(&mut file, slot, whole);
            }
            let generation = values.len() as u64;
            let last = values.last().map(Vec::as_slice);
            prop_assert_eq!(newest(&file), (generation, last));
            let torn = write(generation + 1, b"never completely written");
            let mut whole = file.clone();
            put(&mut whole, torn.clone(), torn.1.len());
            for cut in 0..torn.1.len() {
                let mut file = file.clone();
                put(&mut file, torn.clone(), cut);
                // The bytes that were not written may have been there by chance.
                if file != whole {
                    prop_assert_eq!(newest(&file), (generation, last));
                }
            }
        }
    }
}
