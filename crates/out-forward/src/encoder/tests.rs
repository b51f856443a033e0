use model::document::{Body, RequestSummary};
use model::ids::{DocumentId, FileKey, SpanId, TraceId};
use model::line::Stream;
use model::record::{Field, Key, Range, Record, Value};
use model::time::UnixNanos;
use model::verdict::{Outcome, Rule, User, UserSource, Verdict};
use proptest::prelude::*;

use super::*;

const TIME: UnixNanos = UnixNanos(1_795_406_977_672_424_268);

fn constants(revision: u64) -> Constants {
    Constants {
        revision,
        fields: vec![
            ("service.name", "orchestrator".to_owned()),
            ("kubernetes.pod.name", "orchestrator-0".to_owned()),
        ],
    }
}

fn verdict() -> Verdict {
    Verdict {
        outcome: Outcome::Attributed,
        rule: Rule::Time,
        trace: Some(TraceId([7; 16])),
        span: Some(SpanId([8; 8])),
        user: Some(User {
            id: "alice".into(),
            source: UserSource::Gateway,
        }),
        ..Verdict::default()
    }
}

/// A record whose text and scratch space hold `values` one after another.
fn record(values: &[(Key, Kind, &[u8])]) -> (Record, Vec<u8>) {
    let mut text = Vec::new();
    let mut record = Record {
        stream: Stream::Stderr,
        ..Record::default()
    };
    for (key, kind, value) in values {
        let range = |bytes: &mut Vec<u8>| {
            let start = u32::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(value);
            let end = u32::try_from(bytes.len()).unwrap();
            Range { start, end }
        };
        let value = match kind {
            Kind::Clean => Value::Clean(range(&mut text)),
            Kind::Escaped => Value::Escaped(range(&mut text)),
            Kind::Plain => Value::Plain(range(&mut text)),
            Kind::Number => Value::Number(range(&mut text)),
            Kind::Scratch => Value::Scratch(range(&mut record.scratch)),
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(true),
        };
        record.fields.push(Field { key: *key, value });
    }
    (record, text)
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Clean,
    Escaped,
    Plain,
    Number,
    Scratch,
    Null,
    Bool,
}

fn encode(encoder: &mut ForwardEncoder, body: Body<'_>, constants: &Constants) -> Vec<u8> {
    let verdict = verdict();
    let document = Document {
        id: DocumentId::Line(FileKey([0xab; 16]), 0x1f40),
        home: TIME.day(),
        time: TIME,
        sequence: 8000,
        body,
        verdict: &verdict,
        constants,
    };
    let mut out = Vec::new();
    encoder.encode(&document, &mut out);
    out
}

fn decode(mut entry: &[u8]) -> (rmpv::Value, Vec<(rmpv::Value, rmpv::Value)>) {
    let value = rmpv::decode::read_value(&mut entry).unwrap();
    assert!(entry.is_empty(), "bytes behind the entry");
    let rmpv::Value::Array(mut pair) = value else {
        panic!("an entry is an array")
    };
    assert_eq!(pair.len(), 2);
    let Some(rmpv::Value::Map(record)) = pair.pop() else {
        panic!("a record is a map")
    };
    (pair.pop().unwrap(), record)
}

fn field<'a>(record: &'a [(rmpv::Value, rmpv::Value)], key: &str) -> Option<&'a rmpv::Value> {
    let mut found = record.iter().filter(|(name, _)| name.as_str() == Some(key));
    let value = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "{key} twice");
    value
}

fn dump(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| {
        let text = chunk.iter().map(|byte| match byte {
            0x20..0x7f => char::from(*byte),
            _ => '.',
        });
        format!(
            "{:<32}  {}\n",
            const_hex::encode(chunk),
            text.collect::<String>()
        )
    };
    bytes.chunks(16).map(line).collect()
}

#[test]
fn a_line_as_bytes() {
    let (record, text) = record(&[
        (
            Key::Schema("message"),
            Kind::Escaped,
            br"Instantiated \u00e9\n",
        ),
        (Key::Schema("emco.project"), Kind::Plain, b"p1"),
    ]);
    let body = Body::Line(&record, &text);
    insta::assert_snapshot!(dump(&encode(
        &mut ForwardEncoder::new(),
        body,
        &constants(1)
    )));
}

#[test]
fn a_request_as_bytes() {
    let request = RequestSummary {
        protocol: "http",
        method: "POST".to_owned(),
        path: "/v2/projects".to_owned(),
        status: 201,
        start: TIME,
        duration: 1_500_000,
        names: vec![("emco.project", "p1".to_owned())],
        lines: 300,
        ..RequestSummary::default()
    };
    let body = Body::Request(&request);
    insta::assert_snapshot!(dump(&encode(
        &mut ForwardEncoder::new(),
        body,
        &constants(1)
    )));
}

#[test]
fn the_time_is_an_event_time_with_its_nanoseconds() {
    let (record, text) = record(&[]);
    let entry = encode(
        &mut ForwardEncoder::new(),
        Body::Line(&record, &text),
        &constants(1),
    );
    let (time, _) = decode(&entry);
    let mut expected = 1_795_406_977_u32.to_be_bytes().to_vec();
    expected.extend_from_slice(&672_424_268_u32.to_be_bytes());
    assert_eq!(time, rmpv::Value::Ext(0, expected));
    assert_eq!(&entry[..3], [0x92, 0xd7, 0x00], "fixext 8");
}

#[test]
fn free_fields_stand_in_an_object_of_their_own() {
    let (mut record, text) = record(&[(Key::Schema("message"), Kind::Plain, b"m")]);
    let start = u32::try_from(record.scratch.len()).unwrap();
    record.scratch.extend_from_slice(b"app_id");
    let end = u32::try_from(record.scratch.len()).unwrap();
    record.fields.push(Field {
        key: Key::Free(Range { start, end }),
        value: Value::Unsigned(70_000),
    });
    let entry = encode(
        &mut ForwardEncoder::new(),
        Body::Line(&record, &text),
        &constants(1),
    );
    let (_, fields) = decode(&entry);
    let free = field(&fields, "emco.fields")
        .and_then(rmpv::Value::as_map)
        .unwrap();
    assert_eq!(field(free, "app_id"), Some(&rmpv::Value::from(70_000)));
    assert_eq!(free.len(), 1);
    assert_eq!(field(&fields, "user.id"), Some(&rmpv::Value::from("alice")));
}

#[test]
fn constants_are_told_apart_by_their_revision_and_the_cache_stays_small() {
    let (record, text) = record(&[]);
    let mut encoder = ForwardEncoder::new();
    for revision in 0..200 {
        let mut constants = constants(revision);
        constants.fields[0].1 = format!("service-{revision}");
        let first = encode(&mut encoder, Body::Line(&record, &text), &constants);
        let again = encode(&mut encoder, Body::Line(&record, &text), &constants);
        assert_eq!(first, again);
        let (_, fields) = decode(&first);
        let name = field(&fields, "service.name").and_then(rmpv::Value::as_str);
        assert_eq!(name, Some(constants.fields[0].1.as_str()));
        assert!(encoder.constants.len() <= CACHED_MAX);
    }
}

#[test]
fn a_map_of_more_than_sixteen_bits_gets_the_longer_header() {
    let many: Vec<_> = (0..70_000_u32)
        .map(|number| (number, format!("k{number}")))
        .collect();
    let mut record = Record::default();
    for (number, name) in &many {
        let start = u32::try_from(record.scratch.len()).unwrap();
        record.scratch.extend_from_slice(name.as_bytes());
        let end = u32::try_from(record.scratch.len()).unwrap();
        record.fields.push(Field {
            key: Key::Free(Range { start, end }),
            value: Value::Unsigned(u64::from(*number)),
        });
    }
    let entry = encode(
        &mut ForwardEncoder::new(),
        Body::Line(&record, b""),
        &constants(1),
    );
    let (_, fields) = decode(&entry);
    let free = field(&fields, "emco.fields")
        .and_then(rmpv::Value::as_map)
        .unwrap();
    assert_eq!(free.len(), many.len());
    assert_eq!(free[69_999].1, rmpv::Value::from(69_999));
}

#[test]
fn numbers_keep_their_value_or_stay_text() {
    for (text, expected) in [
        ("0", rmpv::Value::from(0)),
        ("127", rmpv::Value::from(127)),
        ("128", rmpv::Value::from(128)),
        ("65536", rmpv::Value::from(65_536)),
        ("18446744073709551615", rmpv::Value::from(u64::MAX)),
        (
            "18446744073709551616",
            rmpv::Value::from("18446744073709551616"),
        ),
        ("-1", rmpv::Value::from(-1)),
        ("-33", rmpv::Value::from(-33)),
        ("-9223372036854775808", rmpv::Value::from(i64::MIN)),
        (
            "-9223372036854775809",
            rmpv::Value::from("-9223372036854775809"),
        ),
        ("1.5", rmpv::Value::from(1.5)),
        ("-2e3", rmpv::Value::from(-2000.0)),
        ("1e999", rmpv::Value::from("1e999")),
        ("no number", rmpv::Value::from("no number")),
        ("", rmpv::Value::from("")),
    ] {
        let mut out = Vec::new();
        push_number(&mut out, text.as_bytes());
        assert_eq!(
            rmpv::decode::read_value(&mut out.as_slice()).unwrap(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn broken_escapes_become_the_replacement_character() {
    for (inside, expected) in [
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ude00\ud83d\u0041", "\u{fffd}\u{fffd}A"),
        (r"\u12", "\u{fffd}12"),
        (r"\q\", "\u{fffd}\u{fffd}"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
    ] {
        let mut out = Vec::new();
        unescape(inside.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{inside}");
    }
}

proptest! {
    /// What an independent decoder reads is what was given, for texts of any length and content and
    /// for every number that JSON can write.
    #[test]
    fn an_independent_decoder_reads_what_was_given(
        message in "\\PC{0,400}",
        plain in prop::string::string_regex("(.|\n){0,80}").unwrap(),
        clean in "[a-z ]{0,100}",
        scratch in any::<String>(),
        float in prop::num::f64::NORMAL,
        integer in any::<i64>(),
    ) {
        let json = serde_json::to_string(&message).unwrap();
        let (float_text, integer_text) = (format!("{float:e}"), integer.to_string());
        let (record, text) = record(&[
            (Key::Schema("message"), Kind::Escaped, json.trim_matches('"').as_bytes()),
            (Key::Schema("plain"), Kind::Plain, plain.as_bytes()),
            (Key::Schema("clean"), Kind::Clean, clean.as_bytes()),
            (Key::Schema("scratch"), Kind::Scratch, scratch.as_bytes()),
            (Key::Schema("float"), Kind::Number, float_text.as_bytes()),
            (Key::Schema("integer"), Kind::Number, integer_text.as_bytes()),
            (Key::Schema("null"), Kind::Null, b""),
            (Key::Schema("bool"), Kind::Bool, b""),
        ]);
        // A quote at either end of the message is trimmed with the JSON quotes: leave those out.
        prop_assume!(!message.starts_with('"') && !message.ends_with('"'));
        let entry = encode(&mut ForwardEncoder::new(), Body::Line(&record, &text), &constants(1));
        let (_, fields) = decode(&entry);
        prop_assert_eq!(field(&fields, "message").unwrap().as_str(), Some(message.as_str()));
        prop_assert_eq!(field(&fields, "plain").unwrap().as_str(), Some(plain.as_str()));
        prop_assert_eq!(field(&fields, "clean").unwrap().as_str(), Some(clean.as_str()));
        prop_assert_eq!(field(&fields, "scratch").unwrap().as_str(), Some(scratch.as_str()));
        prop_assert_eq!(field(&fields, "float").unwrap().as_f64(), Some(float));
        prop_assert_eq!(field(&fields, "integer").unwrap().as_i64(), Some(integer));
        prop_assert_eq!(field(&fields, "null"), Some(&rmpv::Value::Nil));
        prop_assert_eq!(field(&fields, "bool"), Some(&rmpv::Value::from(true)));
        prop_assert_eq!(field(&fields, "event.sequence"), Some(&rmpv::Value::from(8000)));
    }
}
