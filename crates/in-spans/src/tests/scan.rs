use model::evidence::SpanKind;
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Seen, emco_body, emco_span};
use crate::error::{Fault, FaultKind};
use crate::scan::SpanScratch;
use crate::splitter::{PIECE_BYTES, SPAN_BYTES_MAX, Splitter};

/// Splits a body that arrives in the given chunks; the spans, and whether it was right.
fn split<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    piece_bytes: usize,
) -> (Vec<Seen>, Result<(), Fault>) {
    let mut splitter = Splitter::with_piece_bytes(piece_bytes);
    let mut scratch = SpanScratch::default();
    let mut seen = Vec::new();
    let mut drain = |splitter: &mut Splitter, complete| {
        while let Some(piece) = splitter.next_piece(complete)? {
            assert!(!piece.spans().is_empty());
            let facts = piece.spans().iter();
            seen.extend(facts.filter_map(|span| {
                span.facts(piece.run(), &mut scratch)
                    .as_ref()
                    .map(Seen::from)
            }));
        }
        Ok(())
    };
    for chunk in chunks {
        splitter.push(chunk);
        if let Err(fault) = drain(&mut splitter, false) {
            return (seen, Err(fault));
        }
    }
    let result = drain(&mut splitter, true);
    (seen, result)
}

fn one(span: &str) -> Seen {
    let body = format!("[{span}]");
    let (mut seen, result) = split([body.as_bytes()], PIECE_BYTES);
    assert_eq!(result, Ok(()), "{span}");
    assert_eq!(seen.len(), 1, "{span}");
    seen.remove(0)
}

fn is_accepted(body: &[u8]) -> bool {
    split([body], PIECE_BYTES).1.is_ok()
}

/// The same question, answered by `serde_json`.
fn is_array_of_objects(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    serde_json::from_str::<Vec<&RawValue>>(text)
        .is_ok_and(|elements| elements.iter().all(|raw| raw.get().starts_with('{')))
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            hash_map(key(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "traceId",
        "id",
        "parentId",
        "name",
        "kind",
        "timestamp",
        "duration",
        "localEndpoint",
        "serviceName",
        "tags",
        "annotations",
        "value",
        "error",
        "rpc.method",
    ];
    prop_oneof![
        proptest::sample::select(KNOWN).prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let object = hash_map(key(), json(), 0..6);
    (vec(object, 0..5), any::<bool>()).prop_map(|(objects, pretty)| {
        let write = if pretty {
            serde_json::to_vec_pretty
        } else {
            serde_json::to_vec
        };
        write(&objects).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Exactly the JSON arrays of objects are taken, also when a byte of one was changed.
    #[test]
    fn accepts_what_serde_json_accepts(
        mut body in body(),
        place in any::<prop::sample::Index>(),
        damage in prop_oneof![
            Just(None),
            (0..3_u8, prop_oneof![any::<u8>(), proptest::sample::select(&b"\"\\{}[]:,0-.eu \n\x1f\xc3"[..])])
                .prop_map(Some)
        ],
    ) {
        let at = place.index(body.len());
        match damage {
            Some((0, byte)) => body[at] = byte,
            Some((1, byte)) => body.insert(at, byte),
            Some(_) => {
                body.remove(at);
            }
            None => {}
        }
        prop_assert_eq!(
            is_accepted(&body),
            is_array_of_objects(&body),
            "{}",
            String::from_utf8_lossy(&body)
        );
    }

    /// However a body is cut into frames, the same spans come out, and the same fault.
    #[test]
    fn frames_make_no_difference(
        mut body in prop_oneof![body(), (0..40_u64).prop_map(|n| emco_body(0..n).into_bytes())],
        cut in prop::option::of(any::<prop::sample::Index>()),
        frame in 1..700_usize,
        piece_bytes in 1..3000_usize,
    ) {
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let whole = split([&body[..]], PIECE_BYTES);
        prop_assert_eq!(split(body.chunks(frame), piece_bytes), whole);
    }

    /// Whatever order the keys come in and however strings are escaped, the facts are the same.
    #[test]
    fn reads_the_facts_in_any_order(
        (ids, times, failed) in (any::<(u128, u64, Option<u64>)>(), any::<(u32, u32)>(), any::<bool>()),
        texts in any::<[String; 5]>(),
        kind in proptest::sample::select(&[("CLIENT", SpanKind::Client), ("SERVER", SpanKind::Server), ("PRODUCER", SpanKind::Unset)][..]),
        order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle(),
        escape in any::<bool>(),
    ) {
        prop_assume!(ids.0 != 0 && ids.1 != 0 && ids.2 != Some(0));
        let write = |text: &str| {
            if escape { escape_everything(text) } else { serde_json::to_string(text).unwrap() }
        };
        let [name, service, method, rpc_service, statement] = &texts;
        let mut tags = format!(
            r#"{{"http.method":"GET", "rpc.method":{},"rpc.service":{},"x":[1,{{"rpc.method":"no"}}],"db.statement" : {}"#,
            write(method), write(rpc_service), write(statement)
        );
        if failed {
            tags.push_str(r#","otel.status_code":"Error","error":"""#);
        }
        tags.push('}');
        let members = [
            format!(r#""traceId":"{:x}""#, ids.0),
            format!(r#""id":"{:016X}""#, ids.1),
            match ids.2 { Some(id) => format!(r#""parentId":"{id:x}""#), None => r#""parentId":null"#.to_owned() },
            format!(r#""name" : {}"#, write(name)),
            format!(r#""kind":"{}""#, kind.0),
            format!(r#""timestamp":{}"#, times.0),
            format!(r#""duration":{}"#, times.1),
            format!(r#""localEndpoint":{{"ipv4":"","serviceName":{}}}"#, write(service)),
            format!(r#""tags":{tags}"#),
        ];
        let members: Vec<&str> = order.iter().map(|at| members[*at].as_str()).collect();
        let expected = Seen {
            trace: format!("{:032x}", ids.0),
            span: format!("{:016x}", ids.1),
            parent: ids.2.map(|id| format!("{id:016x}")),
            kind: kind.1,
            name: name.clone(),
            rpc_method: Some(method.clone()),
            rpc_service: Some(rpc_service.clone()),
            service: service.clone(),
            statement: Some(statement.clone()),
            start: u64::from(times.0) * 1000,
            duration: u64::from(times.1) * 1000,
            failed,
        };
        prop_assert_eq!(one(&format!("{{{}}}", members.join(" ,\n"))), expected);
    }
}

fn escape_everything(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::from('"');
    for unit in text.encode_utf16() {
        write!(escaped, "\\u{unit:04X}").unwrap();
    }
    escaped.push('"');
    escaped
}

#[test]
fn takes_what_senders_leave_out_or_write_differently() {
    let least = Seen {
        trace: "000000000000000000000000000000a1".to_owned(),
        span: "00000000000000b2".to_owned(),
        ..Seen::default()
    };
    for span in [
        r#"{"traceId":"a1","id":"b2"}"#,
        r#"{"id":"00b2","traceId":"00a1","timestamp":null,"duration":null,"name":null,"kind":null,"tags":null,"annotations":null,"localEndpoint":null,"parentId":""}"#,
        r#"{"traceId":"a1","id":"b2","timestamp":-5,"duration":"soon","kind":"CONSUMER","tags":[],"annotations":{},"localEndpoint":"here"}"#,
        r#"{"tr\u0061ceId":"\u0061\u0031","id":"0","id":"b2","shared":true,"debug":false,"more":[[[{}]]]}"#,
        r#"{"traceId":"a1","id":"b2","tags":{"error":"false","rpc.grpc.status_code":0},"annotations":[{"value":1},3,"x"]}"#,
    ] {
        assert_eq!(one(span), least, "{span}");
    }
    let written_differently = one(
        r#"{"traceId":"a1","id":"b2","timestamp":"12","duration":3.5e1,"name":"a\/\"b\"\ud83d\ude00\ud83d","tags":{"rpc.method":17}}"#,
    );
    let expected = Seen {
        start: 12_000,
        duration: 35_000,
        name: "a/\"b\"😀\u{fffd}".to_owned(),
        rpc_method: Some("17".to_owned()),
        ..least
    };
    assert_eq!(written_differently, expected);
}

#[test]
fn a_span_says_that_it_failed_in_several_ways() {
    for failed in [
        r#""tags":{"error":""}"#,
        r#""tags":{"error":true}"#,
        r#""tags":{"otel.status_code":"ERROR"}"#,
        r#""tags":{"rpc.grpc.status_code":"5"}"#,
        r#""tags":{"rpc.grpc.status_code":14}"#,
        r#""tags":{"grpc.status_code":"14"}"#,
        r#""annotations":[{"timestamp":1,"value":"exception: {\"exception.type\":\"runtime.plainError\"}"}]"#,
    ] {
        let span = format!(r#"{{"traceId":"a1","id":"b2",{failed}}}"#);
        assert!(one(&span).failed, "{failed}");
    }
}

#[test]
fn a_span_without_ids_is_no_evidence_and_no_fault() {
    let body = format!(
        r#"[{{"name":"x"}},{},{{"traceId":"zz","id":"1"}}]"#,
        emco_span(1)
    );
    let (seen, result) = split([body.as_bytes()], PIECE_BYTES);
    assert_eq!(result, Ok(()));
    assert_eq!(seen.len(), 1);
}

#[test]
fn says_where_and_why_a_body_is_no_array_of_spans() {
    let span = emco_span(1);
    for (body, sentence) in [
        (
            String::new(),
            "the text ends in the middle of a value, at byte 0",
        ),
        ("<html>".to_owned(), "an array was expected at byte 0"),
        ("{}".to_owned(), "an array was expected at byte 0"),
        (
            "[1]".to_owned(),
            "a span or the end of the array was expected at byte 1",
        ),
        ("[{},]".to_owned(), "a span was expected at byte 4"),
        ("[{}] x".to_owned(), "nothing more was expected at byte 5"),
        (
            "[{\"a\":\"\n\"}]".to_owned(),
            "the string around byte 7 has a control character, a bad escape or bytes that are not UTF-8",
        ),
        (
            format!("[{span},"),
            &format!(
                "the text ends in the middle of a value, at byte {}",
                span.len() + 2
            ),
        ),
    ] {
        let (_, result) = split([body.as_bytes()], PIECE_BYTES);
        assert_eq!(result.unwrap_err().to_string(), sentence, "{body}");
    }
    let (seen, result) = split([&b"[{\"id\":\"\xff\"}]"[..]], PIECE_BYTES);
    assert_eq!((seen.len(), result.unwrap_err().kind), (0, FaultKind::Text));
}

#[test]
fn whole_spans_in_front_of_a_fault_are_handed_out() {
    let body = format!("[{},{},{{bad", emco_span(1), emco_span(2));
    let (seen, result) = split([body.as_bytes()], PIECE_BYTES);
    assert_eq!(seen.len(), 2);
    assert!(result.is_err());
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| format!(r#"[{{"a":{}1{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    assert!(is_accepted(nested(127).as_bytes()));
    assert!(!is_accepted(nested(128).as_bytes()));
    assert!(!is_accepted(nested(1_000_000).as_bytes()));
}

#[test]
fn one_span_may_be_long_but_not_endless() {
    let long = |bytes: usize| {
        format!(
            r#"[{{"traceId":"a1","id":"b2","x":"{}"}}]"#,
            "y".repeat(bytes)
        )
    };
    let body = long(SPAN_BYTES_MAX - 100);
    let (seen, result) = split(body.as_bytes().chunks(65_536), PIECE_BYTES);
    assert_eq!((seen.len(), result), (1, Ok(())));
    for bytes in [SPAN_BYTES_MAX, 3 * SPAN_BYTES_MAX] {
        let body = long(bytes);
        let (_, result) = split(body.as_bytes().chunks(65_536), PIECE_BYTES);
        assert_eq!(result.unwrap_err().kind, FaultKind::SpanTooLong);
    }
}

#[test]
fn a_body_of_30_mib_never_fills_more_than_a_piece_and_a_frame() {
    let frame = 400 << 10;
    let body = emco_body(0..70_000);
    assert!(body.len() > 30 << 20);
    let mut splitter = Splitter::new();
    let (mut spans, mut longest, mut held) = (0, 0, 0);
    for chunk in body.as_bytes().chunks(frame) {
        splitter.push(chunk);
        while let Some(piece) = splitter.next_piece(false).unwrap() {
            spans += piece.spans().len();
            longest = longest.max(piece.record().len());
        }
        held = held.max(splitter.held_bytes());
    }
    while let Some(piece) = splitter.next_piece(true).unwrap() {
        spans += piece.spans().len();
    }
    assert_eq!(spans, 70_000);
    assert!(longest <= PIECE_BYTES + frame, "{longest}");
    assert!(held <= 2 << 20, "{held}");
}
