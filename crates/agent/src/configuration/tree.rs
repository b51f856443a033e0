//! A settings file as a tree whose every node knows where it stands.
//!
//! Scalars stay the text that was written: what it has to be is known only where it is used.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::mistakes::Mistake;

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file.
    File(Place),
    /// In a variable of the environment, by its whole name.
    Variable(String),
    /// Nowhere: it is missing.
    Nowhere,
}

/// A piece of the file: line and column from 1, and so many characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) key: String,
    /// Of the key.
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// Reads the file's text.
///
/// # Errors
/// The first place that is no YAML: what follows it means nothing.
pub(crate) fn parse(text: &str) -> Result<Node, Mistake> {
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Option<Spanned<Raw>>>(text, options) {
        Ok(Some(raw)) => Ok(node(raw, text)),
        Ok(None) => Ok(Node {
            origin: Origin::Nowhere,
            value: Value::Null,
        }),
        Err(error) => Err(not_yaml(&error)),
    }
}

fn not_yaml(error: &serde_saphyr::Error) -> Mistake {
    let error = error.without_snippet();
    let origin = error
        .location()
        .map_or(Origin::Nowhere, |location| Origin::File(place(location)));
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let key = key
            .as_deref()
            .map_or_else(String::new, |key| format!(" `{key}`"));
        let what = format!("the key{key} stands here for the second time; keep one of the two");
        return Mistake::new(String::new(), origin, what);
    }
    let text = error.to_string();
    // the place is said by ourselves
    let what = text.split(" at line ").next().unwrap_or(&text);
    let what =
        what.rsplit_once(": ").map_or(
            what,
            |(head, rest)| {
                if head.contains("line ") { rest } else { what }
            },
        );
    Mistake::new(String::new(), origin, format!("no YAML: {what}"))
}

/// What the parser hands over.
enum Raw {
    Null,
    Text(String),
    /// Something that is written without quotes and is no string to YAML.
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let origin = Origin::File(place(raw.referenced));
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Scalar(text),
        // as it was written: 1.50 is not 1.5 where a name is wanted
        Raw::Plain(number) => {
            Value::Scalar(written(raw.defined, text).map_or(number, str::to_owned))
        }
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(members) => Value::Map(
            members
                .into_iter()
                .map(|(key, value)| Member {
                    place: place(key.referenced),
                    key: key.value,
                    node: node(value, text),
                })
                .collect(),
        ),
    };
    Node { origin, value }
}

fn written(location: Location, text: &str) -> Option<&str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let written = text.get(start..start.checked_add(length)?)?.trim();
    (!written.is_empty()).then_some(written)
}

fn place(location: Location) -> Place {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Place {
        line: number(location.line()),
        column: number(location.column()),
        length: number(location.span().len()).max(1),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member<'a>(node: &'a Node, key: &str) -> &'a Member {
        let Value::Map(members) = &node.value else {
            panic!("{node:?} is no map")
        };
        members.iter().find(|member| member.key == key).unwrap()
    }

    #[test]
    fn every_node_knows_its_place_and_scalars_stay_as_written() {
        let text = "a: {b: 1.50, c: [x, 'y z']}\nd:\n  e: 0755\nf: &g 2s\nh: *g\ni:\n";
        let root = parse(text).unwrap();
        let b = member(&member(&root, "a").node, "b");
        assert_eq!(b.node.value, Value::Scalar("1.50".to_owned()));
        let expected = Place {
            line: 1,
            column: 8,
            length: 4,
        };
        assert_eq!(b.node.origin, Origin::File(expected));
        assert_eq!((b.place.line, b.place.column), (1, 5));
        let Value::List(items) = &member(&member(&root, "a").node, "c").node.value else {
            panic!("no list")
        };
        assert_eq!(items[1].value, Value::Scalar("y z".to_owned()));
        let e = &member(&member(&root, "d").node, "e").node;
        assert_eq!(e.value, Value::Scalar("0755".to_owned()));
        let h = &member(&root, "h").node;
        assert_eq!(h.value, Value::Scalar("2s".to_owned()));
        assert!(matches!(h.origin, Origin::File(place) if place.line == 5));
        assert_eq!(member(&root, "i").node.value, Value::Null);
    }

    #[test]
    fn nothing_is_an_empty_tree() {
        for text in ["", "# nothing\n", "---\n", "~"] {
            assert_eq!(parse(text).unwrap().value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn a_key_that_stands_there_twice_is_named_with_its_place() {
        for (text, line, column, key) in [
            ("a: 1\na: 2\n", 2, 1, "a"),
            ("x:\n  b: 1\n  c: 1\n  b: 1", 4, 3, "b"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert!(
                matches!(mistake.origin, Origin::File(at) if (at.line, at.column) == (line, column)),
                "{mistake:?}"
            );
            let expected =
                format!("the key `{key}` stands here for the second time; keep one of the two");
            assert_eq!(mistake.what, expected);
        }
    }

    #[test]
    fn what_is_no_yaml_is_said_with_its_place() {
        for (text, line) in [("a: [\n", 1), ("a: \"x\nb: 1\n", 1), ("a: b: c", 1)] {
            let mistake = parse(text).unwrap_err();
            let Origin::File(place) = mistake.origin else {
                panic!("{mistake:?}")
            };
            assert!(place.line >= line, "{mistake:?}");
            assert!(mistake.what.starts_with("no YAML: "), "{mistake:?}");
        }
    }
}
