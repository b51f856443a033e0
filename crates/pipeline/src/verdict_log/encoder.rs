//! Writes items; the layout is in the header of [`super`].

use std::collections::HashMap;
use std::hash::Hash;

use model::ids::{DocumentId, SpanId, TraceId};
use model::line::Stream;
use model::time::{Day, UnixNanos};
use model::verdict::{CANDIDATES_MAX, Rule, User, Verdict};

use crate::entry::{FileEntry, FileIndex, LineEntry, RequestEntry};
use crate::varint::{push, push_delta, push_text};
use crate::verdict_log::format::{
    LINE_FOLLOWS, LINE_MORE_PARTS, LINE_PARTIAL, LINE_SAME_VERDICT, LINE_SPLIT, LINE_STDOUT,
    OUTCOMES, Previous, REQUEST_FRONT, REQUEST_PARENT, SOURCES, TAG_FILE, TAG_LINE, TAG_REQUEST,
    TAG_RETIRED, VERDICT_CANDIDATES, VERDICT_INFERRED, VERDICT_INFERRED_USER, VERDICT_SPAN,
    VERDICT_TRACE, VERDICT_USER, position, write_file, write_summary,
};

/// Values seen in this batch: written once, then by number (from 1; 0 announces a new one).
#[derive(Debug)]
struct Interned<T>(HashMap<T, u64>);

impl<T: Eq + Hash> Interned<T> {
    /// Writes the number of `value`; answers whether the value itself must follow.
    fn push(&mut self, out: &mut Vec<u8>, value: T) -> bool {
        let next = self.0.len() as u64 + 1;
        let number = *self.0.entry(value).or_insert(next);
        push(out, if number == next { 0 } else { number });
        number == next
    }
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Writes items one after another.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) items: Vec<u8>,
    pub(super) count: u64,
    pub(super) newest: UnixNanos,
    previous: Previous,
    /// The verdict of the item before.
    verdict: Verdict,
    traces: Interned<TraceId>,
    spans: Interned<SpanId>,
    users: Interned<User>,
}

impl Encoder {
    pub(super) fn line(&mut self, line: &LineEntry) {
        let follows = self.count > 0
            && line.first.file == self.previous.file
            && line.first.extent.offset == self.previous.end;
        let same = self.count > 0 && line.verdict == self.verdict;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        self.items.push(
            TAG_LINE
                | flag(line.stream == Stream::Stdout, LINE_STDOUT)
                | flag(line.partial, LINE_PARTIAL)
                | flag(line.split, LINE_SPLIT)
                | flag(!line.rest.is_empty(), LINE_MORE_PARTS)
                | flag(follows, LINE_FOLLOWS)
                | flag(same, LINE_SAME_VERDICT),
        );
        if !follows {
            push(&mut self.items, u64::from(line.first.file.0));
            push(&mut self.items, line.first.extent.offset);
        }
        push(&mut self.items, u64::from(line.first.extent.bytes));
        let mut last = line.first;
        if !line.rest.is_empty() {
            push(&mut self.items, line.rest.len() as u64);
            for part in &line.rest {
                push(&mut self.items, u64::from(part.file.0));
                push_delta(&mut self.items, part.extent.offset, last.extent.end());
                push(&mut self.items, u64::from(part.extent.bytes));
                last = *part;
            }
        }
        self.time(line.time, line.home);
        if !same {
            self.push_verdict(&line.verdict);
            self.verdict.clone_from(&line.verdict);
        }
        self.previous.file = last.file;
        self.previous.end = last.extent.end();
        self.count += 1;
    }

    pub(super) fn request(&mut self, request: &RequestEntry) {
        let front = request.front.map_or(0, |_| REQUEST_FRONT);
        let parent = request.parent.map_or(0, |_| REQUEST_PARENT);
        self.items.push(TAG_REQUEST | front | parent);
        let out = &mut self.items;
        match request.id {
            DocumentId::Line(key, offset) => {
                out.push(0);
                out.extend_from_slice(&key.0);
                push(out, offset);
            }
            DocumentId::Request(trace, span) => {
                out.push(1);
                out.extend_from_slice(&trace.0);
                out.extend_from_slice(&span.0);
            }
        }
        for span in [request.front, request.parent].into_iter().flatten() {
            out.extend_from_slice(&span.0);
        }
        self.time(request.time, request.home);
        push_text(&mut self.items, &request.container);
        write_summary(&mut self.items, &request.summary);
        self.push_verdict(&request.verdict);
        self.verdict.clone_from(&request.verdict);
        // A line that follows must say where it stands.
        self.previous.end = u64::MAX;
        self.count += 1;
    }

    pub(super) fn file(&mut self, index: FileIndex, entry: &FileEntry) {
        self.items.push(TAG_FILE);
        push(&mut self.items, u64::from(index.0));
        write_file(&mut self.items, entry);
    }

    pub(super) fn retired(&mut self, index: FileIndex) {
        self.items.push(TAG_RETIRED);
        push(&mut self.items, u64::from(index.0));
    }

    /// Makes the encoder ready for the next batch; keeps its memory.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.count = 0;
        self.newest = UnixNanos::default();
        self.previous = Previous::default();
        self.verdict = Verdict::default();
        self.traces.0.clear();
        self.spans.0.clear();
        self.users.0.clear();
    }

    fn time(&mut self, time: UnixNanos, home: Day) {
        push_delta(&mut self.items, time.0, self.previous.time);
        push_delta(&mut self.items, u64::from(home.0), u64::from(time.day().0));
        self.previous.time = time.0;
        self.newest = self.newest.max(time);
    }

    fn push_verdict(&mut self, verdict: &Verdict) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let inferred_user = matches!(verdict.inferred, Some((_, Some(_))));
        self.items.push(
            position(&OUTCOMES, &verdict.outcome)
                | flag(verdict.trace.is_some(), VERDICT_TRACE)
                | flag(verdict.span.is_some(), VERDICT_SPAN)
                | flag(verdict.user.is_some(), VERDICT_USER)
                | flag(!verdict.candidates.is_empty(), VERDICT_CANDIDATES)
                | flag(verdict.inferred.is_some(), VERDICT_INFERRED)
                | flag(inferred_user, VERDICT_INFERRED_USER),
        );
        self.items.push(position(&Rule::ALL, &verdict.rule));
        if let Some(trace) = verdict.trace {
            self.trace(trace);
        }
        if let Some(span) = verdict.span
            && self.spans.push(&mut self.items, span)
        {
            self.items.extend_from_slice(&span.0);
        }
        if let Some(user) = &verdict.user {
            self.user(user);
        }
        if !verdict.candidates.is_empty() {
            let candidates = verdict.candidates.iter().take(CANDIDATES_MAX);
            push(&mut self.items, candidates.len() as u64);
            candidates.for_each(|trace| self.trace(*trace));
        }
        if let Some((trace, user)) = &verdict.inferred {
            self.trace(*trace);
            if let Some(user) = user {
                self.user(user);
            }
        }
    }

    fn trace(&mut self, trace: TraceId) {
        if self.traces.push(&mut self.items, trace) {
            self.items.extend_from_slice(&trace.0);
        }
    }

    fn user(&mut self, user: &User) {
        if self.users.push(&mut self.items, user.clone()) {
            self.items.push(position(&SOURCES, &user.source));
            push_text(&mut self.items, &user.id);
        }
    }
}
