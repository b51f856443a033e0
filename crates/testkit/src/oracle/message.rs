//! The one message that a line's document may have, told from the line's text by means that are not
//! the product's.
//!
//! | the text is | its message is |
//! |---|---|
//! | a JSON object with `msg`, `level` and `SOURCE`, `time` or `ts` | `msg` |
//! | `<host> - <user> [<date>] "<request>" <status> <bytes>` | the request |
//! | `yyyy/mm/dd HH:MM:SS <rest>` | the rest |
//! | `Lmmdd hh:mm:ss.uuuuuu <pid> <file>:<line>] <rest>` | the rest |
//! | one of the above behind a text that lacked its newline | that one's message |
//! | anything else, broken JSON as well | the whole text |
//!
//! Blanks at the end are nobody's: they may stay or go.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What stands in place of a secret.
const MASK: &str = "[REDACTED]";
/// What rsync prints without a newline.
const GLUE: &str = "Warning: apply should be used on resource created by apply";
/// Shapes of heads: `d` is a digit, everything else itself.
const GO_LOG: &str = "dddd/dd/dd dd:dd:dd ";
const KLOG: &str = "dddd dd:dd:dd.dddddd ";
const CLF_DATE: &str = "[dd/aaa/dddd:dd:dd:dd sdddd] \"";

/// The message of a document that is made from `text`.
pub(super) fn message(text: &str) -> Cow<'_, str> {
    let text = text.trim_end();
    known(text)
        .or_else(|| glued(text))
        .unwrap_or(Cow::Borrowed(text))
}

/// Whether `shown` is `written`, but for secrets if there `may_mask` be any.
pub(super) fn is_shown(written: &str, shown: &str, may_mask: bool) -> bool {
    let (written, shown) = (written.trim_end(), shown.trim_end());
    written == shown || may_mask && is_masked(written, shown)
}

/// Whether `shown` is `written` with something masked: what is not stands in order, from the first
/// character to the last.
fn is_masked(written: &str, shown: &str) -> bool {
    let mut parts = shown.split(MASK);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = written.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            match rest.split_once(part) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
    }
    last.is_some_and(|last| rest.ends_with(last))
}

fn known(text: &str) -> Option<Cow<'_, str>> {
    object(text)
        .or_else(|| behind(text, GO_LOG).map(Cow::Borrowed))
        .or_else(|| klog(text).map(Cow::Borrowed))
        .or_else(|| request(text).map(Cow::Borrowed))
}

fn object(text: &str) -> Option<Cow<'_, str>> {
    if !text.starts_with('{') {
        return None;
    }
    let members: Map<String, Value> = serde_json::from_str(text).ok()?;
    let has = |key: &str| members.contains_key(key);
    let is_log = has("level") && (has("SOURCE") || has("time") || has("ts"));
    let message = members.get("msg").filter(|_| is_log)?.as_str()?;
    Some(Cow::Owned(message.to_owned()))
}

/// What follows a line that begins in this shape.
fn behind<'a>(text: &'a str, shape: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(shape.len())?;
    let fits = head
        .chars()
        .zip(shape.chars())
        .all(|(have, want)| match want {
            'd' => have.is_ascii_digit(),
            'a' => have.is_ascii_alphabetic(),
            's' => matches!(have, '+' | '-'),
            want => have == want,
        });
    fits.then_some(rest)
}

fn klog(text: &str) -> Option<&str> {
    let level = text.strip_prefix(['I', 'W', 'E', 'F'])?;
    let (head, rest) = behind(level, KLOG)?.split_once("] ")?;
    let (process, site) = head.trim_start().split_once(' ')?;
    let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !process.is_empty() && !site.is_empty()).then_some(rest)
}

fn request(text: &str) -> Option<&str> {
    let (origin, dated) = text.split_at_checked(text.find('[')?)?;
    let [_, "-", _, ""] = *origin.split(' ').collect::<Vec<_>>() else {
        return None;
    };
    let (request, answer) = behind(dated, CLF_DATE)?.rsplit_once("\" ")?;
    let (status, bytes) = answer.split_once(' ')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (method, rest) = request.split_once(' ')?;
    let is_request = method.bytes().all(|byte| byte.is_ascii_uppercase())
        && rest.rsplit_once(' ')?.1.starts_with("HTTP/");
    (is_request && status.len() == 3 && is_number(status) && is_number(bytes)).then_some(request)
}

/// A record that begins where a newline is missing.
fn glued(text: &str) -> Option<Cow<'_, str>> {
    let mut rest = text;
    while let Some(behind) = rest.strip_prefix(GLUE) {
        rest = behind;
    }
    let whole = (rest.len() < text.len()).then(|| known(rest)).flatten();
    whole.or_else(|| {
        let from = (text.len() - rest.len()).max(1);
        let brace = from + text.get(from..)?.find("{\"")?;
        object(text.get(brace..)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_one_message() {
        for (text, expected) in [
            (r#"{"level":"info","msg":"a \"b\"","time":"x"}"#, "a \"b\""),
            (
                r#"{"level":"info","msg":"no time"}"#,
                r#"{"level":"info","msg":"no time"}"#,
            ),
            (
                r#"{"level":"info","msg":"cut","time":"#,
                r#"{"level":"info","msg":"cut","time":"#,
            ),
            ("2026/11/23 04:09:37 Added: e ", "Added: e"),
            ("2026/11/23 04:09 Added", "2026/11/23 04:09 Added"),
            ("W1123 04:09:37.558597   13473 r.go:324] a] b", "a] b"),
            ("W1123 04:09:37.558597 none", "W1123 04:09:37.558597 none"),
            (
                "::1 - - [23/Nov/2026:04:09:37 +0000] \"GET /\" b\" HTTP/1.1\" 200 2",
                "GET /\" b\" HTTP/1.1",
            ),
            (
                "h - - [23/Nov/2026:04:09:37 +0000] \"-\" 400 2",
                "h - - [23/Nov/2026:04:09:37 +0000] \"-\" 400 2",
            ),
            ("panic: no ", "panic: no"),
            (
                r#"Warning: apply{"level":"info","msg":"glued","ts":1}"#,
                "glued",
            ),
            (
                "Warning: apply should be used on resource created by apply2026/11/23 04:09:37 so",
                "so",
            ),
            ("\tframe.go:1", "\tframe.go:1"),
        ] {
            assert_eq!(message(text), expected);
        }
    }

    #[test]
    fn masking_hides_and_cuts_nothing() {
        let written = "token=abc and password=x, done";
        for (shown, same) in [
            ("token=[REDACTED] and password=[REDACTED], done", true),
            ("token=abc and password=[REDACTED], done", true),
            (written, true),
            ("token=[REDACTED]", true),
            ("token=[REDACTED] and", false),
            ("[REDACTED], don", false),
            ("oken=[REDACTED] and password=[REDACTED], done", false),
            ("token=[REDACTED] end password=[REDACTED], done", false),
            ("token=abc", false),
        ] {
            assert_eq!(is_shown(written, shown, true), same, "{shown}");
        }
        assert!(!is_shown(written, "token=[REDACTED]", false));
    }
}
