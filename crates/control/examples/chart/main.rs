//! Prints what is known of the Helm chart's values as JSON: their schema, their defaults and the
//! images that they name.
//!
//! For `cargo xtask configuration`, which makes the chart's `values.schema.json`, `values.yaml` and
//! `README.md` from it.

mod values;

use std::io::Write as _;

use anyhow::Result;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

fn main() -> Result<()> {
    // The newest draft that every Helm 3 reads.
    let mut how = SchemaSettings::draft07();
    how.inline_subschemas = true;
    let schema = how
        .into_generator()
        .into_root_schema_for::<values::Values>();
    let mut schema = schema.to_value();
    tidy(&mut schema);
    let mut standard = serde_json::to_value(values::Values::standard()?)?;
    without_null(&mut standard);
    let known = json!({ "schema": schema, "values": standard, "images": values::images() });
    writeln!(std::io::stdout(), "{known}")?;
    Ok(())
}

/// Makes a schema shorter without changing what it says: no formats that only programs know, no
/// defaults (those are the values'), every value optional, examples taken out of descriptions.
fn tidy(schema: &mut Value) {
    let Some(key) = schema.as_object_mut() else {
        return;
    };
    for word in ["format", "default", "required"] {
        key.remove(word);
    }
    if let Some(Value::Array(types)) = key.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            key.insert("type".to_owned(), only);
        }
    }
    words(key);
    let text = key.get("description").and_then(Value::as_str);
    if let Some(text) = text.map(|text| text.replace('\n', " ")) {
        let (text, example) = split_example(&text);
        key.insert("description".to_owned(), text.into());
        key.extend(example.map(|example| ("examples".to_owned(), json!([example]))));
    }
    for part in ["properties", "items"] {
        match key.get_mut(part) {
            Some(items) if part == "items" => tidy(items),
            Some(Value::Object(keys)) => keys.values_mut().for_each(tidy),
            _ => {}
        }
    }
}

fn words(key: &mut serde_json::Map<String, Value>) {
    let Some(Value::Array(choices)) = key.remove("oneOf") else {
        return;
    };
    let mut words = Vec::new();
    let mut text = key
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for choice in choices {
        let part = |name: &str| choice.get(name).and_then(Value::as_str).unwrap_or_default();
        let (word, said) = (part("const"), part("description"));
        text = format!("{text} `{word}`: {said}");
        words.push(Value::from(word));
    }
    key.insert("description".to_owned(), text.into());
    key.insert("type".to_owned(), "string".into());
    key.insert("enum".to_owned(), words.into());
}

fn split_example(text: &str) -> (String, Option<String>) {
    let Some((head, rest)) = text.split_once("E.g. `") else {
        return (text.to_owned(), None);
    };
    let (example, tail) = rest.split_once('`').unwrap_or((rest, ""));
    let tail = tail.trim_start_matches('.');
    (
        format!("{}{tail}", head.trim_end()),
        Some(example.to_owned()),
    )
}

/// A value that is not there is left out.
fn without_null(value: &mut Value) {
    if let Some(keys) = value.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
        keys.values_mut().for_each(without_null);
    }
}
