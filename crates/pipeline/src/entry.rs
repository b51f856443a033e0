//! What the verdict log holds: files, lines and requests with their verdicts, and positions.

use model::document::RequestSummary;
use model::ids::{DocumentId, FileKey, SpanId};
use model::line::{Extent, Stream};
use model::time::{Day, UnixNanos};
use model::verdict::Verdict;

/// Names a file in the verdict log; never given to another file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(pub u32);

/// A log file as the verdict log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileEntry {
    /// Its identity.
    pub key: FileKey,
    /// The container that wrote it (plain files: the name its origin is configured under).
    pub container: String,
    /// The container's restart count.
    pub restart: u32,
    /// Where it was last seen: a hint, the key decides.
    pub path: String,
    /// When it was first seen; home day of lines without a CRI time.
    pub first_seen_day: Day,
}

/// Bytes of one file that belong to a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub file: FileIndex,
    /// The bytes.
    pub extent: Extent,
}

/// A log record: where its text is and whom it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEntry {
    /// Where it begins; its document id follows from this.
    pub first: Part,
    /// Where it goes on: further physical lines that are not contiguous, maybe in another file.
    pub rest: Vec<Part>,
    /// CRI time of its first physical line.
    pub time: UnixNanos,
    /// Day whose index it lives in.
    pub home: Day,
    /// The stream it came from.
    pub stream: Stream,
    /// Whether it is a `P` part that no `F` followed.
    pub partial: bool,
    /// Whether it is one piece of a line that was too long for one record.
    pub split: bool,
    /// What was concluded about it.
    pub verdict: Verdict,
}

/// A request document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEntry {
    /// Its identity.
    pub id: DocumentId,
    /// Its proxy's span, where that is known beside [`RequestEntry::id`]: the request was told of
    /// under that, or will be.
    pub front: Option<SpanId>,
    /// The span that caused it, where its proxy's is not known: a record of a proxy that comes later
    /// under this span is of the same request.
    pub parent: Option<SpanId>,
    /// Day whose index it lives in.
    pub home: Day,
    /// Its `@timestamp`.
    pub time: UnixNanos,
    /// The container whose service saw it, as in [`FileEntry::container`].
    pub container: String,
    /// The request.
    pub summary: RequestSummary,
    /// Whom it belongs to.
    pub verdict: Verdict,
}

/// One entry of the verdict log, as lanes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A log record.
    Line(&'a LineEntry),
    /// A request document.
    Request(&'a RequestEntry),
}

impl Entry<'_> {
    /// When it happened.
    pub const fn time(&self) -> UnixNanos {
        match self {
            Self::Line(line) => line.time,
            Self::Request(request) => request.time,
        }
    }
}

/// How far a reader has come: right after an entry.
///
/// Positions are compared by their sequence alone: the end of one batch is the start of the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// The batch that holds the entry.
    pub batch: spool::Position,
    /// Entries appended since the log was first made, up to and with this one.
    pub sequence: u64,
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.sequence.cmp(&other.sequence)
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Position {}

/// What became of the entries a lane is done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The destination took them.
    pub delivered: u64,
    /// The destination had them already.
    pub duplicates: u64,
    /// Written to the dead-letter file.
    pub dead_lettered: u64,
    /// Dropped for a counted reason, e.g. the log file is gone.
    pub dropped: u64,
}

impl Totals {
    /// All of them.
    pub const fn sum(&self) -> u64 {
        self.delivered + self.duplicates + self.dead_lettered + self.dropped
    }

    /// Adds another count to this one.
    pub const fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
        self.dropped += other.dropped;
    }
}
