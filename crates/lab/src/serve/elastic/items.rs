//! The answer of a bulk request, written item by item.

use serde_json::json;

use super::bulk::Action;
use crate::serve::store::Stored;

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored(Stored),
    /// Refused for good: type and reason.
    Refused(&'static str, String),
    /// Not now.
    Unavailable(String),
}

/// The items of an answer, as JSON.
#[derive(Debug, Default)]
pub(super) struct Items {
    text: Vec<u8>,
    count: usize,
    errors: bool,
}

impl Items {
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, action: Action, index: &str, id: &str, outcome: &Outcome) {
        if self.count > 0 {
            self.text.push(b',');
        }
        self.count += 1;
        let shards = json!({"total": 1, "successful": 1, "failed": 0});
        let body = match outcome {
            Outcome::Stored(Stored::Created) => json!({
                "_index": index, "_id": id, "_version": 1, "result": "created",
                "_shards": shards, "status": 201,
            }),
            Outcome::Stored(Stored::Updated) => json!({
                "_index": index, "_id": id, "result": "updated", "_shards": shards, "status": 200,
            }),
            Outcome::Stored(Stored::Duplicate) => self.error(
                index,
                id,
                409,
                "version_conflict_engine_exception",
                &format!("[{id}]: version conflict, document already exists (current version [1])"),
            ),
            Outcome::Refused(kind, reason) => self.error(index, id, 400, kind, reason),
            Outcome::Unavailable(reason) => {
                self.error(index, id, 503, "unavailable_shards_exception", reason)
            }
        };
        let item = json!({ action.name(): body });
        self.text.extend_from_slice(item.to_string().as_bytes());
    }

    /// The whole answer.
    pub(super) fn finish(self, took: std::time::Duration) -> Vec<u8> {
        let (took, errors) = (took.as_millis(), self.errors);
        let mut out = format!("{{\"errors\":{errors},\"took\":{took},\"items\":[").into_bytes();
        out.extend_from_slice(&self.text);
        out.extend_from_slice(b"]}");
        out
    }

    fn error(
        &mut self,
        index: &str,
        id: &str,
        status: u16,
        kind: &str,
        reason: &str,
    ) -> serde_json::Value {
        self.errors = true;
        json!({
            "_index": index, "_id": id, "status": status,
            "error": {"type": kind, "reason": reason, "index": index},
        })
    }
}
