//! Makes `docs/configuration.md` and `docs/configuration.schema.json` from the types that read the
//! settings file, as an example program of the agent prints them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::{chart, say, workspace};

/// The schema, inside the repository.
pub(crate) const SCHEMA: &str = "docs/configuration.schema.json";
/// The page, inside the repository.
pub(crate) const PAGE: &str = "docs/configuration.md";

const HEAD: &str = "\
# Configuration

Made by `cargo xtask configuration` from the types that read the file (`crates/agent/src/settings.rs`); do not edit.

`emco-observer run --config FILE` reads a YAML file; without one everything comes from the environment. **Every key has a variable, and variables win.** A list in a variable is written with commas; an empty variable is none. Unknown keys are refused, so that a typing error never means a default.

`emco-observer check --config FILE` says everything that is wrong at once, with line, column and what is allowed, and ends with 64; with 0 if nothing is wrong. `run` does the same outside a pod. **In a pod it never ends because of its settings**: it stays up, says on `/health` what is wrong and takes the file as soon as it is mended. An editor that knows JSON schema checks the file while it is written: begin it with `# yaml-language-server: $schema=configuration.schema.json`.

**Changes** of the file are taken while the sidecar runs, also behind a ConfigMap (not one mounted with `subPath`: kubelet never changes those), or when SIGHUP asks; SIGHUP renews all connections as well. *At once* below says which keys; changes of the others are named in the log and on `/health` until a restart. A destination can change but neither come nor go. A file that cannot be used changes nothing. Files with secrets and certificates are read again for every connection or request, whatever the settings.

A time is a whole number with `ms`, `s`, `m` or `h`. Sizes are bytes. In a pod the downward API's `POD_NAMESPACE`, `POD_NAME` and `POD_UID` say who the pod is, and so where its logs are.
";

/// Makes the text of a file.
type Make = fn(root: &Path) -> Result<Option<String>>;

/// Writes both files, and those of the chart.
pub(crate) fn run() -> Result<ExitCode> {
    let root = workspace::root();
    let files: [(&str, Make); 5] = [
        (SCHEMA, make_schema),
        (PAGE, make_page),
        (chart::SCHEMA, chart::make_schema),
        (chart::VALUES, chart::make_values),
        (chart::PAGE, chart::make_page),
    ];
    for (output, make) in files {
        let text = make(&root)?;
        let path = root.join(output);
        std::fs::write(&path, text.unwrap_or_default())
            .with_context(|| format!("write {}", path.display()))?;
        say::note(format_args!("{output}: written"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The schema's text.
pub(crate) fn make_schema(_root: &Path) -> Result<Option<String>> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--locked", "--package", "agent"]);
    command.args(["--features", "schema", "--example", "configuration"]);
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the settings cannot be described: {}", said.trim());
    }
    let text = String::from_utf8(output.stdout).context("the schema is no text")?;
    Ok(Some(text))
}

/// The page's text.
pub(crate) fn make_page(root: &Path) -> Result<Option<String>> {
    let schema = make_schema(root)?.unwrap_or_default();
    let schema: Value = serde_json::from_str(&schema).context("understand the schema")?;
    page(&schema).map(Some)
}

fn page(schema: &Value) -> Result<String> {
    let mut page = HEAD.to_owned();
    page += "\n## Everything in one file\n\n```yaml\n";
    example(&mut page, schema, 0)?;
    page += "```\n";
    sections(&mut page, schema, "")?;
    Ok(page)
}

/// The keys of a section.
fn keys(schema: &Value) -> Result<&Map<String, Value>> {
    let keys = schema["properties"].as_object();
    keys.context("a section of the settings has no keys")
}

fn is_section(key: &Value) -> bool {
    key.get("properties").is_some()
}

fn example(page: &mut String, schema: &Value, depth: usize) -> Result<()> {
    let indent = "  ".repeat(depth);
    for (name, key) in keys(schema)? {
        if is_section(key) {
            writeln!(page, "{indent}{name}:")?;
            example(page, key, depth + 1)?;
            continue;
        }
        // what excludes something else stays out
        let is_instead = key["description"]
            .as_str()
            .is_some_and(|text| text.contains("instead of a"));
        match value(key).filter(|_| !is_instead) {
            Some(value) => writeln!(page, "{indent}{name}: {value}")?,
            None => writeln!(page, "{indent}# {name}:")?,
        }
    }
    Ok(())
}

/// An example, or the default.
fn value(key: &Value) -> Option<String> {
    let example = key["examples"].get(0);
    let is_list = key["type"] == "array";
    match example {
        Some(example) if is_list => Some(Value::from(vec![example.clone()]).to_string()),
        Some(example) => Some(plain(example)),
        None => key.get("default").map(plain),
    }
}

/// A scalar as YAML takes it; what could be misread in quotes.
fn plain(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !text.is_empty() && !text.contains([':', ',', '#', '{', '[']) => {
            text.to_owned()
        }
        _ => value.to_string(),
    }
}

fn sections(page: &mut String, schema: &Value, path: &str) -> Result<()> {
    let keys = keys(schema)?;
    let title = if path.is_empty() { "At the top" } else { path };
    let is_top = path.is_empty();
    writeln!(
        page,
        "\n## {}\n",
        if is_top {
            title.to_owned()
        } else {
            format!("`{path}`")
        }
    )?;
    let text = schema["description"].as_str().unwrap_or_default();
    writeln!(page, "{}\n", text.replace('\n', " "))?;
    if keys.values().any(|key| !is_section(key)) {
        page.push_str("| key | is | default | limits | at once | variable | example |\n");
        page.push_str("|---|---|---|---|---|---|---|\n");
    }
    let required = schema["required"].as_array();
    for (name, key) in keys.iter().filter(|(_, key)| !is_section(key)) {
        let is_required =
            required.is_some_and(|required| required.iter().any(|key| key == name.as_str()));
        row(page, name, key, is_required)?;
    }
    for (name, key) in keys.iter().filter(|(_, key)| is_section(key)) {
        let path = if is_top {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        sections(page, key, &path)?;
    }
    Ok(())
}

fn row(page: &mut String, name: &str, key: &Value, is_required: bool) -> Result<()> {
    let code = |value: &Value| match value.as_str() {
        Some(text) => format!("`{text}`"),
        None if value.as_array().is_some_and(Vec::is_empty) => "–".to_owned(),
        None => format!("`{value}`"),
    };
    let default = match key.get("default") {
        _ if is_required => "required".to_owned(),
        Some(value) if value != "" => code(value),
        _ => "–".to_owned(),
    };
    let limit = |kind: &str| {
        let plain = key.get(kind);
        plain.or_else(|| key.get(format!("x-{kind}"))).map(code)
    };
    let limits = match (limit("minimum"), limit("maximum"), key["enum"].as_array()) {
        (Some(low), Some(high), _) => format!("{low} … {high}"),
        (_, _, Some(words)) => words.iter().map(code).collect::<Vec<_>>().join(", "),
        _ => "–".to_owned(),
    };
    let at_once = if key["x-reloaded"] == true {
        "yes"
    } else {
        "restart"
    };
    let variable = key["x-variable"].as_str().unwrap_or_default();
    let shown = key["examples"].get(0).or_else(|| key.get("default"));
    let shown = shown.map_or_else(|| "–".to_owned(), code);
    let text = key["description"]
        .as_str()
        .unwrap_or_default()
        .replace('|', "\\|");
    let kind = kind(name, key);
    writeln!(
        page,
        "| `{name}` | {kind}. {text} | {default} | {limits} | {at_once} | `{variable}` | {shown} |"
    )?;
    Ok(())
}

fn kind(name: &str, key: &Value) -> &'static str {
    let is = |kind: &str| key["type"] == kind;
    let is_file = ["_file", "_dir", "files"]
        .iter()
        .any(|end| name.ends_with(end));
    if key.get("pattern").is_some() {
        "Time"
    } else if name.contains("bytes") {
        "Whole number of bytes"
    } else if is("integer") {
        "Whole number"
    } else if is("number") {
        "Number"
    } else if is("array") && is_file {
        "List of paths"
    } else if is("array") {
        "List"
    } else if is_file {
        "Path"
    } else if name == "listen" {
        "IP address and port"
    } else if key.get("enum").is_some() {
        "One word"
    } else {
        "Text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_key_has_a_row_and_a_place_in_the_example() {
        let schema = json!({ "description": "All.", "properties": {
            "name": { "type": "string", "description": "What | who.", "examples": ["a:1"],
                "x-variable": "V_NAME", "x-reloaded": true },
            "part": { "description": "Some.", "required": ["wait"], "properties": {
                "wait": { "type": "string", "pattern": "x", "description": "How long.",
                    "default": "2s", "x-minimum": "0s", "x-maximum": "20s",
                    "x-variable": "V_WAIT", "x-reloaded": false },
                "word": { "type": "string", "enum": ["a", "b"], "description": "Which.",
                    "x-variable": "V_WORD", "x-reloaded": false },
            } },
        } });
        let page = page(&schema).unwrap();
        let expected = "```yaml\nname: \"a:1\"\npart:\n  wait: 2s\n  # word:\n```\n";
        assert!(page.contains(expected), "{page}");
        for row in [
            "| `name` | Text. What \\| who. | – | – | yes | `V_NAME` | `a:1` |",
            "| `wait` | Time. How long. | required | `0s` … `20s` | restart | `V_WAIT` | `2s` |",
            "| `word` | One word. Which. | – | `a`, `b` | restart | `V_WORD` | – |",
        ] {
            assert!(page.contains(row), "{page}");
        }
    }
}
