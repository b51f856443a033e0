//! From a tree and variables to typed settings, with every mistake at once.
//!
//! serde ends at the first thing that is wrong. So what is wrong is noted, left out of the tree, and
//! the rest is read again, until nothing is left that is wrong: types say what is allowed, and there
//! is no second description of the keys to keep in step.
//!
//! Knows no file and no environment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::mistakes::{Mistake, suggestion};
use super::tree::{Member, Node, Origin, Value};
use super::variables::{self, Variables};

/// More mistakes are not looked for.
const MISTAKES_MAX: usize = 100;

/// What was read.
pub(crate) struct Read<T> {
    /// What is left without the mistakes; none if not even that can be used.
    pub(crate) value: Option<T>,
    pub(crate) mistakes: Vec<Mistake>,
    /// Where each key was said.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// Keys that were wrong, or that were probably meant by something that is wrong.
    pub(crate) suspects: BTreeSet<String>,
}

/// Reads `tree`, over which `variables` win.
pub(crate) fn read<T: DeserializeOwned>(tree: &Node, variables: &Variables) -> Read<T> {
    let state = RefCell::new(State::default());
    let mut value = None;
    // each round notes at least one more mistake or ends
    while value.is_none() && state.borrow().mistakes.len() < MISTAKES_MAX {
        let root = Reader {
            node: tree,
            path: String::new(),
            variables,
            state: &state,
        };
        match T::deserialize(root) {
            Ok(read) => value = Some(read),
            Err(failure) => {
                if !state.borrow_mut().note(failure) {
                    break;
                }
            }
        }
    }
    let mut state = state.into_inner();
    state.unknown_variables(variables);
    Read {
        value,
        mistakes: state.mistakes,
        origins: state.origins,
        suspects: state.suspects,
    }
}

/// What the rounds share.
#[derive(Default)]
struct State {
    mistakes: Vec<Mistake>,
    /// Paths that are left out from now on.
    dropped: BTreeSet<String>,
    origins: BTreeMap<String, Origin>,
    suspects: BTreeSet<String>,
    /// All keys that were asked for: what variables may be called.
    known: BTreeSet<String>,
}

impl State {
    /// Notes what ended a round; false if that is no news.
    fn note(&mut self, failure: Failure) -> bool {
        let Some((path, origin)) = failure.place else {
            let mistake = Mistake::new(String::new(), Origin::Nowhere, failure.what);
            self.mistakes.push(mistake);
            return false;
        };
        let follows = failure.missing.is_some_and(|field| {
            let missing = join(&path, field);
            self.dropped.contains(&missing) || self.suspects.contains(&missing)
        });
        if !follows {
            self.suspects.insert(path.clone());
            self.mistakes.push(Mistake {
                allowed: failure.allowed,
                ..Mistake::new(path.clone(), origin, failure.what)
            });
        }
        !path.is_empty() && self.dropped.insert(path)
    }

    fn unknown_key(&mut self, section: &str, member: &Member, known: &[&str]) {
        let path = join(section, &member.key);
        if !self.dropped.insert(path.clone()) {
            return;
        }
        let meant = suggestion(&member.key, known.iter().copied());
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        self.suspects
            .extend(meant.map(|meant| join(section, meant)));
        let what = format!("unknown key `{path}`{hint}");
        self.mistakes.push(Mistake {
            allowed: Some(format!("allowed here: {}", known.join(", "))),
            ..Mistake::new(path, Origin::File(member.place), what)
        });
    }

    fn unknown_variables(&mut self, variables: &Variables) {
        let known: BTreeSet<String> = self
            .known
            .iter()
            .map(|path| variables::name(path))
            .collect();
        for name in variables.names() {
            let name = format!("{}{name}", variables::PREFIX);
            if known.contains(&name) || self.mistakes.len() >= MISTAKES_MAX {
                continue;
            }
            let meant = suggestion(&name, known.iter().map(String::as_str));
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            let what = format!("no setting has this variable{hint}");
            let origin = Origin::Variable(name);
            self.mistakes
                .push(Mistake::new(String::new(), origin, what));
        }
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// Why one value could not be read.
#[derive(Debug)]
struct Failure {
    what: String,
    allowed: Option<String>,
    missing: Option<&'static str>,
    /// Innermost value that was being read.
    place: Option<(String, Origin)>,
}

impl Failure {
    fn new(what: String) -> Self {
        Self {
            what,
            allowed: None,
            missing: None,
            place: None,
        }
    }

    fn at(mut self, path: &str, origin: &Origin) -> Self {
        if self.place.is_none() {
            self.place = Some((path.to_owned(), origin.clone()));
            self.what = match self.missing {
                Some(field) => format!("`{}` is missing", join(path, field)),
                None if path.is_empty() => format!("the file {}", self.what),
                None => format!("`{path}` {}", self.what),
            };
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field),
            ..Self::new(String::new())
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::new(format!("is {found}, but has to be {expected}"))
    }

    fn unknown_variant(found: &str, variants: &'static [&'static str]) -> Self {
        let meant = suggestion(found, variants.iter().copied());
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        Self {
            allowed: Some(format!("allowed here: {}", variants.join(", "))),
            ..Self::new(format!("is {found:?}, which is none of its values{hint}"))
        }
    }
}

/// One value of the tree.
#[derive(Clone)]
struct Reader<'a> {
    node: &'a Node,
    path: String,
    variables: &'a Variables,
    state: &'a RefCell<State>,
}

impl<'a> Reader<'a> {
    fn fail(&self, wanted: &str) -> Failure {
        let found = match &self.node.value {
            Value::Null => "has no value".to_owned(),
            Value::Scalar(text) => format!("is {text:?}"),
            Value::List(_) => "is a list".to_owned(),
            Value::Map(_) => "is a section with keys of its own".to_owned(),
        };
        Failure::new(format!("{found}, but has to be {wanted}")).at(&self.path, &self.node.origin)
    }

    fn scalar(&self, wanted: &str) -> Result<&'a str, Failure> {
        match &self.node.value {
            Value::Scalar(text) => Ok(text),
            _ => Err(self.fail(wanted)),
        }
    }

    fn parsed<N: std::str::FromStr>(&self, wanted: &str) -> Result<N, Failure> {
        let text = self.scalar(wanted)?;
        text.trim().parse().map_err(|_| self.fail(wanted))
    }

    fn members(&self) -> Result<&'a [Member], Failure> {
        match &self.node.value {
            Value::Map(members) => Ok(members),
            Value::Null => Ok(&[]),
            _ => Err(self.fail("a section with keys of its own")),
        }
    }

    fn is_dropped(&self, path: &str) -> bool {
        self.state.borrow().dropped.contains(path)
    }

    /// The fields of a section that are said somewhere, each with its value.
    fn fields(&self, fields: &'static [&'static str]) -> Result<Vec<(String, Said<'a>)>, Failure> {
        let members = self.members()?;
        for member in members {
            if !fields.contains(&member.key.as_str()) {
                self.state
                    .borrow_mut()
                    .unknown_key(&self.path, member, fields);
            }
        }
        let mut said = Vec::new();
        for field in fields {
            let path = join(&self.path, field);
            self.state.borrow_mut().known.insert(path.clone());
            let in_file = members.iter().find(|member| member.key == *field);
            let in_file = in_file.map(|member| &member.node);
            let value = match (self.variables.get(&path), in_file) {
                (Some(text), _) => Said::Variable(Node {
                    origin: Origin::Variable(variables::name(&path)),
                    value: Value::Scalar(text.to_owned()),
                }),
                (None, Some(node)) => Said::File(node),
                (None, None) if self.variables.any_below(&path) => Said::Variable(Node {
                    origin: Origin::Nowhere,
                    value: Value::Map(Vec::new()),
                }),
                (None, None) => continue,
            };
            if !self.is_dropped(&path) {
                said.push(((*field).to_owned(), value));
            }
        }
        Ok(said)
    }

    /// `key` is a field's name, or an index in brackets.
    fn child<'b>(&self, node: &'b Node, path: String) -> Reader<'b>
    where
        'a: 'b,
    {
        let mut state = self.state.borrow_mut();
        state.origins.insert(path.clone(), node.origin.clone());
        drop(state);
        Reader {
            node,
            path,
            variables: self.variables,
            state: self.state,
        }
    }
}

/// A value from the file, or one made from a variable.
enum Said<'a> {
    File(&'a Node),
    Variable(Node),
}

impl Said<'_> {
    const fn node(&self) -> &Node {
        match self {
            Self::File(node) => node,
            Self::Variable(node) => node,
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $kind:ty, $wanted:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let number = self.parsed::<$kind>($wanted)?;
            self.placed(visitor.$visit(number))
        })*
    };
}

impl Reader<'_> {
    fn placed<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| failure.at(&self.path, &self.node.origin))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Failure;

    numbers! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar(_) => self.deserialize_str(visitor),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.scalar("a text")?;
        self.placed(visitor.visit_str(text))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let from_variable: Vec<Node>;
        let items = match (&self.node.value, &self.node.origin) {
            (Value::List(items), _) => items.as_slice(),
            (Value::Scalar(text), Origin::Variable(_)) => {
                let item = |text: &str| Node {
                    origin: self.node.origin.clone(),
                    value: Value::Scalar(text.trim().to_owned()),
                };
                from_variable = text.split(',').map(item).collect();
                from_variable.as_slice()
            }
            _ => return Err(self.fail("a list")),
        };
        let items = items.iter().enumerate().filter_map(|(index, item)| {
            let path = format!("{}[{index}]", self.path);
            (!self.is_dropped(&path)).then(|| self.child(item, path))
        });
        let items = Items(items.collect::<Vec<_>>().into_iter());
        self.placed(visitor.visit_seq(items))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let members = self.members()?.iter().filter(|member| {
            let path = join(&self.path, &member.key);
            !self.is_dropped(&path)
        });
        let said = members.map(|member| (member.key.clone(), Said::File(&member.node)));
        let said: Vec<_> = said.collect();
        self.placed(visitor.visit_map(Fields::new(&self, &said)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let said = self.fields(fields)?;
        self.placed(visitor.visit_map(Fields::new(&self, &said)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let text = self.scalar(&format!("one of {}", variants.join(", ")))?;
        self.placed(visitor.visit_enum(Variant(text)))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The members of a section.
struct Fields<'r, 'a> {
    section: &'r Reader<'a>,
    said: std::slice::Iter<'r, (String, Said<'a>)>,
    value: Option<(&'r str, &'r Node)>,
}

impl<'r, 'a> Fields<'r, 'a> {
    fn new(section: &'r Reader<'a>, said: &'r [(String, Said<'a>)]) -> Self {
        Self {
            section,
            said: said.iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some((key, said)) = self.said.next() else {
            return Ok(None);
        };
        self.value = Some((key, said.node()));
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((key, node)) = self.value.take() else {
            return Err(Failure::custom("a value was asked for without its key"));
        };
        let child = self.section.child(node, join(&self.section.path, key));
        let (path, origin) = (child.path.clone(), &node.origin);
        seed.deserialize(child)
            .map_err(|failure| failure.at(&path, origin))
    }
}

/// The items of a list.
struct Items<'a>(std::vec::IntoIter<Reader<'a>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(item) = self.0.next() else {
            return Ok(None);
        };
        let (path, origin) = (item.path.clone(), &item.node.origin);
        let value = seed.deserialize(item);
        value.map(Some).map_err(|failure| failure.at(&path, origin))
    }
}

/// A word that chooses among variants without content.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name = StrDeserializer::<Failure>::new(self.0);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(BorrowedStrDeserializer::new(""))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        _visitor: V,
    ) -> Result<V::Value, Failure> {
        Err(Failure::custom("cannot be written as a word"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Failure> {
        Err(Failure::custom("cannot be written as a word"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::tree;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Root {
        count: u64,
        share: f64,
        names: Vec<String>,
        kind: Kind,
        part: Option<Part>,
        lanes: Lanes,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Lanes {
        far: Option<Part>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        address: String,
        port: Option<u16>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        None,
        Gzip,
    }

    fn root(text: &str, variables: &[(&str, &str)]) -> Read<Root> {
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(&tree::parse(text).unwrap(), &Variables::from(owned))
    }

    fn said(read: &Read<Root>) -> Vec<&str> {
        read.mistakes
            .iter()
            .map(|mistake| mistake.what.as_str())
            .collect()
    }

    #[test]
    fn what_is_right_is_read() {
        let text = "count: 7\nshare: 0.5\nnames: [a, 12]\nkind: gzip\npart: {address: x, port: 80}\nlanes:\n";
        let read = root(text, &[]);
        assert_eq!(said(&read), [""; 0]);
        let part = Part {
            address: "x".to_owned(),
            port: Some(80),
        };
        let expected = Root {
            count: 7,
            share: 0.5,
            names: vec!["a".to_owned(), "12".to_owned()],
            kind: Kind::Gzip,
            part: Some(part),
            lanes: Lanes::default(),
        };
        assert_eq!(read.value, Some(expected));
    }

    #[test]
    fn every_mistake_is_found_in_one_go() {
        let text = "cuont: 1\nshare: half\nnames: [a, {b: c}, d]\nkind: gzp\npart: {adress: x, port: 99999}\nlanes: {far: {port: 1}}\n";
        let read = root(text, &[]);
        let mut said = said(&read);
        said.sort_unstable();
        assert_eq!(
            said,
            [
                "`kind` is \"gzp\", which is none of its values; did you mean gzip?",
                "`lanes.far.address` is missing",
                "`names[1]` is a section with keys of its own, but has to be a text",
                "`part.port` is \"99999\", but has to be a whole number from 0 to 65535",
                "`share` is \"half\", but has to be a number",
                "unknown key `cuont`; did you mean `count`?",
                "unknown key `part.adress`; did you mean `address`?",
            ]
        );
        let value = read.value.unwrap();
        assert_eq!(value.names, ["a", "d"], "what is right stays");
    }

    #[test]
    fn variables_win_and_make_sections() {
        let variables = [
            ("EMCO_OBSERVER_COUNT", "9"),
            ("EMCO_OBSERVER_NAMES", "a, b"),
            ("EMCO_OBSERVER_FAR_ADDRESS", "x"),
        ];
        let read = root("count: seven\n", &variables);
        assert_eq!(
            said(&read),
            [""; 0],
            "what a variable replaces is not looked at"
        );
        let value = read.value.unwrap();
        assert_eq!(
            (value.count, value.names),
            (9, vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(value.lanes.far.unwrap().address, "x");
    }

    #[test]
    fn mistakes_in_variables_name_them() {
        let variables = [("EMCO_OBSERVER_CUONT", "9"), ("EMCO_OBSERVER_SHARE", "x")];
        let read = root("", &variables);
        let origins: Vec<_> = read
            .mistakes
            .iter()
            .map(|mistake| &mistake.origin)
            .collect();
        let variable = |name: &str| Origin::Variable(name.to_owned());
        assert_eq!(
            origins,
            [
                &variable("EMCO_OBSERVER_SHARE"),
                &variable("EMCO_OBSERVER_CUONT")
            ]
        );
        assert!(said(&read)[1].ends_with("did you mean EMCO_OBSERVER_COUNT?"));
    }

    #[test]
    fn a_file_that_is_no_section_is_one_mistake() {
        for text in ["- a\n- b\n", "nonsense"] {
            let read = root(text, &[]);
            assert_eq!(read.mistakes.len(), 1, "{text}");
            assert!(read.value.is_none());
        }
    }
}
