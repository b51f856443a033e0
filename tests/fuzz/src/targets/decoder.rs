//! One line into a record, and the record into both encodings.

use std::collections::{BTreeMap, HashSet};

use decode::{FactBuf, Flaw, Framed, facts, flaws};
use model::line::{Dialect, Extent};
use model::record::{Field, Key, Record, Value};
use rmpv::Value as Packed;
use serde_json::value::RawValue;

use crate::input::Input;
use crate::render::{ARRIVAL, Rendered};

type Object<'a> = BTreeMap<String, &'a RawValue>;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let zone = input.one_of(&[0, 3600, -12_600]);
    let text = input.rest();
    let rendered = Rendered::new(text, zone);
    assert_fields(&rendered.record, text);
    assert_whole(&rendered.record, text);
    assert_flaws(&rendered.record, text);
    assert_same(&rendered);
    let mut buffer = FactBuf::default();
    facts(&rendered.record, text, ARRIVAL, &mut buffer);
    // What the agent reads of lines besides.
    decode::cri::header(text);
    decode::clf::parse(text);
    decode::envoy::access(text);
}

/// Values are valid text, keys come once, free fields after those of the schema.
fn assert_fields(record: &Record, text: &[u8]) {
    let mut keys = HashSet::new();
    let mut free = false;
    for field in &record.fields {
        let key = match field.key {
            Key::Schema(key) => {
                assert!(!free, "{key} comes after a free field");
                key
            }
            Key::Free(range) => {
                free = true;
                std::str::from_utf8(range.of(&record.scratch)).unwrap()
            }
        };
        assert!(keys.insert((free, key)), "{key} comes twice");
        if let Some(bytes) = value(field, record, text) {
            assert!(std::str::from_utf8(bytes).is_ok(), "{key} is no text");
        }
    }
}

/// What no dialect claims is shipped as it is.
fn assert_whole(record: &Record, text: &[u8]) {
    if record.dialect != Dialect::Unknown || record.masked > 0 {
        return;
    }
    let message = record
        .fields
        .iter()
        .find(|field| field.key == Key::Schema("message"))
        .and_then(|field| value(field, record, text));
    let end = text.len() - text.iter().rev().take_while(|byte| **byte == b'\r').count();
    assert_eq!(
        String::from_utf8_lossy(message.unwrap_or_default()),
        String::from_utf8_lossy(&text[..end])
    );
}

/// What is wrong with the bytes is said, and nothing else.
fn assert_flaws(record: &Record, text: &[u8]) {
    let extent = Extent {
        offset: 0,
        bytes: u32::try_from(text.len()).unwrap_or(u32::MAX),
    };
    let line = Framed {
        extents: &[(0, extent)],
        time: ARRIVAL,
        stream: record.stream,
        text,
        partial: false,
        split: false,
    };
    let mut found = Vec::new();
    flaws(&line, record, &mut |flaw| found.push(flaw));
    let is_found = |flaw| found.contains(&flaw);
    let is_text = std::str::from_utf8(text).is_ok();
    assert_eq!(is_found(Flaw::InvalidUtf8), !is_text);
    let is_unknown = record.dialect == Dialect::Unknown;
    if is_unknown || is_found(Flaw::Nul) {
        assert_eq!(is_found(Flaw::Nul), text.contains(&0));
    }
    if is_found(Flaw::BrokenJson) {
        assert!(is_unknown && text.starts_with(b"{"));
    }
    assert!(!is_found(Flaw::Split) && !is_found(Flaw::Partial));
}

fn value<'a>(field: &Field, record: &'a Record, text: &'a [u8]) -> Option<&'a [u8]> {
    let (range, bytes) = match field.value {
        Value::Clean(range)
        | Value::Escaped(range)
        | Value::Plain(range)
        | Value::Number(range) => (range, text),
        Value::Scratch(range) => (range, &record.scratch[..]),
        Value::Unsigned(_) | Value::Bool(_) | Value::Null | Value::Static(_) => return None,
    };
    Some(&bytes[range.start as usize..range.end as usize])
}

/// Both encodings can be read and say the same.
fn assert_same(rendered: &Rendered) {
    let lines = rendered.bulk.split_inclusive(|byte| *byte == b'\n');
    assert_eq!(lines.count(), 2, "an item is two lines");
    let json: Object<'_> = serde_json::from_slice(rendered.json()).expect("a JSON object");
    let mut rest = &rendered.entry[..];
    let packed = rmpv::decode::read_value(&mut rest).expect("a MessagePack value");
    assert!(rest.is_empty(), "an entry is one value");
    let [_, Packed::Map(pairs)] = &packed.as_array().expect("an entry")[..] else {
        panic!("an entry is time and record: {packed}");
    };
    assert_object(&json, pairs);
}

fn assert_object(json: &Object<'_>, pairs: &[(Packed, Packed)]) {
    assert_eq!(json.len(), pairs.len(), "{json:?} {pairs:?}");
    for (key, packed) in pairs {
        let key = key.as_str().expect("a key is text");
        let raw = json[key].get();
        match packed {
            Packed::Map(pairs) => {
                assert_object(&serde_json::from_str(raw).expect("an object"), pairs);
            }
            Packed::String(text) => {
                let text = text.as_str().expect("a string is UTF-8");
                let same = if raw.starts_with('"') {
                    serde_json::from_str::<String>(raw).expect("a string") == text
                } else {
                    // A number that neither 64 bits nor a double holds.
                    raw == text
                };
                assert!(same, "{key}: {raw} and {text}");
            }
            Packed::Integer(number) => assert_eq!(raw.parse(), Ok(number.as_i128()), "{key}"),
            Packed::F64(number) => {
                let parsed: f64 = raw.parse().expect("a number");
                assert_eq!(parsed.to_bits(), number.to_bits(), "{key}");
            }
            other => assert_eq!(raw, other.to_string().replace("nil", "null"), "{key}"),
        }
    }
}

/// Integers of both signs.
trait AsI128 {
    fn as_i128(&self) -> i128;
}

impl AsI128 for rmpv::Integer {
    fn as_i128(&self) -> i128 {
        let unsigned = self.as_u64().map(i128::from);
        unsigned.or_else(|| self.as_i64().map(i128::from)).unwrap()
    }
}
