use model::span::Span;
use serde_json::{Value, json};

use super::corpus::recorded_bodies;
use super::emco_span;
use crate::error::Error;
use crate::journal::{KIND_SPANS, RECORD_VERSION};
use crate::scan::SpanScratch;
use crate::splitter::Splitter;
use crate::whole::SpanRun;

/// The records that the journal gets of a body.
fn records(body: &[u8]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new();
    splitter.push(body);
    let mut records = Vec::new();
    while let Some(piece) = splitter.next_piece(true).unwrap_or_default() {
        records.push(piece.record().to_vec());
    }
    records
}

fn record(spans: &str) -> Vec<u8> {
    [&[RECORD_VERSION], spans.as_bytes()].concat()
}

/// Shows each whole span of a record.
fn each(record: &[u8], mut see: impl FnMut(&Span<'_>)) -> Result<(), Error> {
    let mut run = SpanRun::new(record, 0)?;
    while let Some(raw) = run.next_span()? {
        if let Some(span) = run.whole(&raw) {
            see(&span);
        }
    }
    Ok(())
}

fn one(span: &str) -> String {
    let mut seen = Vec::new();
    each(&record(span), |span| {
        let annotations: Vec<Value> = span
            .annotations
            .iter()
            .map(|note| json!([note.at.0, note.text]))
            .collect();
        seen.push(json!([span.tags, annotations, span.remote]).to_string());
    })
    .unwrap();
    seen.join("|")
}

/// A span as `serde_json` reads it, in the shape of [`compared`].
fn expected(span: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let tags: Vec<Value> = span["tags"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| json!([key, text(value)]))
        .collect();
    let annotations: Vec<Value> = span["annotations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|note| json!([note["timestamp"].as_u64().unwrap() * 1000, note["value"]]))
        .collect();
    json!({
        "id": span["id"], "name": span["name"], "tags": tags, "annotations": annotations,
        "service": span["localEndpoint"]["serviceName"],
        "remote": span["remoteEndpoint"]["serviceName"].as_str().unwrap_or_default(),
        "start": span["timestamp"].as_u64().unwrap_or(0) * 1000,
        "duration": span["duration"].as_u64().unwrap_or(0) * 1000,
    })
}

fn compared(span: &Span<'_>) -> Value {
    let mut tags = span.tags.clone();
    tags.sort();
    let annotations: Vec<Value> = span
        .annotations
        .iter()
        .map(|note| json!([note.at.0, note.text]))
        .collect();
    json!({
        "id": span.span.to_string(), "name": span.name, "tags": tags, "annotations": annotations,
        "service": span.service, "remote": span.remote,
        "start": span.start.0, "duration": span.duration,
    })
}

#[test]
fn recorded_spans_are_read_as_their_senders_wrote_them() {
    let mut spans = 0;
    for body in recorded_bodies() {
        let parsed: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let mut parsed = parsed.iter();
        for record in records(&body) {
            each(&record, |span| {
                spans += 1;
                let mut expected = expected(parsed.next().unwrap());
                let tags = expected["tags"].as_array_mut().unwrap();
                tags.sort_by_key(ToString::to_string);
                let mut compared = compared(span);
                let tags = compared["tags"].as_array_mut().unwrap();
                tags.sort_by_key(ToString::to_string);
                assert_eq!(compared, expected);
            })
            .unwrap();
        }
        assert!(parsed.next().is_none());
    }
    assert!(spans > 0);
}

#[test]
fn odd_tags_and_annotations_are_read_as_they_are_meant() {
    for (span, expected) in [
        (r#"{"id":"1","traceId":"2"}"#, r#"[[],[],""]"#),
        (
            r#"{"id":"1","traceId":"2","tags":{"a":1,"b":true,"c":null,"d":{"x":1},"e":"\u00e4\n","\u0061b":"k"}}"#,
            r#"[[["a","1"],["b","true"],["e","ä\n"],["ab","k"]],[],""]"#,
        ),
        (
            r#"{"id":"1","traceId":"2","annotations":[7,{"value":"x: {\"y\":1}","timestamp":"5"},{"other":[]}],"tags":[1]}"#,
            r#"[[],[[5000,"x: {\"y\":1}"],[0,""]],""]"#,
        ),
        (
            r#"{"id":"1","traceId":"2","remoteEndpoint":{"ipv4":"1.2.3.4","port":1,"serviceName":"m"},"tags":{"a":"1"},"tags":{"b":"2"}}"#,
            r#"[[["b","2"]],[],"m"]"#,
        ),
        (r#"{"id":"1"}"#, ""),
    ] {
        assert_eq!(one(span), expected, "{span}");
    }
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let record = record(&[emco_span(1), emco_span(2), emco_span(3)].join(" ,\n"));
    let mut scratch = SpanScratch::default();
    let mut names = Vec::new();
    let mut offset = 0;
    loop {
        let mut run = SpanRun::new(&record, offset).unwrap();
        let Some(raw) = run.next_span().unwrap() else {
            break;
        };
        let facts = raw.facts(run.run(), &mut scratch).unwrap();
        names.push(facts.span.to_string());
        offset = run.offset();
    }
    let mut whole = Vec::new();
    each(&record, |span| whole.push(span.span.to_string())).unwrap();
    assert_eq!(names, whole);
    assert_eq!(names.len(), 3);
    assert!(
        SpanRun::new(&record, u32::MAX)
            .unwrap()
            .next_span()
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_was_never_written_is_damage() {
    assert!(matches!(
        SpanRun::new(b"\x09{}", 0),
        Err(Error::Record {
            kind: KIND_SPANS,
            version: 9
        })
    ));
    for bad in ["{", "x", "{\"id\":\"1\"} y"] {
        let result = each(&record(bad), |_| {});
        assert!(matches!(result, Err(Error::Damaged(_))), "{bad}");
    }
}
