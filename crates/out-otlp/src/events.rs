//! Annotations back to events: EMCO's exporter wrote `name` or `name: {attributes as JSON}`.

use std::borrow::Cow;
use std::fmt;

use model::span::Annotation;
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
    lookup: &impl Lookup,
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

fn event(annotation: &Annotation<'_>, words: &mut Words, lookup: &impl Lookup) -> Event {
    let at = time(annotation.at);
    let text = annotation.text.as_ref();
    let json = text
        .find(": {")
        .and_then(|colon| Some((text.get(..colon)?, text.get(colon + 2..)?)));
    if let Some((name, json)) = json
        && let Some((attributes, dropped)) = attributes(json, words, lookup)
    {
        return Event::new(words.keep(name), at, attributes, dropped);
    }
    let name = match clean("", text, lookup) {
        Cow::Borrowed(name) => words.keep(name),
        Cow::Owned(name) => Cow::Owned(name),
    };
    Event::new(name, at, Vec::new(), 0)
}

/// The members of a flat object; `None` if it is no object.
fn attributes(json: &str, words: &mut Words, lookup: &impl Lookup) -> Option<(Vec<KeyValue>, u32)> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let members = deserializer.deserialize_map(Members { words, lookup });
    let members = members.ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct Members<'w, L> {
    words: &'w mut Words,
    lookup: &'w L,
}

impl<'de, L: Lookup> Visitor<'de> for Members<'_, L> {
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
            attributes.push(KeyValue::new(Key::from(self.words.keep(&key)), value));
        }
        Ok((attributes, dropped))
    }
}

/// A JSON value as an attribute's value; what is nested stays JSON.
fn value(key: &str, json: &str, lookup: &impl Lookup) -> Value {
    match json.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(json).unwrap_or_default();
            match clean(key, &text, lookup) {
                Cow::Borrowed(same) if same.len() == text.len() => text.into(),
                cleaned => cleaned.into_owned().into(),
            }
        }
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
