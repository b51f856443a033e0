//! The order queue: lines wait here for their verdict and enter the verdict log in the order read.
//!
//! The ledger decides lines late and out of order; lanes get the lines of one container in the order
//! they were printed. So each container has a queue: a line is *offered* when it is read, *decided*
//! when its verdict is known, and the decided lines at the front of each queue are *drained* into
//! the log. The queue is bounded: when it is full the caller stops reading until something drained.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use model::verdict::Verdict;

use crate::entry::{LineEntry, RequestEntry};
use crate::error::Error;
use crate::metrics::HeadMetrics;
use crate::tally::Cell;
use crate::verdict_log::VerdictLog;

// A line moves at most so many numbers.
const MARKS_MAX: usize = 3;
// A queue that grew beyond this many lines gives its memory back when it is empty.
const IDLE_LINES_KEPT: usize = 64;

/// Numbers the containers of one sidecar, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Container(pub u16);

/// Stands for a line that waits for its verdict: its container in the upper 16 bits, behind them its
/// number in the container, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(NonZeroU64);

impl Ticket {
    /// Bits of the number: at a million lines a second they last for nine years.
    const NUMBER_BITS: u32 = 48;

    fn new(container: Container, number: u64) -> Self {
        let number = (number + 1) & ((1 << Self::NUMBER_BITS) - 1);
        let ticket = u64::from(container.0) << Self::NUMBER_BITS | number;
        Self(NonZeroU64::new(ticket).unwrap_or(NonZeroU64::MIN))
    }

    const fn container(self) -> usize {
        (self.0.get() >> Self::NUMBER_BITS) as usize
    }

    const fn number(self) -> u64 {
        (self.0.get() & ((1 << Self::NUMBER_BITS) - 1)) - 1
    }
}

/// The queue is full; here is the line again.
#[derive(Debug, thiserror::Error)]
#[error("order queue is full with {lines} lines")]
pub struct Full {
    /// Lines that wait.
    pub lines: usize,
    /// The line that was offered.
    pub line: Box<LineEntry>,
}

/// Lines of all containers that wait for their verdict.
#[derive(Debug)]
pub struct OrderQueue {
    queues: Vec<Queue>,
    lines: usize,
    lines_max: usize,
    /// Lines and requests that were appended to the log's buffer, and are not known to be written.
    unwritten: u64,
    metrics: HeadMetrics,
}

#[derive(Debug, Default)]
struct Queue {
    // Number of the line at the front.
    front: u64,
    lines: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    line: LineEntry,
    decided: bool,
    // Numbers of the log's tally that the line moves by one when it is appended.
    marks: [Option<Cell>; MARKS_MAX],
}

impl OrderQueue {
    /// Makes an empty queue for at most `lines_max` lines.
    pub fn new(lines_max: usize, metrics: HeadMetrics) -> Self {
        Self {
            queues: Vec::new(),
            lines: 0,
            lines_max,
            unwritten: 0,
            metrics,
        }
    }

    /// Puts a line at the end of its container's queue. Its verdict is filled in by
    /// [`OrderQueue::decide`].
    ///
    /// # Errors
    /// [`Full`] with the line; offer it again after [`OrderQueue::drain`].
    pub fn offer(&mut self, container: Container, line: LineEntry) -> Result<Ticket, Full> {
        self.push(container, line, false)
    }

    /// Puts a line whose verdict is known already at the end of its container's queue.
    ///
    /// # Errors
    /// As [`OrderQueue::offer`].
    pub fn offer_decided(&mut self, container: Container, line: LineEntry) -> Result<(), Full> {
        self.push(container, line, true).map(|_| ())
    }

    /// Has `cell` of the log's tally moved by one in the write that has the line; at most three
    /// cells a line.
    pub fn count(&mut self, ticket: Ticket, cell: Cell) {
        let marks = self.waiting(ticket).map(|waiting| &mut waiting.marks);
        let free = marks.and_then(|marks| marks.iter_mut().find(|mark| mark.is_none()));
        if let Some(free) = free {
            *free = Some(cell);
        }
    }

    /// Fills in the verdict of a line. The first verdict stays; tickets of drained lines are
    /// ignored.
    pub fn decide(&mut self, ticket: Ticket, verdict: Verdict) {
        let waiting = self.waiting(ticket);
        if let Some(waiting) = waiting.filter(|waiting| !waiting.decided) {
            waiting.line.verdict = verdict;
            waiting.decided = true;
        }
    }

    /// Appends the decided lines at the front of every queue to the log's buffer (which the caller
    /// flushes) and returns how many they were.
    ///
    /// # Errors
    /// [`Error::Full`] or a failed write; what was not appended stays in the queue.
    pub fn drain(&mut self, log: &mut VerdictLog) -> Result<usize, Error> {
        let before = self.lines;
        let drained = self
            .queues
            .iter_mut()
            .try_for_each(|queue| queue.drain(&mut self.lines, log));
        let count = before - self.lines;
        self.unwritten += count as u64;
        self.gauge();
        drained.map(|()| count)
    }

    /// Appends a request document to the log's buffer. Requests wait for nothing and keep no order
    /// with lines.
    ///
    /// # Errors
    /// [`Error::Full`] or a failed write; nothing was appended or counted.
    pub fn request(&mut self, log: &mut VerdictLog, request: &RequestEntry) -> Result<(), Error> {
        log.append_request(request)?;
        self.metrics.read.inc();
        self.unwritten += 1;
        Ok(())
    }

    /// Drains the queue and writes the log, with the numbers of its tally.
    ///
    /// # Errors
    /// [`Error::Full`] or a failed write, which is counted; what was not written stays in the queue or in
    /// the log's buffer.
    pub fn write(&mut self, log: &mut VerdictLog) -> Result<(), Error> {
        let written = self.drain(log).and_then(|_| log.flush_tally());
        match &written {
            Ok(()) => {
                let logged = std::mem::take(&mut self.unwritten);
                self.metrics.logged.inc_by(logged);
            }
            Err(Error::Full) => {}
            Err(_) => self.metrics.failed.inc(),
        }
        written
    }

    /// Lines that wait, decided or not.
    pub fn len(&self) -> usize {
        self.lines
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Lines that can be offered before the queue is full.
    pub fn room(&self) -> usize {
        self.lines_max.saturating_sub(self.lines)
    }

    fn waiting(&mut self, ticket: Ticket) -> Option<&mut Waiting> {
        let queue = self.queues.get_mut(ticket.container())?;
        let place = ticket.number().checked_sub(queue.front)?;
        queue.lines.get_mut(usize::try_from(place).ok()?)
    }

    fn push(
        &mut self,
        container: Container,
        line: LineEntry,
        decided: bool,
    ) -> Result<Ticket, Full> {
        if self.lines >= self.lines_max {
            return Err(Full {
                lines: self.lines,
                line: Box::new(line),
            });
        }
        let place = usize::from(container.0);
        if self.queues.len() <= place {
            self.queues.resize_with(place + 1, Queue::default);
        }
        let mut number = 0;
        if let Some(queue) = self.queues.get_mut(place) {
            number = queue.front + queue.lines.len() as u64;
            queue.lines.push_back(Waiting {
                line,
                decided,
                marks: [None; MARKS_MAX],
            });
        }
        self.lines += 1;
        self.metrics.read.inc();
        self.gauge();
        Ok(Ticket::new(container, number))
    }

    fn gauge(&self) {
        let lines = i64::try_from(self.lines).unwrap_or(i64::MAX);
        self.metrics.waiting.set(lines);
    }
}

impl Waiting {
    fn append(&self, log: &mut VerdictLog) -> Result<(), Error> {
        log.append_line(&self.line)?;
        for cell in self.marks.iter().flatten() {
            log.tally_mut().add(*cell, 1);
        }
        Ok(())
    }
}

impl Queue {
    fn drain(&mut self, lines: &mut usize, log: &mut VerdictLog) -> Result<(), Error> {
        let mut appended = 0;
        let decided = self.lines.iter().take_while(|waiting| waiting.decided);
        let result = decided
            .map(|waiting| waiting.append(log))
            .try_for_each(|done| {
                appended += usize::from(done.is_ok());
                done
            });
        // all at once: to take them one by one would move each
        self.lines.drain(..appended);
        self.front += appended as u64;
        *lines -= appended;
        if self.lines.is_empty() {
            self.lines.shrink_to(IDLE_LINES_KEPT);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use model::line::Extent;
    use proptest::prelude::*;
    use spool::{Limits, QueueMetrics};

    use super::*;
    use crate::entry::{Entry, Part};
    use crate::metrics::Metrics;

    fn queue(lines_max: usize) -> OrderQueue {
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        OrderQueue::new(lines_max, metrics.head(0))
    }

    fn line(container: u16, number: u64) -> LineEntry {
        let offset = u64::from(container) << 32 | number;
        let extent = Extent { offset, bytes: 1 };
        LineEntry {
            first: Part {
                extent,
                ..Part::default()
            },
            ..LineEntry::default()
        }
    }

    proptest! {
        /// Decided in any order, lines leave in the order of their container, each once, and as soon
        /// as those before them are decided.
        #[test]
        fn lines_leave_in_the_order_they_came(
            steps in prop::collection::vec((any::<bool>(), 0u16..3, any::<prop::sample::Index>()), 1..80),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let limits = Limits::default();
            let (mut log, _) =
                VerdictLog::open(dir.path(), limits, &["lane"], QueueMetrics::default()).unwrap();
            let mut order = queue(20);
            let mut open: Vec<(u16, u64, Ticket)> = Vec::new();
            let mut offered = [0; 3];
            let mut drained = 0;
            for (offer, container, which) in steps {
                if offer {
                    let number = offered[usize::from(container)];
                    match order.offer(Container(container), line(container, number)) {
                        Ok(ticket) => {
                            offered[usize::from(container)] += 1;
                            open.push((container, number, ticket));
                        }
                        Err(full) => {
                            prop_assert_eq!((order.room(), full.lines), (0, 20));
                            prop_assert_eq!(*full.line, line(container, number));
                        }
                    }
                } else if !open.is_empty() {
                    let (_, _, ticket) = open.remove(which.index(open.len()));
                    order.decide(ticket, Verdict::default());
                }
                drained += order.drain(&mut log).unwrap();
                for container in 0..3 {
                    let waits = open.iter().filter(|line| line.0 == container).map(|line| line.1);
                    let first = waits.min().unwrap_or(offered[usize::from(container)]);
                    let left = order.queues.get(usize::from(container)).map_or(0, |queue| queue.front);
                    prop_assert_eq!(left, first);
                }
                prop_assert_eq!(drained + order.len(), usize::try_from(offered.iter().sum::<u64>()).unwrap());
            }
            log.flush().unwrap();
            let mut reader = log.reader("lane").unwrap();
            let mut next = [0; 3];
            while let Some((_, Entry::Line(found))) = reader.next().unwrap() {
                let container = usize::try_from(found.first.extent.offset >> 32).unwrap();
                let expected = line(u16::try_from(container).unwrap(), next[container]);
                prop_assert_eq!(found.first, expected.first);
                next[container] += 1;
            }
            prop_assert_eq!(next.iter().sum::<u64>(), drained as u64);
        }
    }

    #[test]
    fn the_first_verdict_stays_and_late_ones_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let (mut log, _) =
            VerdictLog::open(dir.path(), limits, &["lane"], QueueMetrics::default()).unwrap();
        let mut order = queue(4);
        let ticket = order.offer(Container(1), line(1, 0)).unwrap();
        let first = Verdict {
            rule: model::verdict::Rule::Time,
            ..Verdict::default()
        };
        order.decide(ticket, first.clone());
        order.decide(ticket, Verdict::default());
        assert_eq!(order.drain(&mut log).unwrap(), 1);
        order.decide(ticket, Verdict::default());
        order.offer_decided(Container(1), line(1, 1)).unwrap();
        assert_eq!(order.drain(&mut log).unwrap(), 1);
        log.flush().unwrap();
        let mut reader = log.reader("lane").unwrap();
        let (_, entry) = reader.next().unwrap().unwrap();
        assert!(matches!(entry, Entry::Line(line) if line.verdict == first));
        assert!(order.is_empty());
    }
}
