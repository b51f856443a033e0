//! What the framer may be told.

use model::line::Stream;

/// How the physical lines of the files look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Written by a container runtime: time, stream and tag before the text ([`crate::cri`]).
    #[default]
    Cri,
    /// Written by the program itself: the line is the text, all of one stream.
    Plain(Stream),
}

/// Limits and patience of a [`crate::Framer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramerSettings {
    /// How physical lines look.
    pub format: Format,
    /// Longest text of one record, in bytes; what is longer is cut into several. At least 1 KiB.
    pub record_bytes_max: usize,
    /// How long an open multi-line record waits for its next line, in nanoseconds.
    pub multiline_wait_nanos: u64,
    /// How long a piece of a line waits for the rest, in nanoseconds.
    pub partial_wait_nanos: u64,
}

impl Default for FramerSettings {
    /// CRI, 1 MiB, 1 s, 5 s.
    fn default() -> Self {
        Self {
            format: Format::Cri,
            record_bytes_max: 1 << 20,
            multiline_wait_nanos: 1_000_000_000,
            partial_wait_nanos: 5_000_000_000,
        }
    }
}
