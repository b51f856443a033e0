//! `filter_path`: leaves only the asked parts of an answer.

use serde_json::Value;

/// Leaves in `value` what one of the comma-separated `paths` names; `*` stands for one key, `**` for
/// any number of them. Lists are looked through without a key of their own.
pub(super) fn apply(value: Value, paths: &str) -> Value {
    let paths: Vec<Vec<&str>> = paths
        .split(',')
        .map(|path| path.trim().split('.').collect())
        .filter(|path: &Vec<&str>| path.first() != Some(&""))
        .collect();
    if paths.is_empty() {
        return value;
    }
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    keep(value, &paths).unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

fn keep(value: Value, paths: &[&[&str]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty() || *path == ["**"]) {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(key, value)| {
                let deeper: Vec<&[&str]> = paths.iter().flat_map(|path| step(path, &key)).collect();
                let kept = if deeper.is_empty() {
                    None
                } else {
                    keep(value, &deeper)
                };
                Some((key, kept?))
            });
            let kept: serde_json::Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => {
            let kept: Vec<Value> = list
                .into_iter()
                .filter_map(|value| keep(value, paths))
                .collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

/// What is left of `path` below `key`.
fn step<'a, 'p>(path: &'a [&'p str], key: &str) -> Vec<&'a [&'p str]> {
    match path.split_first() {
        Some((&"**", rest)) => {
            let mut ways = step(rest, key);
            ways.push(path);
            ways
        }
        Some((pattern, rest)) if matches(pattern, key) => vec![rest],
        _ => Vec::new(),
    }
}

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((before, after)) => {
            key.len() >= before.len() + after.len()
                && key.starts_with(before)
                && key.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_shippers_ask_for_is_left() {
        let answer = || {
            json!({"took": 3, "errors": true, "items": [
                {"create": {"_id": "1", "status": 201}},
                {"create": {"_id": "2", "status": 400, "error": {"type": "t", "reason": "r"}}},
            ]})
        };
        for (paths, expected) in [
            ("took", json!({"took": 3})),
            (
                "errors,items.*.status",
                json!({"errors": true, "items": [{"create": {"status": 201}}, {"create": {"status": 400}}]}),
            ),
            (
                "items.*.error",
                json!({"items": [{"create": {"error": {"type": "t", "reason": "r"}}}]}),
            ),
            (
                "items.create.error.t*",
                json!({"items": [{"create": {"error": {"type": "t"}}}]}),
            ),
            (
                "**.reason",
                json!({"items": [{"create": {"error": {"reason": "r"}}}]}),
            ),
            ("nothing.here", json!({})),
            ("", answer()),
        ] {
            assert_eq!(apply(answer(), paths), expected, "{paths}");
        }
    }
}
