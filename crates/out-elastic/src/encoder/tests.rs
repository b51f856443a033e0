use model::document::RequestSummary;
use model::ids::{DocumentId, FileKey, SpanId, TraceId};
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
            ("log.file.path", "/var/log/\"odd\"\\name".to_owned()),
        ],
    }
}

fn encoder() -> BulkEncoder {
    BulkEncoder::new(&ElasticSettings::new("http://es:9200".parse().unwrap()))
}

fn push(bytes: &mut Vec<u8>, value: &[u8]) -> Range {
    let start = u32::try_from(bytes.len()).unwrap();
    bytes.extend_from_slice(value);
    let end = u32::try_from(bytes.len()).unwrap();
    Range { start, end }
}

fn encode(
    encoder: &mut BulkEncoder,
    body: Body<'_>,
    time: UnixNanos,
    constants: &Constants,
) -> String {
    let verdict = Verdict {
        outcome: Outcome::Ambiguous,
        rule: Rule::Names,
        candidates: vec![TraceId([1; 16]), TraceId([2; 16])],
        inferred: Some((
            TraceId([1; 16]),
            Some(User {
                id: "bob \"b\"".into(),
                source: UserSource::MutualTls,
            }),
        )),
        ..Verdict::default()
    };
    let id = match body {
        Body::Line(..) => DocumentId::Line(FileKey([0xab; 16]), 0x1f40),
        Body::Request(_) => DocumentId::Request(TraceId([7; 16]), SpanId([8; 8])),
    };
    let document = Document {
        id,
        home: time.day(),
        time,
        sequence: 8000,
        body,
        verdict: &verdict,
        constants,
    };
    let mut out = Vec::new();
    encoder.encode(&document, &mut out);
    String::from_utf8(out).unwrap()
}

fn parse(item: &str) -> (serde_json::Value, serde_json::Value) {
    let lines: Vec<&str> = item.lines().collect();
    assert_eq!(lines.len(), 2, "{item}");
    assert!(item.ends_with('\n'));
    let action = serde_json::from_str(lines[0]).unwrap();
    (action, serde_json::from_str(lines[1]).unwrap())
}

#[test]
fn a_line_as_text() {
    let mut text = Vec::new();
    let mut record = Record::default();
    let fields = [
        (
            Key::Schema("message"),
            Value::Escaped(push(&mut text, br"caf\u00e9\n")),
        ),
        (
            Key::Schema("emco.count"),
            Value::Number(push(&mut text, b"-1.50e3")),
        ),
    ];
    record
        .fields
        .extend(fields.map(|(key, value)| Field { key, value }));
    let key = Key::Free(push(&mut record.scratch, b"app_id"));
    let value = Value::Plain(push(&mut text, b"tab\tquote\""));
    record.fields.push(Field { key, value });
    let item = encode(
        &mut encoder(),
        Body::Line(&record, &text),
        TIME,
        &constants(1),
    );
    parse(&item);
    insta::assert_snapshot!(item);
}

#[test]
fn a_request_as_text() {
    let request = RequestSummary {
        protocol: "grpc",
        method: "installapp".to_owned(),
        path: "InstallApp".to_owned(),
        start: TIME,
        duration: 1_500_000,
        names: vec![("emco.app_context", "5345678912345678".to_owned())],
        failed: true,
        ..RequestSummary::default()
    };
    let item = encode(&mut encoder(), Body::Request(&request), TIME, &constants(1));
    parse(&item);
    insta::assert_snapshot!(item);
}

#[test]
fn the_index_follows_from_the_documents_own_day() {
    let (record, mut encoder) = (Record::default(), encoder());
    for (time, index) in [
        (TIME, "emco-logs-2026.11.23"),
        (TIME.plus(86_400_000_000_000), "emco-logs-2026.11.24"),
        (TIME, "emco-logs-2026.11.23"),
    ] {
        let item = encode(&mut encoder, Body::Line(&record, b""), time, &constants(1));
        assert_eq!(parse(&item).0["create"]["_index"], index);
    }
    let request = RequestSummary::default();
    let item = encode(&mut encoder, Body::Request(&request), TIME, &constants(1));
    assert_eq!(
        parse(&item).0["create"]["_index"],
        "emco-requests-2026.11.23"
    );
}

#[test]
fn constants_are_told_apart_by_their_revision_and_the_cache_stays_small() {
    let (record, mut encoder) = (Record::default(), encoder());
    for revision in 0..200 {
        let mut constants = constants(revision);
        constants.fields[0].1 = format!("service-{revision}");
        let body = Body::Line(&record, b"");
        let first = encode(&mut encoder, body, TIME, &constants);
        assert_eq!(first, encode(&mut encoder, body, TIME, &constants));
        assert_eq!(parse(&first).1["service.name"], constants.fields[0].1);
        assert!(encoder.constants.len() <= CACHED_MAX);
    }
    let none = Constants::default();
    parse(&encode(&mut encoder, Body::Line(&record, b""), TIME, &none));
}

proptest! {
    /// An independent parser reads exactly what was given, on one line.
    #[test]
    fn an_independent_parser_reads_what_was_given(
        message in any::<String>(),
        plain in any::<String>(),
        clean in "[^\"\\\\\\x00-\\x1f]{0,100}",
        key in "[a-z_]{1,20}",
        integer in any::<i64>(),
        unsigned in any::<u64>(),
        boolean in any::<bool>(),
    ) {
        let json = serde_json::to_string(&message).unwrap();
        let inside = &json[1..json.len() - 1];
        let (mut text, mut record) = (Vec::new(), Record::default());
        let fields = [
            (Key::Schema("message"), Value::Escaped(push(&mut text, inside.as_bytes()))),
            (Key::Schema("integer"), Value::Number(push(&mut text, integer.to_string().as_bytes()))),
            (Key::Schema("clean"), Value::Clean(push(&mut text, clean.as_bytes()))),
            (Key::Schema("plain"), Value::Scratch(push(&mut record.scratch, plain.as_bytes()))),
            (Key::Schema("unsigned"), Value::Unsigned(unsigned)),
            (Key::Schema("boolean"), Value::Bool(boolean)),
            (Key::Schema("null"), Value::Null),
        ];
        record.fields.extend(fields.map(|(key, value)| Field { key, value }));
        let free = Key::Free(push(&mut record.scratch, key.as_bytes()));
        record.fields.push(Field { key: free, value: Value::Static("value") });
        let item = encode(&mut encoder(), Body::Line(&record, &text), TIME, &constants(1));
        let (action, document) = parse(&item);
        prop_assert_eq!(&action["create"]["_id"], &document["event.id"]);
        prop_assert_eq!(&document["message"], &serde_json::Value::from(message));
        prop_assert_eq!(&document["clean"], &serde_json::Value::from(clean));
        prop_assert_eq!(&document["plain"], &serde_json::Value::from(plain));
        prop_assert_eq!(&document["integer"], &serde_json::Value::from(integer));
        prop_assert_eq!(&document["unsigned"], &serde_json::Value::from(unsigned));
        prop_assert_eq!(&document["boolean"], &serde_json::Value::from(boolean));
        prop_assert!(document["null"].is_null());
        prop_assert_eq!(&document["emco.fields"][&key], "value");
        prop_assert_eq!(&document["log.file.path"], "/var/log/\"odd\"\\name");
        prop_assert_eq!(&document["emco.inferred.user.id"], "bob \"b\"");
    }
}
