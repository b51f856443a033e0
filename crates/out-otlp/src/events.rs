//! Annotations back to events: EMCO's exporter wrote `name` or `name: {attributes as JSON}`.

use std::borrow::Cow;
use std::fmt;

use model::span::{Annotation, Message};
use opentelemetry::trace::Event;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::SpanEvents;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::attributes::{clean, time};
use crate::lookup::Lookup;
use crate::names::Words;

/// Most events of one span, and attributes of one event.
const EVENTS_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 32;

/// The events of a span.
pub(crate) fn events(
    annotations: &[Annotation<'_>],
    words: &mut Words,
    lookup: &dyn Lookup,
) -> SpanEvents {
    let mut events = SpanEvents::default();
    events.events = annotations
        .iter()
        .take(EVENTS_MAX)
        .map(|annotation| event(annotation, words, lookup))
        .collect();
    let dropped = annotations.len().saturating_sub(EVENTS_MAX);
    events.dropped_count = u32::try_from(dropped).unwrap_or(u32::MAX);
    events
}

fn event(annotation: &Annotation<'_>, words: &mut Words, lookup: &dyn Lookup) -> Event {
    let at = time(annotation.at);
    let text = annotation.text.as_ref();
    if let Some(message) = annotation.message.or_else(|| message(text)) {
        return Event::new("message", at, message_attributes(message), 0);
    }
    let json = text
        .find(": {")
        .and_then(|colon| Some((text.get(..colon)?, text.get(colon + 2..)?)));
    if let Some((name, json)) = json
        && let Some((attributes, dropped)) = attributes(json, words, lookup)
    {
        return Event::new(words.keep(name, lookup), at, attributes, dropped);
    }
    Event::new(words.keep(text, lookup), at, Vec::new(), 0)
}

/// What gRPC's instrumentation writes for each message, twice in nearly every span.
fn message(text: &str) -> Option<Message> {
    let rest = text.strip_prefix("message: {\"message.id\":")?;
    let (id, rest) = leading_number(rest)?;
    let rest = rest.strip_prefix(",\"message.type\":\"")?;
    let (sent, rest) = match rest.strip_prefix("SENT") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix("RECEIVED")?),
    };
    let rest = rest.strip_prefix("\",\"message.uncompressed_size\":")?;
    let (bytes, "}") = leading_number(rest)? else {
        return None;
    };
    Some(Message { id, sent, bytes })
}

fn message_attributes(message: Message) -> Vec<KeyValue> {
    let kind = if message.sent { "SENT" } else { "RECEIVED" };
    vec![
        KeyValue::new("message.id", message.id),
        KeyValue::new("message.type", kind),
        KeyValue::new("message.uncompressed_size", message.bytes),
    ]
}

fn leading_number(text: &str) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

/// The members of a flat object; `None` if it is no object.
fn attributes(json: &str, words: &mut Words, lookup: &dyn Lookup) -> Option<(Vec<KeyValue>, u32)> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let members = deserializer.deserialize_map(Members { words, lookup });
    let members = members.ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct Members<'w> {
    words: &'w mut Words,
    lookup: &'w dyn Lookup,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = (Vec<KeyValue>, u32);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attributes = Vec::with_capacity(3);
        let mut dropped = 0;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if attributes.len() >= ATTRIBUTES_MAX {
                map.next_value::<IgnoredAny>()?;
                dropped += 1;
                continue;
            }
            let raw: &RawValue = map.next_value()?;
            let value = value(&key, raw.get(), self.lookup);
            attributes.push(KeyValue::new(
                Key::from(self.words.keep(&key, self.lookup)),
                value,
            ));
        }
        Ok((attributes, dropped))
    }
}

/// A JSON value as an attribute's value; what is nested stays JSON. Under a secret's key no value of
/// any kind goes out.
fn value(key: &str, json: &str, lookup: &dyn Lookup) -> Value {
    match json.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(json).unwrap_or_default();
            match clean(key, &text, lookup) {
                Cow::Borrowed(same) if same.len() == text.len() => text.into(),
                cleaned => cleaned.into_owned().into(),
            }
        }
        _ if lookup.redact(key, json).is_some() => clean(key, json, lookup).into_owned().into(),
        Some(b't') => true.into(),
        Some(b'f') => false.into(),
        _ => {
            if let Ok(number) = json.parse::<i64>() {
                return number.into();
            }
            if let Ok(number) = json.parse::<f64>() {
                return number.into();
            }
            clean(key, json, lookup).into_owned().into()
        }
    }
}
