//! A span is scanned to the same result whether its form is known or not.

use model::span::Message;
use proptest::prelude::*;

use super::corpus::recorded_bodies;
use crate::forms::Forms;
use crate::journal::RECORD_VERSION;
use crate::scan::{scan_formed, scan_span};
use crate::splitter::Splitter;
use crate::whole::SpanRun;

/// A read from etcd, a query, and a request, as EMCO's exporter writes them.
const SPANS: [&str; 4] = [
    r#"{"timestamp":1795406978489649,"duration":1919,"traceId":"3bbc2016ef45a0740db546bd0f2475a7","id":"c3e664e508e5c90e","parentId":"4761267319b3b5fb","name":"etcdserverpb.kv/range","kind":"CLIENT","localEndpoint":{"serviceName":"orchestrator.emco"},"annotations":[{"timestamp":1795406978490625,"value":"message: {\"message.id\":1,\"message.type\":\"SENT\",\"message.uncompressed_size\":31}"},{"timestamp":1795406978491566,"value":"message: {\"message.id\":1,\"message.type\":\"RECEIVED\",\"message.uncompressed_size\":93}"}],"tags":{"otel.library.name":"otelgrpc","rpc.grpc.status_code":"0","rpc.method":"Range","rpc.service":"etcdserverpb.KV","service.name":"orchestrator.emco"}}"#,
    r#"{"timestamp":1795406975252583,"duration":9,"traceId":"954dabc5c0dcc980","id":"c7bede2386a4457d","name":"resources.find","kind":"CLIENT","localEndpoint":{"serviceName":"orchestrator.emco"},"remoteEndpoint":{"serviceName":"emco-mongo"},"tags":{"db.name":"emco","db.statement":"{\"find\":\"resources\",\"filter\":{\"keyId\":\"{project}\"}}","rpc.method":"x","service.name":"orchestrator.emco"}}"#,
    r#"{"timestamp":1795406975254409,"duration":1584,"traceId":"d2e41856751853c877e7b49b3593e51c","id":"327fd9d8b3ad082b","name":"get-metrics","localEndpoint":{"serviceName":"orchestrator.emco"},"tags":{"otel.library.name":"orchestrator","service.name":"orchestrator.emco"}}"#,
    r#"{"timestamp":1795406975254409,"duration":1584,"traceId":"d2e41856751853c877e7b49b3593e51c","id":"327fd9d8b3ad082b","name":"post /v2/projects","localEndpoint":{"serviceName":"orchestrator.emco"},"annotations":[{"timestamp":1795406978490625,"value":"retry, grüße"}],"tags":{"service.name":"orchestrator.emco"}}"#,
];

/// Forms learned from [`SPANS`].
fn learned() -> Forms {
    let mut forms = Forms::default();
    for span in SPANS {
        let (_, _, form) = scan_formed(span.as_bytes(), 0, &mut forms, &mut ()).unwrap();
        assert_eq!(form, None, "nothing like it came before");
    }
    forms
}

/// Scans with and without forms and compares; whether the form was known.
fn same(text: &[u8], at: usize, forms: &mut Forms) -> Result<bool, TestCaseError> {
    let formed = scan_formed(text, at, forms, &mut ());
    let known = matches!(formed, Ok((_, _, Some(_))));
    let plain = scan_span(text, at, &mut ());
    prop_assert_eq!(formed.map(|(span, end, _)| (span, end)), plain);
    Ok(known)
}

/// A message of a call as gRPC's instrumentation writes it.
fn written(message: Message) -> String {
    let Message { id, sent, bytes } = message;
    let kind = if sent { "SENT" } else { "RECEIVED" };
    format!(
        r#"message: {{"message.id":{id},"message.type":"{kind}","message.uncompressed_size":{bytes}}}"#
    )
}

/// Reads a record with and without forms and compares whole spans and outlines; how many forms were
/// known.
fn same_whole(record: &[u8], forms: &mut Forms) -> usize {
    let mut plain = SpanRun::new(record, 0).unwrap();
    let mut formed = SpanRun::new(record, 0).unwrap();
    let mut known = 0;
    while let Some(raw) = plain.next_span().unwrap() {
        assert_eq!(formed.next_formed(forms).unwrap(), Some(raw));
        let whole = plain.whole(&raw);
        assert_eq!(formed.whole(&raw), whole);
        known += usize::from(formed.form().is_some());
        if let (Some(_), Some(mut whole)) = (formed.form(), whole) {
            let mut outline = formed.outline(&raw).unwrap();
            for note in &mut outline.annotations {
                if let Some(said) = note.message.take() {
                    note.text = written(said).into();
                }
            }
            whole.remote = "".into();
            whole.tags.retain(|(key, _)| key == "db.statement");
            assert_eq!(outline, whole);
        }
    }
    assert_eq!(formed.next_formed(forms).unwrap(), None);
    known
}

#[test]
fn what_was_learned_is_recognised() {
    let mut forms = learned();
    for span in SPANS {
        assert!(same(span.as_bytes(), 0, &mut forms).unwrap(), "{span}");
        let other = span
            .replace("1795406975254409", "7")
            .replace("327fd9d8b3ad082b", "A27FD9D8B3AD082B")
            .replace("{project}", "é\\u00e9\\\"")
            .replace("\"SENT\\\"", "\"RECEIVED\\\"");
        let other = format!("  {other},");
        assert!(same(other.as_bytes(), 2, &mut forms).unwrap(), "{other}");
    }
}

#[test]
fn what_failed_is_not_learned_from_and_not_recognised() {
    let mut forms = learned();
    let [range, _, _, request] = SPANS;
    let refused = range.replace("_code\":\"0\"", "_code\":\"5\"");
    let panicked = request.replace("retry, grüße", "exception: {}");
    for span in [refused, panicked] {
        for _ in 0..2 {
            assert!(!same(span.as_bytes(), 0, &mut forms).unwrap(), "{span}");
        }
    }
}

#[test]
fn forms_are_bounded_and_the_frequent_ones_stay() {
    let mut forms = learned();
    let [range, _, _, request] = SPANS;
    for number in 0..100 {
        let name = format!("get /v2/projects/p{number}");
        let rare = request.replace("post /v2/projects", &name);
        assert!(!same(rare.as_bytes(), 0, &mut forms).unwrap());
        assert!(same(range.as_bytes(), 0, &mut forms).unwrap());
    }
}

#[test]
fn recorded_spans_are_the_same_with_and_without_forms() {
    let (mut forms, mut spans, mut known) = (Forms::default(), 0, 0);
    for body in recorded_bodies() {
        let mut splitter = Splitter::new();
        splitter.push(&body);
        while let Some(piece) = splitter.next_piece(true).unwrap() {
            spans += piece.spans().len();
            known += same_whole(piece.record(), &mut forms);
        }
    }
    assert!(known > spans / 2, "{known} of {spans} spans have a form");
}

proptest! {
    /// Changed at any place, also where the form does not look, and cut at any place.
    #[test]
    fn forms_change_no_result(
        which in 0usize..SPANS.len(),
        place in any::<prop::sample::Index>(),
        removed in 0usize..4,
        put in prop_oneof![
            Just(vec![]),
            prop::collection::vec(any::<u8>(), 1..3),
            prop::sample::select(vec![
                &b"\""[..], b"\\", b"\\\"", b",", b"}", b"]", b"0", b"12345678901234567890",
                b"\x01", b"\xc3\xa9", b"\xc3", b"{\"timestamp\":1,\"value\":\"exception\"},",
                b"\"id\":\"1\",", b"\"tags\":{},", b"null", b"1.5", b"\n",
            ]).prop_map(<[u8]>::to_vec),
        ],
        cut in any::<prop::sample::Index>(),
        is_cut in prop::bool::weighted(0.2),
    ) {
        let mut forms = learned();
        let mut text = SPANS[which].as_bytes().to_vec();
        let from = place.index(text.len());
        let to = (from + removed).min(text.len());
        text.splice(from..to, put);
        text.push(b']');
        if is_cut {
            text.truncate(cut.index(text.len()));
        }
        same(&text, 0, &mut forms)?;
        same(&text, 0, &mut forms)?;
        if let Ok((_, end)) = scan_span(&text, 0, &mut ()) {
            let record = [&[RECORD_VERSION], &text[..end], b",", &text[..end]].concat();
            same_whole(&record, &mut forms);
        }
    }
}
