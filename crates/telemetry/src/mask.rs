//! Takes secrets out of our own log lines, should one ever get into them.
//!
//! Works on the finished JSON line, so that it covers messages, fields and error chains alike:
//!
//! * the value of a field whose name says it is a secret (`password`, `token`, …);
//! * what follows `Bearer ` or `Basic `;
//! * the part before `@` in the authority of a URL.

/// Stands where a secret stood.
const MASK: &str = "[masked]";
const SECRET_NAMES: [&str; 8] = [
    "password",
    "passwd",
    "secret",
    "token",
    "shared_key",
    "private_key",
    "api_key",
    "authorization",
];
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// Returns `line` without the secrets it shows.
pub(crate) fn mask(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(found) = next_secret(rest) {
        let (before, from) = rest.split_at(found.start);
        out.push_str(before);
        out.push_str(MASK);
        rest = from.get(found.length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

struct Found {
    start: usize,
    length: usize,
}

fn next_secret(text: &str) -> Option<Found> {
    let lower = text.to_ascii_lowercase();
    let named = SECRET_NAMES
        .iter()
        .filter_map(|name| named_value(&lower, name));
    let schemes = SCHEMES.iter().filter_map(|scheme| after(&lower, scheme));
    named
        .chain(schemes)
        .chain(userinfo(&lower))
        .min_by_key(|found| found.start)
}

/// `"…name":"value"`: the value of a JSON field whose name ends in `name`.
fn named_value(lower: &str, name: &str) -> Option<Found> {
    let pattern = format!("{name}\":\"");
    find_unmasked(lower, &pattern, |rest| {
        let mut escaped = false;
        rest.find(|c: char| {
            let end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            end
        })
        .unwrap_or(rest.len())
    })
}

/// The word after `scheme`.
fn after(lower: &str, scheme: &str) -> Option<Found> {
    find_unmasked(lower, scheme, |rest| {
        rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c)))
            .unwrap_or(rest.len())
    })
}

/// `//user:password@`.
fn userinfo(lower: &str) -> Option<Found> {
    find_unmasked(lower, "://", |rest| {
        let authority = rest
            .find(|c: char| c == '/' || c == '"' || c.is_whitespace())
            .unwrap_or(rest.len());
        rest.get(..authority)
            .and_then(|authority| authority.rfind('@'))
            .unwrap_or(0)
    })
}

/// The first place after `pattern` where `length` finds something that is not masked yet.
fn find_unmasked(
    text: &str,
    pattern: &str,
    mut length: impl FnMut(&str) -> usize,
) -> Option<Found> {
    text.match_indices(pattern).find_map(|(at, _)| {
        let start = at + pattern.len();
        let length = length(text.get(start..)?);
        let value = text.get(start..start + length)?;
        (length > 0 && value != MASK).then_some(Found { start, length })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (line, expected) in [
            (
                r#"{"shared_key":"a\"b","peer":"x"}"#,
                r#"{"shared_key":"[masked]","peer":"x"}"#,
            ),
            (
                r#"{"db_Password":"hunter2"}"#,
                r#"{"db_Password":"[masked]"}"#,
            ),
            (
                r#"{"message":"sent Authorization: Bearer ey.J0-x_y= to peer"}"#,
                r#"{"message":"sent Authorization: Bearer [masked] to peer"}"#,
            ),
            (
                r#"{"url":"http://elastic:pw@host:9200/a@b","n":1}"#,
                r#"{"url":"http://[masked]@host:9200/a@b","n":1}"#,
            ),
            (
                r#"{"a":"basic QQ==","b":"Basic Qg=="}"#,
                r#"{"a":"basic [masked]","b":"Basic [masked]"}"#,
            ),
        ] {
            assert_eq!(mask(line), expected);
        }
    }

    #[test]
    fn lines_without_secrets_stay_as_they_are() {
        for line in [
            r#"{"level":"INFO","fields":{"message":"listening","address":"http://127.0.0.1:9411/api"}}"#,
            r#"{"message":"token bucket is empty","tokens":"3"}"#,
            r#"{"password":""}"#,
            "",
        ] {
            assert_eq!(mask(line), line);
        }
    }
}
