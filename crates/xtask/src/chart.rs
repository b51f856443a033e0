//! Makes the Helm chart's `values.schema.json`, `values.yaml` and `README.md` from the types of its
//! values, as an example program of the control plane prints them, and the sidecar's settings.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::configuration::make_schema as sidecar_schema;
use crate::workspace;

/// The schema, inside the repository.
pub(crate) const SCHEMA: &str = "deploy/helm/emco-observer/values.schema.json";
/// The values, inside the repository.
pub(crate) const VALUES: &str = "deploy/helm/emco-observer/values.yaml";
/// The page, inside the repository.
pub(crate) const PAGE: &str = "deploy/helm/emco-observer/README.md";

/// Where a comment ends.
const COLUMNS: usize = 100;

const VALUES_HEAD: &str = "\
# Values of the chart and what they are unless you say otherwise. Made by `cargo xtask configuration`
# from the types in crates/control/examples/chart/values.rs; do not edit. A value that is not here is
# refused.
";

const PAGE_HEAD: &str = include_str!("chart/head.md");

/// The schema's text.
pub(crate) fn make_schema(root: &Path) -> Result<Option<String>> {
    let known = known()?;
    let mut schema = part(&known, "schema").clone();
    let text = sidecar_schema(root)?.unwrap_or_default();
    let mut sidecar: Value = serde_json::from_str(&text).context("understand the sidecar's")?;
    without_details(&mut sidecar);
    let config = schema.pointer_mut("/properties/sidecar/properties/config");
    let config = config.and_then(Value::as_object_mut);
    let config = config.context("the values have no settings of the sidecar")?;
    for word in ["properties", "additionalProperties"] {
        config.insert(word.to_owned(), part(&sidecar, word).clone());
    }
    Ok(Some(format!(
        "{}\n",
        serde_json::to_string_pretty(&schema)?
    )))
}

/// The text of the values.
pub(crate) fn make_values(_root: &Path) -> Result<Option<String>> {
    let known = known()?;
    let mut text = VALUES_HEAD.to_owned();
    write_values(&mut text, part(&known, "schema"), part(&known, "values"), 0)?;
    Ok(Some(text))
}

/// The page's text.
pub(crate) fn make_page(_root: &Path) -> Result<Option<String>> {
    let known = known()?;
    let mut page = PAGE_HEAD.to_owned();
    page += "\n## Images\n\nUnless values say otherwise, the chart names these and no others:\n\n";
    for image in part(&known, "images").as_array().into_iter().flatten() {
        writeln!(page, "- `{}`", image.as_str().unwrap_or_default())?;
    }
    page += "\n## Values\n\n| value | is | default |\n|---|---|---|\n";
    write_rows(
        &mut page,
        part(&known, "schema"),
        part(&known, "values"),
        "",
    )?;
    Ok(Some(page))
}

/// What is known of the values.
fn known() -> Result<Value> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--locked", "--package", "control"]);
    command.args(["--features", "schema", "--example", "chart"]);
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the values cannot be described: {}", said.trim());
    }
    serde_json::from_slice(&output.stdout).context("understand what is known of the values")
}

fn part<'a>(known: &'a Value, name: &str) -> &'a Value {
    &known[name]
}

/// In values every key is optional, and what only the sidecar's page tells is left out.
fn without_details(schema: &mut Value) {
    let Some(key) = schema.as_object_mut() else {
        return;
    };
    key.retain(|word, _| word != "required" && word != "default" && !word.starts_with("x-"));
    if let Some(keys) = key.get_mut("properties").and_then(Value::as_object_mut) {
        keys.values_mut().for_each(without_details);
    }
}

fn properties(schema: &Value) -> Result<&Map<String, Value>> {
    let keys = schema["properties"].as_object();
    keys.context("a section of the values has no keys")
}

fn write_values(text: &mut String, schema: &Value, values: &Value, depth: usize) -> Result<()> {
    let indent = "  ".repeat(depth);
    for (name, key) in properties(schema)? {
        if depth == 0 {
            text.push('\n');
        }
        let description = key["description"].as_str().unwrap_or_default();
        for line in wrapped(description, COLUMNS - indent.len() - 2) {
            writeln!(text, "{indent}# {line}")?;
        }
        if let Some(example) = key["examples"].get(0) {
            writeln!(text, "{indent}# Example: {}", one_line(example))?;
        }
        let value = &values[name];
        if key.get("properties").is_some() {
            writeln!(text, "{indent}{name}:")?;
            write_values(text, key, value, depth + 1)?;
            continue;
        }
        match value {
            // it has no default and is left out
            Value::Null => writeln!(text, "{indent}# {name}:")?,
            Value::Object(parts) if !parts.is_empty() => {
                writeln!(text, "{indent}{name}:")?;
                for (part, value) in parts {
                    writeln!(text, "{indent}  {part}: {}", one_line(value))?;
                }
            }
            Value::Array(items) if !items.is_empty() => {
                writeln!(text, "{indent}{name}:")?;
                for item in items {
                    writeln!(text, "{indent}  - {}", one_line(item))?;
                }
            }
            value => writeln!(text, "{indent}{name}: {}", one_line(value))?,
        }
    }
    Ok(())
}

/// A value in one line of YAML; text is bare where it cannot be taken for anything else.
fn one_line(value: &Value) -> String {
    let is_bare = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text)
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    };
    match value {
        Value::String(text) if is_bare(text) => text.clone(),
        Value::Object(parts) => {
            let parts: Vec<_> = parts
                .iter()
                .map(|(name, value)| format!("{name}: {}", one_line(value)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        _ => value.to_string(),
    }
}

/// `text` in lines of at most `columns`, as far as words allow.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn write_rows(page: &mut String, schema: &Value, values: &Value, path: &str) -> Result<()> {
    for (name, key) in properties(schema)? {
        let path = match path {
            "" => name.clone(),
            _ => format!("{path}.{name}"),
        };
        let value = &values[name];
        if key.get("properties").is_some() {
            write_rows(page, key, value, &path)?;
            continue;
        }
        let description = key["description"].as_str().unwrap_or_default();
        let mut text = description.replace('|', "\\|");
        if let Some(example) = key["examples"].get(0) {
            write!(text, " Example: `{}`", one_line(example))?;
        }
        let default = match value {
            Value::Null => "–".to_owned(),
            Value::String(text) if text.is_empty() => "–".to_owned(),
            value => format!("`{}`", one_line(value)),
        };
        writeln!(page, "| `{path}` | {text} | {default} |")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({ "properties": {
            "name": { "description": "Who | what.", "examples": ["a:1"] },
            "part": { "description": "Some of it.", "properties": {
                "limit": { "description": "Most." },
                "list": { "description": "Many." },
                "map": { "description": "Both." },
            } },
        } })
    }

    fn values() -> Value {
        json!({ "name": "", "part": { "list": ["a", "true"], "map": { "cpu": "10m", "one": 1 } } })
    }

    #[test]
    fn every_value_has_its_comment_and_default() {
        let mut text = String::new();
        write_values(&mut text, &schema(), &values(), 0).unwrap();
        let expected = "\n# Who | what.\n# Example: \"a:1\"\nname: \"\"\n\n# Some of it.\npart:\n  \
                        # Most.\n  # limit:\n  # Many.\n  list:\n    - a\n    - \"true\"\n  \
                        # Both.\n  map:\n    cpu: \"10m\"\n    one: 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_value_has_a_row() {
        let mut page = String::new();
        write_rows(&mut page, &schema(), &values(), "").unwrap();
        let expected = "| `name` | Who \\| what. Example: `\"a:1\"` | – |\n\
                        | `part.limit` | Most. | – |\n\
                        | `part.list` | Many. | `[\"a\",\"true\"]` |\n\
                        | `part.map` | Both. | `{cpu: \"10m\", one: 1}` |\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn in_values_nothing_of_the_sidecar_is_required() {
        let mut schema = json!({ "required": ["a"], "properties": {
            "a": { "type": "string", "x-variable": "A", "default": "b", "required": [] },
        } });
        without_details(&mut schema);
        assert_eq!(
            schema,
            json!({ "properties": { "a": { "type": "string" } } })
        );
    }

    #[test]
    fn comments_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), [""; 0]);
    }
}
