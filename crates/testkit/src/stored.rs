//! A stored line as any destination shows it: read from its document, with dotted or nested keys.

use serde_json::Value;

/// One document of a destination, as far as it is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredLine {
    /// Document id (`event.id`, or the store's own `_id`).
    pub id: String,
    /// `service.name`.
    pub service: String,
    /// `message`.
    pub message: String,
    /// `error.stack_trace`: the whole text of a record of many lines, its first line included.
    pub stack_trace: Option<String>,
    /// `trace.id`.
    pub trace: Option<String>,
    /// `user.id`.
    pub user: Option<String>,
    /// `emco.attribution.outcome`.
    pub outcome: String,
    /// `emco.inferred.trace.id`.
    pub inferred_trace: Option<String>,
    /// `emco.inferred.user.id`.
    pub inferred_user: Option<String>,
    /// Whether secrets were masked in it: its message may then differ from what was written.
    pub masked: bool,
    /// When the destination had it, nanoseconds since the epoch; 0 if unknown.
    pub stored_ns: u64,
}

impl StoredLine {
    /// Reads a document. `None` for request documents and for what has no id.
    pub fn from_document(document: &Value) -> Option<Self> {
        let text = |key: &str| {
            get(document, key)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let id = text("event.id").or_else(|| text("_id"))?;
        if id.starts_with("r-") {
            return None;
        }
        Some(Self {
            id,
            service: text("service.name").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            stack_trace: text("error.stack_trace"),
            trace: text("trace.id"),
            user: text("user.id"),
            outcome: text("emco.attribution.outcome").unwrap_or_default(),
            inferred_trace: text("emco.inferred.trace.id"),
            inferred_user: text("emco.inferred.user.id"),
            masked: get(document, "emco.redacted").is_some(),
            stored_ns: 0,
        })
    }
}

/// Finds a dotted key, whichever of its dots became objects.
fn get<'a>(document: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(value) = document.get(key) {
        return Some(value);
    }
    key.match_indices('.').find_map(|(dot, _)| {
        let (head, tail) = (key.get(..dot)?, key.get(dot + 1..)?);
        get(document.get(head)?, tail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotted_and_nested_documents_read_the_same() {
        let dotted = json!({"event.id": "a-0", "service.name": "clm", "message": "m",
            "trace.id": "t", "user.id": "u", "emco.attribution.outcome": "attributed"});
        let nested = json!({"event": {"id": "a-0"}, "service": {"name": "clm"}, "message": "m",
            "trace": {"id": "t"}, "user": {"id": "u"}, "emco": {"attribution.outcome": "attributed"}});
        let line = StoredLine::from_document(&dotted).unwrap();
        assert_eq!(StoredLine::from_document(&nested), Some(line.clone()));
        assert_eq!(
            (
                line.id.as_str(),
                line.user.as_deref(),
                line.outcome.as_str()
            ),
            ("a-0", Some("u"), "attributed")
        );
    }

    #[test]
    fn a_request_document_is_no_line() {
        assert_eq!(
            StoredLine::from_document(&json!({"event.id": "r-0-1"})),
            None
        );
        assert_eq!(
            StoredLine::from_document(&json!({"message": "no id"})),
            None
        );
    }
}
