//! Batches of spans, out of the records of the store.

use in_spans::{FormId, Forms, KIND_SPANS, RawSpan, SpanRun, SpanScratch};
use model::time::UnixNanos;
use out_otlp::{Batch, Rule, Rules, Words};
use spool::Reader;

use crate::span_fates::{Becomes, Fate, Record};
use crate::span_lookup::LedgerLookup;
use crate::span_store::{Cursor, SpanStore, Taken};

/// Spans looked at in one go, those that are dropped included.
const LOOK_MAX: u64 = 4_096;

/// Spans of so many bytes are enough for a batch, however few they are: as they came, which is more than
/// they are on their way out.
const BYTES_MAX: usize = 1 << 20;

/// Makes batches, each from where the store's cursor is.
pub(crate) struct Batches {
    store: SpanStore,
    words: Words,
    scratch: SpanScratch,
    forms: Forms,
    lookup: LedgerLookup,
    /// Stands at the cursor.
    reader: Option<Reader>,
}

/// What may be in a batch.
pub(crate) struct Take<'a> {
    /// Spans that arrived later have to wait.
    pub(crate) due: UnixNanos,
    /// Most spans of it.
    pub(crate) limit: usize,
    /// Spans that these drop are not in it.
    pub(crate) rules: &'a mut Rules,
}

/// What there is to do.
pub(crate) enum Next {
    /// These spans are done with when the batch is.
    Batch {
        /// What is exported.
        batch: Batch,
        /// Up to where.
        cursor: Cursor,
        /// How many of each segment.
        taken: Taken,
    },
    /// Nothing yet: the next span arrived then.
    Later(UnixNanos),
    /// Nothing at all.
    Nothing,
}

impl Batches {
    pub(crate) fn new(store: SpanStore, lookup: LedgerLookup) -> Self {
        Self {
            store,
            words: Words::default(),
            scratch: SpanScratch::default(),
            forms: Forms::default(),
            lookup,
            reader: None,
        }
    }

    /// The last batch was not done with: its spans come again.
    pub(crate) fn start_again(&mut self) {
        self.reader = None;
    }

    /// Makes the next batch of what is due.
    ///
    /// # Errors
    /// If the spool cannot be read; [`Batches::start_again`] before the next attempt.
    pub(crate) fn next(&mut self, take: Take<'_>) -> Result<Next, spool::Error> {
        self.lookup.refresh();
        let Take { due, limit, rules } = take;
        let waiting = usize::try_from(self.store.waiting()).unwrap_or(limit);
        let mut making = Making::new(self.store.cursor(), limit.min(waiting));
        let mut reader = self.reader.take();
        loop {
            if let Some(record) = self.unread(&making.cursor) {
                if record.at > due.0 {
                    return Ok(making.done_or_later(record.at));
                }
                reader = None;
                self.skip(&record, &mut making);
                if making.is_enough(limit) {
                    return Ok(making.done());
                }
                continue;
            }
            let at = making.cursor.position;
            let reading = reader.get_or_insert_with(|| self.store.spool().reader(at));
            let Some(record) = reading.next()? else {
                break;
            };
            if record.at > due.0 {
                return Ok(making.done_or_later(record.at));
            }
            if making.cursor.position != record.position {
                // what stood here before is gone
                making.cursor = Cursor::at(record.position);
            }
            let segment = record.position.segment;
            if record.kind == KIND_SPANS && self.store.waits(segment) {
                let before = making.seen;
                let whole = match self.store.fates(record.position) {
                    Some(known) => {
                        self.fill_known(record.payload, &known.fates, &mut making, (limit, &*rules))
                    }
                    None => self.fill(record.payload, &mut making, (limit, &mut *rules)),
                };
                making.take(&self.store, segment, making.seen - before);
                if !whole {
                    reading.go_back(making.cursor.position);
                    self.reader = reader;
                    return Ok(making.done());
                }
            }
            making.cursor = Cursor::at(record.next);
            if making.is_enough(limit) {
                self.reader = reader;
                return Ok(making.done());
            }
        }
        if making.is_nothing() {
            return Ok(Next::Nothing);
        }
        Ok(making.done())
    }

    /// The record at the cursor, if it is known that none of its spans has to be read.
    fn unread(&self, cursor: &Cursor) -> Option<Record> {
        if cursor.inside != 0 || !self.store.waits(cursor.position.segment) {
            return None;
        }
        let record = self.store.fates(cursor.position)?;
        record.all_dropped.then_some(record)
    }

    fn skip(&self, record: &Record, making: &mut Making) {
        for fate in record.fates.iter() {
            match fate.of {
                Becomes::Dropped(rule) | Becomes::Kept(rule) => making.batch.noise(rule, false),
                Becomes::Nameless | Becomes::Wanted => making.batch.no_ids(),
            }
        }
        let spans = record.fates.len() as u64;
        making.seen += spans;
        making.take(&self.store, record.position.segment, spans);
        making.cursor = Cursor::at(record.next);
    }

    /// Puts the spans of a record into the batch that were not dropped when they came; answers
    /// whether all had room.
    fn fill_known(
        &mut self,
        payload: &[u8],
        fates: &[Fate],
        making: &mut Making,
        (limit, rules): (usize, &Rules),
    ) -> bool {
        let mut run = match SpanRun::new(payload, 0) {
            Ok(run) => run,
            Err(error) => return unreadable(&error),
        };
        let inside = making.cursor.inside;
        for fate in fates.iter().skip_while(|fate| fate.at < inside) {
            let kept = match fate.of {
                Becomes::Dropped(rule) => {
                    making.batch.noise(rule, false);
                    making.seen += 1;
                    continue;
                }
                Becomes::Nameless => {
                    making.batch.no_ids();
                    making.seen += 1;
                    continue;
                }
                Becomes::Kept(rule) => Some((rule, true)),
                Becomes::Wanted => None,
            };
            run.go_to(fate.at);
            let raw = match run.next_formed(&mut self.forms) {
                Ok(Some(raw)) => raw,
                Ok(None) => return true,
                Err(error) => return unreadable(&error),
            };
            let Some(facts) = raw.brief(run.run(), &mut self.scratch) else {
                making.batch.no_ids();
                making.seen += 1;
                continue;
            };
            if making.is_enough(limit) || !making.batch.is_of(facts.service) {
                making.cursor.inside = fate.at;
                return false;
            }
            let noise = rules.late(&facts, &self.lookup).or(kept);
            making.seen += 1;
            self.put(&run, &raw, noise, making);
        }
        true
    }

    /// Puts the spans of a record into the batch; answers whether all had room.
    fn fill(
        &mut self,
        payload: &[u8],
        making: &mut Making,
        (limit, rules): (usize, &mut Rules),
    ) -> bool {
        let mut run = match SpanRun::new(payload, making.cursor.inside) {
            Ok(run) => run,
            Err(error) => return unreadable(&error),
        };
        loop {
            let here = run.offset();
            let raw = match run.next_formed(&mut self.forms) {
                Ok(Some(raw)) => raw,
                Ok(None) => return true,
                Err(error) => return unreadable(&error),
            };
            let facts = raw.brief(run.run(), &mut self.scratch);
            let fits = facts
                .as_ref()
                .is_none_or(|span| making.batch.is_of(span.service));
            if making.is_enough(limit) || !fits {
                making.cursor.inside = here;
                return false;
            }
            making.seen += 1;
            let Some(facts) = facts else {
                making.batch.no_ids();
                continue;
            };
            let noise = rules.judge(&facts, &self.lookup);
            self.put(&run, &raw, noise, making);
        }
    }

    fn put(
        &mut self,
        run: &SpanRun<'_>,
        raw: &RawSpan,
        noise: Option<(Rule, bool)>,
        making: &mut Making,
    ) {
        if let Some((rule, kept)) = noise {
            making.batch.noise(rule, kept);
            if !kept {
                return;
            }
        }
        making.bytes += run.last_bytes();
        let (batch, words, lookup) = (&mut making.batch, &mut self.words, &self.lookup);
        let Some(form) = run.form().map(FormId::number) else {
            if let Some(span) = run.whole(raw) {
                batch.push(&span, words, lookup);
            }
            return;
        };
        let span = if words.know(form) {
            run.outline(raw)
        } else {
            run.whole(raw)
        };
        if let Some(span) = span {
            batch.push_formed(&span, form, words, lookup);
        }
    }
}

/// What cannot be read is passed by, and counted when the cursor is behind it.
fn unreadable(error: &in_spans::Error) -> bool {
    tracing::error!(error = net::chain(error), "spans on disk are not readable");
    true
}

/// A batch in the making.
struct Making {
    batch: Batch,
    cursor: Cursor,
    taken: Taken,
    seen: u64,
    /// Bytes of the spans in the batch.
    bytes: usize,
    from: Cursor,
}

impl Making {
    fn new(cursor: Cursor, room: usize) -> Self {
        Self {
            batch: Batch::with_room(room),
            cursor,
            taken: Taken::new(),
            seen: 0,
            bytes: 0,
            from: cursor,
        }
    }

    /// Whether there is nothing to send and nothing to step over.
    fn is_nothing(&self) -> bool {
        self.seen == 0 && self.cursor == self.from
    }

    fn is_enough(&self, limit: usize) -> bool {
        self.batch.len() >= limit || self.bytes >= BYTES_MAX || self.seen >= LOOK_MAX
    }

    fn take(&mut self, store: &SpanStore, segment: u64, spans: u64) {
        store.take(segment, spans);
        self.taken.push((segment, spans));
    }

    /// What comes next is not due.
    fn done_or_later(self, at: u64) -> Next {
        if self.is_nothing() {
            return Next::Later(UnixNanos(at));
        }
        self.done()
    }

    fn done(self) -> Next {
        Next::Batch {
            batch: self.batch,
            cursor: self.cursor,
            taken: self.taken,
        }
    }
}
