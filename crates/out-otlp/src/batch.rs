//! Spans of one service in their new shape, with what became of those in between.

use model::span::Span;
use opentelemetry_sdk::trace::SpanData;

use crate::lookup::Lookup;
use crate::metrics::{Dropped, Metrics};
use crate::moulds::shape_formed;
use crate::names::Words;
use crate::rules::Rule;
use crate::shape;

/// A request in the making.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) service: String,
    pub(crate) spans: Vec<SpanData>,
    pub(crate) counts: Counts,
}

/// What became of spans that are not in the batch, and which of those in it are noise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    dropped: [u64; Rule::ALL.len()],
    kept: [u64; Rule::ALL.len()],
    no_ids: u64,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for so many spans.
    pub fn with_room(spans: usize) -> Self {
        Self {
            spans: Vec::with_capacity(spans),
            ..Self::default()
        }
    }

    /// Whether spans of `service` may be put beside those that are in.
    pub fn is_of(&self, service: &str) -> bool {
        self.spans.is_empty() || self.service == service
    }

    /// Puts a span in.
    pub fn push(&mut self, span: &Span<'_>, words: &mut Words, lookup: &dyn Lookup) {
        self.begin(span);
        let person = lookup.person(span);
        let shaped = shape::shape(span, person.as_ref(), words, lookup);
        self.spans.push(shaped);
    }

    /// Puts a span of a form in. All spans of a form are the same but for ids, times, annotations and
    /// the value of `db.statement`; of one whose form is [known](Words::know), only these, kind, name
    /// and service are looked at, and no other tags need to be there.
    pub fn push_formed(
        &mut self,
        span: &Span<'_>,
        form: u64,
        words: &mut Words,
        lookup: &dyn Lookup,
    ) {
        self.begin(span);
        let person = lookup.person(span);
        let shaped = shape_formed(span, form, person.as_ref(), words, lookup);
        self.spans.push(shaped);
    }

    fn begin(&mut self, span: &Span<'_>) {
        if self.spans.is_empty() {
            self.service.clear();
            self.service.push_str(&span.service);
        }
    }

    /// Notes that a span is noise, and whether it was kept.
    pub fn noise(&mut self, rule: Rule, kept: bool) {
        let counts = if kept {
            &mut self.counts.kept
        } else {
            &mut self.counts.dropped
        };
        if let Some(count) = counts.get_mut(rule as usize) {
            *count += 1;
        }
    }

    /// Notes that a span without ids was left out.
    pub const fn no_ids(&mut self) {
        self.counts.no_ids += 1;
    }

    /// How many spans are in.
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether no span is in; others may have been noted.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl Counts {
    pub(crate) fn add_to(&self, metrics: &Metrics) {
        for (rule, (dropped, kept)) in Rule::ALL
            .into_iter()
            .zip(self.dropped.iter().zip(self.kept))
        {
            if *dropped > 0 {
                metrics.drop(Dropped::Noise(rule), *dropped);
            }
            if kept > 0 {
                metrics.noise_kept(rule, kept);
            }
        }
        if self.no_ids > 0 {
            metrics.drop(Dropped::NoIds, self.no_ids);
        }
    }
}
