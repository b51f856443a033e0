//! Everything a destination ever received, repetitions included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::pod::Written;
use super::{PATIENCE, until};

/// What arrived; clones are handles to the same.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    documents: BTreeMap<String, Vec<Value>>,
    received: usize,
    wire: Vec<u8>,
}

/// What one delivery says about who did it: trace, person, outcome.
pub(crate) type Claim = (Option<String>, Option<String>, String);

impl Store {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a document; answers whether its id is new.
    pub(crate) fn add(&self, id: &str, document: Value) -> bool {
        let mut inner = self.lock();
        inner.received += 1;
        let versions = inner.documents.entry(id.to_owned()).or_default();
        versions.push(document);
        versions.len() == 1
    }

    /// Keeps bytes as they came over the wire.
    pub(crate) fn keep(&self, bytes: &[u8]) {
        self.lock().wire.extend_from_slice(bytes);
    }

    /// Whether `needle` ever came over the wire.
    pub(crate) fn saw(&self, needle: &str) -> bool {
        let inner = self.lock();
        inner
            .wire
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    }

    /// How many documents came, repetitions included.
    pub(crate) fn received(&self) -> usize {
        self.lock().received
    }

    /// Ids of log lines.
    pub(crate) fn line_ids(&self) -> BTreeSet<String> {
        let inner = self.lock();
        let ids = inner.documents.keys().filter(|id| !id.starts_with("r-"));
        ids.cloned().collect()
    }

    /// Documents of requests.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let inner = self.lock();
        let requests = inner
            .documents
            .iter()
            .filter(|(id, _)| id.starts_with("r-"));
        requests.map(|(_, versions)| versions[0].clone()).collect()
    }

    /// The document of this id, as it first came.
    pub(crate) fn get(&self, id: &str) -> Option<Value> {
        Some(self.lock().documents.get(id)?[0].clone())
    }

    /// How often the document of this id came.
    pub(crate) fn times(&self, id: &str) -> usize {
        self.lock().documents.get(id).map_or(0, Vec::len)
    }

    /// What every delivery of every document claimed.
    pub(crate) fn claims(&self) -> BTreeMap<String, BTreeSet<Claim>> {
        let inner = self.lock();
        let claims = inner.documents.iter().map(|(id, versions)| {
            let versions = versions.iter().map(claim);
            (id.clone(), versions.collect())
        });
        claims.collect()
    }

    /// The documents of log lines, each once.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let inner = self.lock();
        let lines = inner
            .documents
            .iter()
            .filter(|(id, _)| !id.starts_with("r-"));
        lines.map(|(_, versions)| versions[0].clone()).collect()
    }

    /// Waits until every line of `written` is here, then compares texts.
    pub(crate) async fn contains(&self, written: &[Written]) {
        self.arrived(written).await;
        for line in written {
            let document = self.get(&line.id).unwrap();
            assert_eq!(text(&document), line.says, "{document}");
        }
    }

    /// Waits until there are so many lines.
    pub(crate) async fn arrived_lines(&self, count: usize) {
        until(&format!("{count} lines are delivered"), async || {
            (self.line_ids().len() >= count).then_some(())
        })
        .await;
    }

    /// Waits until every line of `written` is here.
    async fn arrived(&self, written: &[Written]) {
        let expected: BTreeSet<_> = written.iter().map(|line| line.id.clone()).collect();
        assert_eq!(expected.len(), written.len(), "the test's own ids differ");
        let missing = || -> Vec<String> {
            let ids = self.line_ids();
            expected.difference(&ids).cloned().collect()
        };
        let waiting = until("", async || missing().is_empty().then_some(()));
        if tokio::time::timeout(PATIENCE / 2, waiting).await.is_err() {
            let missing = missing();
            let first = written.iter().find(|line| missing.contains(&line.id));
            let ids = self.line_ids();
            panic!(
                "{} of {} lines are missing, the first is {first:?}; there are {ids:?}",
                missing.len(),
                expected.len()
            );
        }
    }

    /// As [`Self::contains`], and nothing else is here.
    pub(crate) async fn has_exactly(&self, written: &[Written]) {
        self.contains(written).await;
        self.has_ids(written).await;
    }

    /// Waits until every line of `written` is here; nothing else may be.
    pub(crate) async fn has_ids(&self, written: &[Written]) {
        self.arrived(written).await;
        let expected: BTreeSet<_> = written.iter().map(|line| line.id.clone()).collect();
        let ids = self.line_ids();
        let strange: Vec<_> = ids.difference(&expected).map(|id| self.get(id)).collect();
        assert!(strange.is_empty(), "never written: {strange:?}");
    }
}

/// The text that a document carries: a dump whole, anything else its message.
pub(crate) fn text(document: &Value) -> String {
    let whole = document.get("error.stack_trace");
    let text = whole.or_else(|| document.get("message"));
    text.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a document claims.
pub(crate) fn claim(document: &Value) -> Claim {
    let field = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
    (
        field("trace.id"),
        field("user.id"),
        field("emco.attribution.outcome").unwrap_or_default(),
    )
}
