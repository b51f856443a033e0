//! What the store and the page need to know of a document, read from its JSON in one pass.
//!
//! Documents come from any shipper, so keys may be dotted (`"log.level": …`) or nested
//! (`"log": {"level": …}`), values may have any type, and every fact may be missing.

use std::fmt;

use model::time::UnixNanos;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Longest text that is made searchable of one document, in bytes.
const WORDS_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting that is looked into; `serde_json` itself refuses more than 128.
const PATH_BYTES_MAX: usize = 512;

/// How a document stands to a person: what the page shows and filters by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attribution {
    /// A request caused it and its person is proven.
    Person,
    /// A request caused it; nobody proved whose.
    Unproven,
    /// More than one request could have caused it.
    Ambiguous,
    /// No request caused it.
    Background,
    /// There was no evidence to decide on.
    #[default]
    None,
}

impl Attribution {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 5] = [
        Self::Person,
        Self::Unproven,
        Self::Ambiguous,
        Self::Background,
        Self::None,
    ];

    /// The word in the store, in links and in the JSON API.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Unproven => "unproven",
            Self::Ambiguous => "ambiguous",
            Self::Background => "background",
            Self::None => "none",
        }
    }

    /// The one of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Facts of one document; what it does not say is empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `event.id`
    pub(crate) id: String,
    /// `@timestamp` in nanoseconds since the epoch.
    pub(crate) time: u64,
    /// `event.sequence`: offset of the line's first byte in its file.
    pub(crate) sequence: u64,
    /// Whether it describes a request and not a line.
    pub(crate) request: bool,
    /// `service.name`
    pub(crate) service: String,
    /// `log.level`
    pub(crate) level: String,
    /// `message`
    pub(crate) message: String,
    /// `trace.id`
    pub(crate) trace: String,
    /// `span.id`
    pub(crate) span: String,
    /// `user.id`
    pub(crate) user: String,
    /// `emco.user.source`
    pub(crate) user_source: String,
    /// `emco.attribution.outcome`
    pub(crate) outcome: String,
    /// `emco.attribution.rule`
    pub(crate) rule: String,
    /// `emco.attribution.candidates`
    pub(crate) candidates: Vec<String>,
    /// `emco.inferred.trace.id`
    pub(crate) inferred_trace: String,
    /// `emco.inferred.user.id`
    pub(crate) inferred_user: String,
    /// `log.file.path`
    pub(crate) path: String,
    /// `stream`
    pub(crate) stream: String,
    /// What stands for a message in a request document.
    pub(crate) http: Http,
    /// Names and free fields worth showing and searching: `(key, value)`.
    pub(crate) fields: Vec<(String, String)>,
}

/// The request part of a request document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Http {
    /// `http.request.method` or `rpc.service`
    pub(crate) method: String,
    /// `url.path` or `rpc.method`
    pub(crate) path: String,
    /// `http.response.status_code`; 0 if not known.
    pub(crate) status: u64,
    /// `event.start` in nanoseconds since the epoch.
    pub(crate) start: u64,
    /// `event.duration` in nanoseconds.
    pub(crate) duration: u64,
    /// `event.outcome` is `failure`.
    pub(crate) failed: bool,
}

impl Facts {
    /// Reads `json`, which has to be one object.
    pub(crate) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let mut facts = Self::default();
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let mut path = String::with_capacity(64);
        deserializer.deserialize_map(Object {
            path: &mut path,
            facts: &mut facts,
        })?;
        deserializer.end()?;
        Ok(facts)
    }

    /// How it stands to a person.
    pub(crate) fn attribution(&self) -> Attribution {
        match self.outcome.as_str() {
            "attributed" if self.user.is_empty() => Attribution::Unproven,
            "attributed" => Attribution::Person,
            "ambiguous" => Attribution::Ambiguous,
            "background" => Attribution::Background,
            _ if !self.user.is_empty() => Attribution::Person,
            _ => Attribution::None,
        }
    }

    /// The text that is searched besides the message.
    pub(crate) fn words(&self) -> String {
        let mut words = String::new();
        let request = [self.http.method.as_str(), self.http.path.as_str()];
        let values = self.fields.iter().map(|(_, value)| value.as_str());
        for value in request.into_iter().chain(values) {
            if words.len() + value.len() < WORDS_BYTES_MAX && !value.is_empty() {
                words.push_str(value);
                words.push(' ');
            }
        }
        words
    }

    /// The message, or what stands for it in a request document, not longer than is searchable.
    pub(crate) fn searchable_message(&self) -> &str {
        let mut end = self.message.len().min(WORDS_BYTES_MAX);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        self.message.get(..end).unwrap_or_default()
    }

    fn take_text(&mut self, path: &str, value: &str) {
        let slot = match path {
            "event.id" => &mut self.id,
            "service.name" => &mut self.service,
            "log.level" => &mut self.level,
            "message" => &mut self.message,
            "trace.id" => &mut self.trace,
            "span.id" => &mut self.span,
            "user.id" => &mut self.user,
            "emco.user.source" => &mut self.user_source,
            "emco.attribution.outcome" => &mut self.outcome,
            "emco.attribution.rule" => &mut self.rule,
            "emco.inferred.trace.id" => &mut self.inferred_trace,
            "emco.inferred.user.id" => &mut self.inferred_user,
            "log.file.path" => &mut self.path,
            "stream" => &mut self.stream,
            "http.request.method" | "rpc.service" => &mut self.http.method,
            "url.path" | "rpc.method" => &mut self.http.path,
            _ => return self.take_other(path, value),
        };
        value.clone_into(slot);
    }

    fn take_other(&mut self, path: &str, value: &str) {
        let nanos = || UnixNanos::parse_rfc3339(value.as_bytes()).unwrap_or_default();
        match path {
            "@timestamp" => self.time = nanos().0,
            "event.start" => self.http.start = nanos().0,
            "event.action" => self.request = value == "request",
            "event.outcome" => self.http.failed = value == "failure",
            "emco.attribution.candidates" => self.candidates.push(value.to_owned()),
            _ if is_shown(path) => {
                let key = path.strip_prefix("emco.fields.").unwrap_or(path);
                self.fields.push((key.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }

    fn take_number(&mut self, path: &str, value: u64) {
        match path {
            "event.sequence" => self.sequence = value,
            "event.duration" => self.http.duration = value,
            "http.response.status_code" => self.http.status = value,
            // Milliseconds, the other form that Elasticsearch takes by default.
            "@timestamp" => self.time = value.saturating_mul(1_000_000),
            _ => self.take_text(path, &value.to_string()),
        }
    }
}

/// Whether a field tells an operator something the columns do not.
fn is_shown(path: &str) -> bool {
    const HIDDEN: [&str; 6] = [
        "emco.dialect",
        "emco.attribution.",
        "emco.user.",
        "emco.inferred.",
        "emco.redacted",
        "emco.request.",
    ];
    let interesting = ["emco.", "error.", "log.origin.", "http.route", "url."]
        .iter()
        .any(|prefix| path.starts_with(prefix));
    interesting && !HIDDEN.iter().any(|prefix| path.starts_with(prefix))
}

/// Walks an object whose keys continue `path`.
struct Object<'a> {
    path: &'a mut String,
    facts: &'a mut Facts,
}

/// Takes one value at `path`.
struct Value<'a> {
    path: &'a mut String,
    facts: &'a mut Facts,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let length = self.path.len();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if length > 0 {
                self.path.push('.');
            }
            if self.path.len() + key.len() <= PATH_BYTES_MAX {
                self.path.push_str(&key);
            }
            map.next_value_seed(Value {
                path: self.path,
                facts: self.facts,
            })?;
            self.path.truncate(length);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.facts.take_text(self.path, value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.facts.take_number(self.path, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.facts.take_text(self.path, &value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.facts.take_text(self.path, &value.to_string());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.facts
            .take_text(self.path, if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (path, facts) = (self.path, self.facts);
        while list
            .next_element_seed(Value {
                path: &mut *path,
                facts: &mut *facts,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object {
            path: self.path,
            facts: self.facts,
        }
        .visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_and_nested_keys_say_the_same() {
        let dotted = r#"{"@timestamp":"2026-11-23T04:09:37.5Z","service.name":"rsync","log.level":"warn",
            "message":"hi","event.id":"a-1","event.sequence":7,"trace.id":"t","user.id":"alice",
            "emco.user.source":"gateway","emco.attribution.outcome":"attributed","emco.project":"p1",
            "emco.fields":{"status":"Instantiated"}}"#;
        let nested = r#"{"@timestamp":"2026-11-23T04:09:37.5Z","service":{"name":"rsync"},
            "log":{"level":"warn"},"message":"hi","event":{"id":"a-1","sequence":7},"trace":{"id":"t"},
            "user":{"id":"alice"},"emco":{"user":{"source":"gateway"},
            "attribution":{"outcome":"attributed"},"project":"p1","fields":{"status":"Instantiated"}}}"#;
        let facts = Facts::parse(dotted).unwrap();
        assert_eq!(facts, Facts::parse(nested).unwrap());
        assert_eq!(facts.time, 1_795_406_977_500_000_000);
        assert_eq!(facts.attribution(), Attribution::Person);
        assert_eq!(facts.words(), "p1 Instantiated ");
    }

    #[test]
    fn a_person_is_claimed_only_where_the_document_claims_one() {
        for (json, expected) in [
            (r#"{"emco.attribution.outcome":"attributed"}"#, "unproven"),
            (
                r#"{"emco.attribution.outcome":"ambiguous","emco.inferred.user.id":"x"}"#,
                "ambiguous",
            ),
            (r#"{"emco.attribution.outcome":"background"}"#, "background"),
            (r#"{"emco.inferred.user.id":"x"}"#, "none"),
            ("{}", "none"),
        ] {
            let facts = Facts::parse(json).unwrap();
            assert_eq!(facts.attribution().name(), expected, "{json}");
            assert_eq!(facts.user, "");
        }
    }

    #[test]
    fn odd_types_are_no_reason_to_fail_and_non_objects_are() {
        let odd =
            r#"{"message":17,"log.level":null,"@timestamp":1795406977500,"a":[[{"b":1e400}]]}"#;
        assert!(Facts::parse(odd).is_err());
        let odd =
            r#"{"message":17,"log.level":null,"@timestamp":1795406977500,"user":["a"],"x":-1}"#;
        let facts = Facts::parse(odd).unwrap();
        assert_eq!(facts.message, "17");
        assert_eq!(facts.time, 1_795_406_977_500_000_000);
        for text in ["", "[]", "1", "{", "{}x", "\u{0}"] {
            assert!(Facts::parse(text).is_err(), "{text}");
        }
    }
}
