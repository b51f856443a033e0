//! Keys of the schema as they are written, found by the place of their text.
//!
//! A key is a constant of the program and comes with nearly every document: its place is quicker to
//! compare than its text, and a written key of a fixed size is quicker to copy.

use crate::msgpack;

/// A power of two; the schema has about sixty keys.
const SLOTS: usize = 256;
/// Longer ones are written anew each time; the longest has 35 bytes.
const WRITTEN_BYTES: usize = 40;

/// Written keys. Each has two slots to be in; a third one that wants the same takes the second.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    address: usize,
    bytes: usize,
    written: [u8; WRITTEN_BYTES],
    length: usize,
}

impl Keys {
    /// Appends `key`.
    #[inline]
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, key: &'static str) {
        let [first, second] = places(key);
        let slot = match self.slots.get(first) {
            Some(slot) if slot.is(key) => slot,
            _ => match self.slots.get(second) {
                Some(slot) if slot.is(key) => slot,
                _ => return self.write(out, key),
            },
        };
        let end = out.len() + slot.length;
        out.extend_from_slice(&slot.written);
        out.truncate(end);
    }

    #[cold]
    fn write(&mut self, out: &mut Vec<u8>, key: &'static str) {
        let start = out.len();
        msgpack::push_str(out, key.as_bytes());
        let written = out.get(start..).unwrap_or_default();
        if written.len() > WRITTEN_BYTES {
            return;
        }
        let mut slot = Slot {
            address: key.as_ptr().addr(),
            bytes: key.len(),
            written: [0; WRITTEN_BYTES],
            length: written.len(),
        };
        for (place, byte) in slot.written.iter_mut().zip(written) {
            *place = *byte;
        }
        self.slots.resize(SLOTS, Slot::EMPTY);
        let [first, second] = places(key);
        let is_free = self.slots.get(first).is_some_and(|slot| slot.length == 0);
        let place = if is_free { first } else { second };
        if let Some(place) = self.slots.get_mut(place) {
            *place = slot;
        }
    }
}

impl Slot {
    const EMPTY: Self = Self {
        address: 0,
        bytes: 0,
        written: [0; WRITTEN_BYTES],
        length: 0,
    };

    #[inline]
    fn is(&self, key: &'static str) -> bool {
        self.address == key.as_ptr().addr() && self.bytes == key.len()
    }
}

/// Texts stand one behind the other, so that their addresses differ by a few bytes.
#[inline]
fn places(key: &'static str) -> [usize; 2] {
    let address = key.as_ptr().addr();
    let place = (address ^ address >> 8) % SLOTS;
    [place, place ^ 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_the_same_whatever_came_before() {
        let texts =
            "emco.app emco.app_context_id an-extraordinarily-long-name-for-a-field-of-a-document";
        let mut keys = Keys::default();
        for round in 0..2 {
            for start in 0..texts.len() {
                for end in [
                    start,
                    start + 1,
                    start + 20,
                    start + 31,
                    start + 38,
                    start + 39,
                ] {
                    let Some(key) = texts.get(start..end) else {
                        continue;
                    };
                    let (mut out, mut expected) = (vec![7], vec![7]);
                    keys.push(&mut out, key);
                    msgpack::push_str(&mut expected, key.as_bytes());
                    assert_eq!(out, expected, "{key} in round {round}");
                }
            }
        }
    }
}
