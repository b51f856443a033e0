//! A journal record as it is read back after a restart.

use in_spans::{
    KIND_GAP, KIND_SPANS, RECORD_VERSION, Replayed, SpanScratch, SpanSink, replay_record,
};
use model::evidence::SpanFacts;
use model::time::UnixNanos;

use super::spans::objects;
use crate::input::Input;

#[derive(Default)]
struct Counts {
    spans: u64,
    gaps: u64,
}

impl SpanSink for Counts {
    fn span(&mut self, _: &SpanFacts<'_>) {
        self.spans += 1;
    }

    fn gap(&mut self, _: UnixNanos, _: UnixNanos) {
        self.gaps += 1;
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.one_of(&[KIND_SPANS, KIND_SPANS, KIND_SPANS, KIND_GAP, 9]);
    let mut payload = vec![input.one_of(&[RECORD_VERSION, RECORD_VERSION, RECORD_VERSION, 2])];
    payload.extend_from_slice(input.rest());
    let mut counts = Counts::default();
    let result = replay_record(kind, &payload, &mut counts, &mut SpanScratch::default());
    let known = payload[0] == RECORD_VERSION;
    let array = [b"[", input.rest(), b"]"].concat();
    let whole = objects(&array).is_some_and(|spans| !spans.is_empty());
    match result {
        Ok(Replayed::Spans(count)) => {
            assert!(known && kind == KIND_SPANS && whole);
            assert_eq!((counts.spans, counts.gaps), (count, 0));
        }
        Ok(Replayed::Gap) => {
            assert!(known && kind == KIND_GAP);
            assert_eq!((counts.spans, counts.gaps), (0, 1));
        }
        Err(in_spans::Error::Damaged(fault)) => {
            let deep = fault.kind == in_spans::FaultKind::Depth;
            assert!(known && (deep || kind == KIND_GAP || !whole), "{fault}");
            assert_eq!(counts.gaps, 0);
        }
        Err(_) => assert!(!known || !matches!(kind, KIND_SPANS | KIND_GAP)),
    }
}
