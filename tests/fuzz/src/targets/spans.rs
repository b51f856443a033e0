//! A body of spans, in pieces.

use in_spans::{
    Fault, FaultKind, KIND_SPANS, RawSpan, SpanRun, SpanScratch, SpanSink, Splitter, replay_record,
};
use model::evidence::{SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::input::Input;

/// A span as it was shown, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    kind: SpanKind,
    texts: [Option<String>; 5],
    times: [u64; 2],
    failed: bool,
}

impl From<&SpanFacts<'_>> for Seen {
    fn from(facts: &SpanFacts<'_>) -> Self {
        let text = |text: &str| Some(text.to_owned());
        Self {
            trace: facts.trace,
            span: facts.span,
            parent: facts.parent,
            kind: facts.kind,
            texts: [
                text(facts.name),
                text(facts.service),
                facts.rpc_method.and_then(text),
                facts.rpc_service.and_then(text),
                facts.statement.and_then(text),
            ],
            times: [facts.start.0, facts.duration],
            failed: facts.failed,
        }
    }
}

/// Keeps what it is shown.
#[derive(Default)]
pub(super) struct Sink(pub(super) Vec<Seen>);

impl SpanSink for Sink {
    fn span(&mut self, span: &SpanFacts<'_>) {
        self.0.push(Seen::from(span));
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (frame, piece_bytes) = (usize::from(input.byte()) + 1, usize::from(input.short()));
    let body = input.rest();
    let (seen, result) = split(body.chunks(body.len().max(1)), 1 << 20);
    assert_eq!(
        split(body.chunks(frame), piece_bytes),
        (seen.clone(), result),
        "frames of {frame} and pieces of {piece_bytes} bytes make a difference"
    );
    match (result, objects(body)) {
        (Ok(()), Some(objects)) => assert_spans(&seen, &objects),
        (Err(_), None) => {}
        (Err(fault), Some(_)) => assert_eq!(fault.kind, FaultKind::Depth, "{fault}"),
        (Ok(()), None) => panic!("taken, though it is no array of objects"),
    }
}

/// Splits a body that arrives in these frames; its spans, and whether it was right. Each piece is
/// replayed as the journal would.
fn split<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    piece_bytes: usize,
) -> (Vec<Seen>, Result<(), Fault>) {
    let mut splitter = Splitter::with_piece_bytes(piece_bytes);
    let mut scratch = SpanScratch::default();
    let mut seen = Vec::new();
    let mut drain = |splitter: &mut Splitter, complete| {
        while let Some(piece) = splitter.next_piece(complete)? {
            let (first, mut sink) = (seen.len(), Sink::default());
            for span in piece.spans() {
                let facts = span.facts(piece.run(), &mut scratch);
                assert_whole(facts.as_ref(), span, piece.record());
                seen.extend(facts.as_ref().map(Seen::from));
            }
            replay_record(KIND_SPANS, piece.record(), &mut sink, &mut scratch)
                .expect("a piece is a journal record");
            assert_eq!(sink.0, seen[first..], "the journal shows other spans");
        }
        Ok(())
    };
    for frame in frames {
        splitter.push(frame);
        if let Err(fault) = drain(&mut splitter, false) {
            return (seen, Err(fault));
        }
    }
    let result = drain(&mut splitter, true);
    (seen, result)
}

/// The whole span says the same as its evidence.
fn assert_whole(facts: Option<&SpanFacts<'_>>, span: &RawSpan, record: &[u8]) {
    let mut run = SpanRun::new(record, span.at()).expect("the version is right");
    let again = run.next_span().expect("it was scanned before");
    assert_eq!(again.as_ref(), Some(span));
    let whole = run.whole(span);
    assert_eq!(facts.is_some(), whole.is_some());
    let Some((facts, whole)) = facts.zip(whole) else {
        return;
    };
    assert_eq!((facts.trace, facts.span), (whole.trace, whole.span));
    assert_eq!((facts.name, facts.service), (&*whole.name, &*whole.service));
    assert_eq!((facts.start, facts.duration), (whole.start, whole.duration));
    // a gRPC code is a failure for the evidence; for the whole span the exporter judges by its kind
    let refused = whole.tags.iter().any(|(key, code)| {
        matches!(&**key, "rpc.grpc.status_code" | "grpc.status_code")
            && !matches!(&**code, "" | "0")
    });
    assert!(facts.failed || !(whole.failed || refused));
}

/// The elements, if a body is an array of objects.
pub(super) fn objects(body: &[u8]) -> Option<Vec<&RawValue>> {
    let text = std::str::from_utf8(body).ok()?;
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let objects = elements.iter().all(|raw| raw.get().starts_with('{'));
    objects.then_some(elements)
}

/// The same spans as a JSON parser sees, where it can say.
fn assert_spans(seen: &[Seen], objects: &[&RawValue]) {
    let parsed: Result<Vec<Value>, _> = objects
        .iter()
        .map(|object| serde_json::from_str(object.get()))
        .collect();
    // Not every valid text can be held: half a surrogate pair, a number beyond a double.
    let Ok(parsed) = parsed else { return };
    let mut seen = seen.iter();
    for object in &parsed {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let trace = text("traceId").and_then(|id| TraceId::parse(id.as_bytes()));
        let span = text("id").and_then(|id| SpanId::parse(id.as_bytes()));
        let ids = object.get("traceId").into_iter().chain(object.get("id"));
        if ids.clone().any(Value::is_number) {
            // Ids written as numbers are read by their digits.
            return;
        }
        let (Some(trace), Some(span)) = (trace, span) else {
            continue;
        };
        let seen = seen.next().expect("a span with ids is shown");
        assert_eq!((seen.trace, seen.span), (trace, span));
        if let Some(name) = text("name") {
            assert_eq!(seen.texts[0].as_deref(), Some(name));
        }
        if let Some(micros) = object.get("timestamp").and_then(Value::as_u64) {
            assert_eq!(seen.times[0], micros.saturating_mul(1000));
        }
        match text("kind") {
            Some("CLIENT") => assert_eq!(seen.kind, SpanKind::Client),
            Some("SERVER") => assert_eq!(seen.kind, SpanKind::Server),
            _ => assert_eq!(seen.kind, SpanKind::Unset),
        }
        if let Some(statement) = object.pointer("/tags/db.statement").and_then(Value::as_str) {
            assert_eq!(seen.texts[4].as_deref(), Some(statement));
        }
    }
    assert_eq!(seen.next(), None, "a span is shown that is not there");
}
