//! The masking of secrets for text that is no log line.

use crate::secrets::{MASK, is_secret_name, mask, suspicious};

/// `text` with its secrets masked; `None` if it has none. A text under a `key` that names a secret is
/// one as a whole.
///
/// ```
/// assert_eq!(decode::redact("db.statement", "{\"find\":\"resources\"}"), None);
/// let masked = decode::redact("db.statement", "{\"password\":\"x\"}");
/// assert_eq!(masked.as_deref(), Some("{\"password\":\"[REDACTED]\"}"));
/// assert_eq!(decode::redact("x.Api-Key", "x").as_deref(), Some("[REDACTED]"));
/// ```
pub fn redact(key: &str, text: &str) -> Option<String> {
    if is_named_secret(key) && !text.is_empty() && text != MASK {
        return Some(MASK.to_owned());
    }
    if !suspicious(text.as_bytes()) {
        return None;
    }
    let mut masked = Vec::with_capacity(text.len());
    if mask(text.as_bytes(), &mut masked) == 0 {
        return None;
    }
    // masking keeps UTF-8 valid
    Some(String::from_utf8_lossy(&masked).into_owned())
}

/// Names are compared as fields of lines are: lower case, words joined by `_`.
fn is_named_secret(key: &str) -> bool {
    // a short way out for the usual keys
    const LAST: [char; 8] = ['d', 't', 'n', 'y', 'a', 'g', 'l', 's'];
    let Some(last) = key.chars().next_back() else {
        return false;
    };
    if !LAST.contains(&last.to_ascii_lowercase()) {
        return false;
    }
    let normal: String = key
        .chars()
        .map(|c| match c {
            '-' | ' ' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    is_secret_name(normal.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_name_secrets_are_known_however_they_are_written() {
        for key in [
            "password",
            "user.password",
            "X-Access-Token",
            "gitToken",
            "private key",
            "client-key-data",
            "kubeConfig",
            "credentials",
            "http.request.header.authorization",
        ] {
            assert_eq!(redact(key, "x").as_deref(), Some(MASK), "{key}");
            assert_eq!(redact(key, ""), None, "{key}");
        }
        for key in ["", "db.name", "token.count", "rpc.method", "message.id"] {
            assert_eq!(redact(key, "x"), None, "{key}");
        }
    }
}
