//! Prints the JSON schema of the settings file, made from the types that read it, with what only the
//! program knows of each key: its variable, and whether it is taken while the sidecar runs.
//!
//! For `cargo xtask configuration`, which writes `docs/configuration.md` and the schema beside it.
#![allow(
    dead_code,
    reason = "the modules are those of the program, and more than their types is not used here"
)]

#[path = "../src/adoption.rs"]
mod adoption;
#[path = "../src/rules.rs"]
mod rules;
#[path = "../src/settings.rs"]
mod settings;
#[path = "../src/units.rs"]
mod units;
#[path = "../src/configuration/variables.rs"]
mod variables;

use std::io::Write as _;

use anyhow::Result;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

fn main() -> Result<()> {
    let mut how = SchemaSettings::draft2020_12();
    how.inline_subschemas = true;
    let schema = how
        .into_generator()
        .into_root_schema_for::<settings::Settings>();
    let mut schema = schema.to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), "Settings of emco-observer".into());
        section(schema, "");
    }
    let text = serde_json::to_string_pretty(&schema)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Completes the keys of the section at `path`.
fn section(schema: &mut Map<String, Value>, path: &str) {
    let Some(Value::Object(keys)) = schema.get_mut("properties") else {
        return;
    };
    for (name, key) in keys {
        let path = match path {
            "" => name.clone(),
            _ => format!("{path}.{name}"),
        };
        let Value::Object(key) = key else { continue };
        without_null(key);
        if key.contains_key("properties") {
            section(key, &path);
        } else {
            leaf(key, &path);
        }
    }
}

fn leaf(key: &mut Map<String, Value>, path: &str) {
    as_time(key);
    variants(key);
    let text = key
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut text = text.replace('\n', " ");
    if let Some((head, tail)) = text.split_once(" unless said")
        && let Some((head, default)) = head
            .rsplit_once('`')
            .map_or(head, |(head, _)| head)
            .rsplit_once('`')
    {
        let default = default
            .parse::<u64>()
            .map_or_else(|_| default.into(), Value::from);
        key.insert("default".to_owned(), default);
        let head = head.trim_end().trim_end_matches([';', '.']);
        text = format!("{head}{tail}");
    }
    if let Some((head, example)) = text.split_once("E.g. `") {
        let example = example.split('`').next().unwrap_or_default();
        key.insert("examples".to_owned(), vec![example].into());
        let tail = text.rsplit_once("`.").map_or("", |(_, tail)| tail);
        key.insert(
            "description".to_owned(),
            format!("{}{tail}", head.trim_end()).into(),
        );
    } else {
        key.insert("description".to_owned(), text.into());
    }
    key.insert("x-variable".to_owned(), variables::name(path).into());
    key.insert("x-reloaded".to_owned(), adoption::is_reloaded(path).into());
}

/// A key that may be left out is left out, not null.
fn without_null(key: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = key.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            key.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = key.remove("anyOf") {
        let section = choices.into_iter().find(|choice| choice["type"] != "null");
        if let Some(Value::Object(section)) = section {
            for (name, value) in section {
                key.entry(name).or_insert(value);
            }
        }
    }
    if key.get("default").is_some_and(Value::is_null) {
        key.remove("default");
    }
}

/// Times are texts; JSON schema has no limits for those.
fn as_time(key: &mut Map<String, Value>) {
    let is_time = key.get("pattern").is_some() && key.get("type").is_some_and(Value::is_array);
    if is_time {
        key.insert("type".to_owned(), "string".into());
        for limit in ["minimum", "maximum"] {
            if let Some(value) = key.remove(limit) {
                key.insert(format!("x-{limit}"), value);
            }
        }
    }
}

/// One word of several.
fn variants(key: &mut Map<String, Value>) {
    if let Some(Value::Array(choices)) = key.remove("oneOf") {
        let words: Vec<Value> = choices
            .into_iter()
            .map(|choice| choice["const"].clone())
            .collect();
        key.insert("type".to_owned(), "string".into());
        key.insert("enum".to_owned(), words.into());
    }
}
