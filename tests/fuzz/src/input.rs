//! Decisions taken from what the fuzzer gives.

/// The bytes of one run. Decisions come off the end, so that a file of the format under test is a
/// good first input as it is.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// A number below 256; 0 when nothing is left.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((last, rest)) = self.rest.split_last() else {
            return 0;
        };
        self.rest = rest;
        *last
    }

    /// A number below 65 536.
    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of several things.
    pub(crate) fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[usize::from(self.byte()) % things.len()]
    }

    /// What no decision was made of.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Cuts `bytes` at each `0xff`, which stands in no text.
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0xff)
}
