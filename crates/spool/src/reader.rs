//! Reading batches in order, one at a time, in bounded memory.

use crate::error::Error;
use crate::format::{
    self, BATCH_HEADER_BYTES, Header, Parsed, Position, SEGMENT_HEADER_BYTES, Unparsed,
};
use crate::queue::{Spool, State};
use crate::recovery::describe;
use crate::storage::{Directory, Storage};

const CHUNK_BYTES: u64 = 128 << 10;
// What a reader keeps allocated while it has nothing to read.
const IDLE_BYTES_KEPT: usize = 16 << 10;

/// One batch of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Where it stands.
    pub position: Position,
    /// Where the batch after it stands at the least.
    pub next: Position,
    /// The writer's word for what it is.
    pub kind: u8,
    /// Its time in the writer's unit.
    pub at: u64,
    /// What was appended.
    pub payload: &'a [u8],
    /// Damaged places this reader has skipped so far.
    pub damages: u64,
}

/// A cursor over a queue. It sees batches that are appended after it was made; batches that are
/// trimmed before it comes to them are passed over.
pub struct Reader<S: Storage = Directory> {
    spool: Spool<S>,
    position: Position,
    // The readable end of the segment as last seen, so that the queue is asked once a chunk.
    length: u64,
    checked: Option<u64>,
    damages: u64,
    window: Window,
}

impl<S: Storage> Reader<S> {
    pub(crate) fn new(spool: Spool<S>, from: Position) -> Self {
        Self {
            spool,
            position: Position {
                offset: from.offset.max(SEGMENT_HEADER_BYTES),
                ..from
            },
            length: 0,
            checked: None,
            damages: 0,
            window: Window::default(),
        }
    }

    /// Where the next batch stands at the least.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes back to a batch that was read before, which costs nothing if it was the last one. What
    /// is not in the segment that is read now is left alone.
    pub fn go_back(&mut self, position: Position) {
        if position.segment == self.position.segment && position < self.position {
            self.position = position;
        }
    }

    /// How many damaged places were skipped so far.
    pub fn damages(&self) -> u64 {
        self.damages
    }

    /// The next batch; `None` when there is none now.
    ///
    /// # Errors
    /// When a segment cannot be read; calling again tries again. Damage is no error: the rest of its
    /// segment is skipped, counted and logged.
    #[expect(
        clippy::should_implement_trait,
        reason = "lends from itself and can fail"
    )]
    pub fn next(&mut self) -> Result<Option<Batch<'_>>, Error> {
        let Some(bytes) = self.find()? else {
            self.window.idle();
            return Ok(None);
        };
        let position = self.position;
        self.position.offset += bytes;
        let Ok(parsed) = self.window.checked(position) else {
            return Ok(None);
        };
        Ok(Some(Batch {
            position,
            next: self.position,
            kind: parsed.kind,
            at: parsed.at,
            payload: parsed.payload,
            damages: self.damages,
        }))
    }

    /// Moves to the next readable batch and returns its size on disk.
    fn find(&mut self) -> Result<Option<u64>, Error> {
        loop {
            if self.position.offset >= self.length || self.checked != Some(self.position.segment) {
                if !self.enter()? {
                    return Ok(None);
                }
                continue;
            }
            let mut state = self.spool.lock();
            if let Ok(batch) = self.window.batch(&mut *state, self.position, self.length)? {
                let bytes = (BATCH_HEADER_BYTES + batch.payload.len()) as u64;
                return Ok(Some(bytes));
            }
            state.metrics.damaged.inc();
            drop(state);
            self.skip_rest();
        }
    }

    /// Makes sure that the position is inside a readable segment; `false` if nothing is left.
    fn enter(&mut self) -> Result<bool, Error> {
        let mut state = self.spool.lock();
        let segment = self.position.segment;
        if self.checked == Some(segment) {
            let length = state.length(segment).unwrap_or(0);
            if length > self.position.offset {
                self.length = length;
                return Ok(true);
            }
        } else if state.length(segment) >= Some(SEGMENT_HEADER_BYTES) {
            let header = state.check_header(segment)?;
            self.checked = Some(segment);
            if header == Header::Ours {
                self.length = 0;
                return Ok(true);
            }
            state.metrics.damaged.inc();
            self.damages += 1;
            tracing::warn!(note = describe(segment, &header), "spool segment skipped");
            self.position.offset = u64::MAX;
            return Ok(true);
        }
        let Some(next) = state.after(segment) else {
            return Ok(false);
        };
        if self.checked != Some(segment) && state.length(segment).is_some() {
            // Segments are made with their first batch: this one has lost it.
            state.metrics.damaged.inc();
            self.damages += 1;
            tracing::warn!(segment, "spool segment is cut, it is skipped");
        }
        self.position = Position {
            segment: next,
            offset: SEGMENT_HEADER_BYTES,
        };
        self.checked = None;
        self.length = 0;
        Ok(true)
    }

    fn skip_rest(&mut self) {
        self.damages += 1;
        tracing::warn!(
            segment = self.position.segment,
            offset = self.position.offset,
            "spool segment is damaged, its rest is skipped"
        );
        self.position.offset = u64::MAX;
    }
}

/// A run of bytes of one segment, refilled as batches are taken from it.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: Position,
    /// The batch here was whole when it was looked at last.
    whole: Option<Position>,
}

impl Window {
    /// The batch at `position` of a segment that is readable up to `length`, reading more if needed.
    pub(crate) fn batch<S: Storage>(
        &mut self,
        state: &mut State<S>,
        position: Position,
        length: u64,
    ) -> Result<Result<Parsed<'_>, Unparsed>, Error> {
        if self.whole == Some(position) {
            return Ok(self.checked(position));
        }
        self.whole = None;
        loop {
            let needed = match self.parsed(position) {
                Ok(_) => break,
                Err(Unparsed::Short(needed)) => needed,
                Err(damaged) => return Ok(Err(damaged)),
            };
            let left = length.saturating_sub(position.offset);
            if needed as u64 > left {
                return Ok(Err(Unparsed::Short(needed)));
            }
            let wanted = (needed as u64).max(CHUNK_BYTES).min(left);
            let held = self.skip_to(position);
            self.buffer.resize(usize::try_from(wanted).unwrap_or(0), 0);
            let rest = self.buffer.get_mut(held..).unwrap_or_default();
            let offset = position.offset + held as u64;
            let read = state.read_at(position.segment, offset, rest);
            self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(Err(Unparsed::Short(needed)));
            }
        }
        self.whole = Some(position);
        Ok(self.checked(position))
    }

    /// The batch at `position` as far as it is in the buffer.
    fn parsed(&self, position: Position) -> Result<Parsed<'_>, Unparsed> {
        format::read_batch(position, self.held(position))
    }

    /// The same, of one that [`Window::batch`] answered last.
    fn checked(&self, position: Position) -> Result<Parsed<'_>, Unparsed> {
        format::read_checked_batch(self.held(position))
    }

    fn held(&self, position: Position) -> &[u8] {
        let before = position.offset.checked_sub(self.start.offset);
        before
            .filter(|_| self.start.segment == position.segment)
            .and_then(|before| self.buffer.get(usize::try_from(before).ok()?..))
            .unwrap_or_default()
    }

    /// Moves what is held from `position` on to the front; returns how much that is.
    fn skip_to(&mut self, position: Position) -> usize {
        let held = self.held(position).len();
        let from = self.buffer.len() - held;
        self.buffer.drain(..from);
        self.start = position;
        held
    }

    fn idle(&mut self) {
        self.whole = None;
        self.buffer.clear();
        self.buffer.shrink_to(IDLE_BYTES_KEPT);
    }
}
