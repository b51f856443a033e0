//! EMCO's configuration with our address for spans in it, every other byte as it was.
//!
//! EMCO reads a JSON object of strings. Its reader takes names in any case and the last of those that
//! come twice, so all of them are changed; one that is missing is added at the end.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What is set, as JSON.
const WANTED: [(&str, &str); 2] = [("zipkin-ip", "\"127.0.0.1\""), ("zipkin-port", "\"9411\"")];

/// The configuration with the address in it, or why that cannot be.
pub(super) fn edit(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|error| format!("is no text: {error}"))?;
    let Members(members) =
        serde_json::from_str(text).map_err(|error| format!("is no JSON object: {error}"))?;
    let mut changes: Vec<(Range<usize>, Cow<'static, str>)> = Vec::new();
    let end = text.trim_end().len().saturating_sub(1);
    let mut is_empty = members.is_empty();
    for (name, value) in WANTED {
        let found = members
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let before = changes.len();
        changes.extend(found.filter_map(|(_, old)| Some((place(text, old)?, value.into()))));
        if changes.len() == before {
            let comma = if is_empty { "" } else { ", " };
            changes.push((end..end, format!("{comma}\"{name}\": {value}").into()));
            is_empty = false;
        }
    }
    changes.sort_by_key(|(range, _)| range.start);
    apply(text, &changes).ok_or_else(|| "cannot be changed".to_owned())
}

/// Members of the outermost object, in their order.
struct Members<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

fn place(text: &str, part: &RawValue) -> Option<Range<usize>> {
    let part = part.get();
    let start = (part.as_ptr().addr()).checked_sub(text.as_ptr().addr())?;
    Some(start..start + part.len())
}

fn apply(text: &str, changes: &[(Range<usize>, Cow<'_, str>)]) -> Option<Vec<u8>> {
    let (mut edited, mut at) = (String::with_capacity(text.len() + 64), 0);
    for (range, new) in changes {
        edited += text.get(at..range.start)?;
        edited += new;
        at = range.end;
    }
    edited += text.get(at..)?;
    Some(edited.into_bytes())
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            members.push((Cow::Owned(key), value));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn edited(text: &str) -> String {
        String::from_utf8(edit(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn emcos_own_file_differs_in_two_values() {
        let text = "{\n    \"database-ip\": \"emco-mongo\",\n    \"zipkin-ip\": \"\",\n    \"zipkin-port\": \"9411\",\n    \"log-level\": \"warn\"\n}\n\n";
        assert_eq!(
            edited(text),
            text.replace("\"zipkin-ip\": \"\"", "\"zipkin-ip\": \"127.0.0.1\"")
        );
        let text = "{\"zipkin-port\":\"80\",\"a\":{\"zipkin-ip\":\"x\"},\"zipkin-ip\" : \"zipkin.istio-system\"}";
        assert_eq!(
            edited(text),
            "{\"zipkin-port\":\"9411\",\"a\":{\"zipkin-ip\":\"x\"},\"zipkin-ip\" : \"127.0.0.1\"}"
        );
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_there_twice_changed_twice() {
        let both = "\"zipkin-ip\": \"127.0.0.1\", \"zipkin-port\": \"9411\"";
        assert_eq!(edited("{}"), format!("{{{both}}}"));
        assert_eq!(
            edited("{ \"a\": 1 }\n"),
            format!("{{ \"a\": 1 , {both}}}\n")
        );
        assert_eq!(
            edited("{\"zipkin-ip\":1,\"Zipkin-IP\":[],\"zipkin\\u002dport\":null}"),
            "{\"zipkin-ip\":\"127.0.0.1\",\"Zipkin-IP\":\"127.0.0.1\",\"zipkin\\u002dport\":\"9411\"}"
        );
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        for text in [
            "",
            "[]",
            "{",
            "{}x",
            "{\"a\":}",
            "null",
            "{\"a\":1,}",
            "// no\n{}",
        ] {
            let why = edit(text.as_bytes()).unwrap_err();
            assert!(why.starts_with("is no JSON object: "), "{text}: {why}");
        }
        assert!(
            edit(b"{\"a\":\"\xff\"}")
                .unwrap_err()
                .starts_with("is no text: ")
        );
    }

    proptest! {
        #[test]
        fn everything_else_stays_and_a_second_time_changes_nothing(
            keys in prop::collection::vec("(zipkin-ip|zipkin-port|[a-z\"é]{0,3})", 0..6),
            values in prop::collection::vec("[a-z{},:\"\\\\é]{0,6}", 6),
        ) {
            let members: Vec<_> = keys.iter().zip(&values).map(|(key, value)| {
                format!("{}: {}", Value::from(key.as_str()), Value::from(value.as_str()))
            }).collect();
            let text = format!("{{ {} }}", members.join(" ,\n"));
            let once = edited(&text);
            prop_assert_eq!(edited(&once), once.clone());
            let parse = |text: &str| serde_json::from_str::<serde_json::Map<String, Value>>(text).unwrap();
            let (before, after) = (parse(&text), parse(&once));
            for (key, value) in &after {
                match key.as_str() {
                    "zipkin-ip" => prop_assert_eq!(value, "127.0.0.1"),
                    "zipkin-port" => prop_assert_eq!(value, "9411"),
                    _ => prop_assert_eq!(Some(value), before.get(key)),
                }
            }
            prop_assert!(before.keys().all(|key| after.contains_key(key)));
        }
    }
}
