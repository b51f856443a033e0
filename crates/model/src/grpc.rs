//! Codes of answers to gRPC calls.

/// Names of the codes, by code.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// How Envoy and Go spell one of them.
const CANCELED: (&str, u16) = ("CANCELED", 1);

/// The code that is spelled `DeadlineExceeded`, `DEADLINE_EXCEEDED` or `4`; `None` for what is no
/// code. Numbers beyond the named codes are codes, too.
///
/// ```
/// assert_eq!(model::grpc::code("DeadlineExceeded"), Some(4));
/// assert_eq!(model::grpc::code("Canceled"), Some(1));
/// assert_eq!(model::grpc::code("99"), Some(99));
/// assert_eq!(model::grpc::code("Splendid"), None);
/// ```
pub fn code(spelled: &str) -> Option<u16> {
    if let Ok(code) = spelled.parse() {
        return Some(code);
    }
    let mut named = (0..).zip(CODES).map(|(code, name)| (name, code));
    let code = named.find(|(name, _)| alike(name, spelled));
    let code = code.or_else(|| alike(CANCELED.0, spelled).then_some(CANCELED));
    code.map(|(_, code)| code)
}

/// Whether both have the same letters.
fn alike(name: &str, spelled: &str) -> bool {
    let letters = |text: &'_ str| {
        let letters = text.bytes().filter(|byte| *byte != b'_');
        letters
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    letters(name) == letters(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_read_in_each_spelling() {
        for (expected, name) in (0..).zip(CODES) {
            let camel = name.split('_').map(|word| {
                let (first, rest) = word.split_at(1);
                format!("{first}{}", rest.to_lowercase())
            });
            let camel: String = camel.collect();
            for spelled in [name, &camel, &expected.to_string()] {
                assert_eq!(code(spelled), Some(expected), "{spelled}");
            }
        }
        assert_eq!(code("Canceled"), code("CANCELLED"));
        for none in ["", "_", "-1", "Splendid", "70000"] {
            assert_eq!(code(none), None, "{none}");
        }
    }
}
