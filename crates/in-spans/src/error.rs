//! What can go wrong, as sentences.

use std::fmt;

/// Where and why a text is not a JSON array of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the byte that cannot be, counted from the start of the text.
    pub at: u64,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It ends in the middle.
    End,
    /// Something else had to stand here.
    Expected(&'static str),
    /// A string with a control character, a bad escape or bytes that are not UTF-8.
    Text,
    /// Values nested deeper than 127.
    Depth,
    /// One span longer than 8 MiB.
    SpanTooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.kind {
            FaultKind::End => write!(f, "the text ends in the middle of a value, at byte {at}"),
            FaultKind::Expected(what) => write!(f, "{what} was expected at byte {at}"),
            FaultKind::Text => write!(
                f,
                "the string around byte {at} has a control character, a bad escape or bytes that are not UTF-8"
            ),
            FaultKind::Depth => write!(f, "values are nested too deeply at byte {at}"),
            FaultKind::SpanTooLong => write!(f, "the span at byte {at} is longer than 8 MiB"),
        }
    }
}

/// Why a body was not taken, or a journal record could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a JSON array of spans.
    #[error("the body is not a JSON array of spans: {0}")]
    NotSpans(Fault),
    /// It broke off, is too long, or is not compressed as it says.
    #[error("the body could not be read")]
    Body(#[source] net::Error),
    /// The sender paused for too long, or the body took too long as a whole.
    #[error("the body did not arrive in time")]
    Slow,
    /// A journal record of a version or kind that this program does not read.
    #[error("reading a journal record of kind {kind} and version {version}, which is not known")]
    Record {
        /// Its kind.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// A journal record whose content is damaged.
    #[error("reading a journal record of spans: {0}")]
    Damaged(Fault),
    /// The spool could not be read.
    #[error("reading spans back from the spool")]
    Spool(#[source] spool::Error),
}
