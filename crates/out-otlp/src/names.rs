//! Names in their own case, and words that come again and again.

use std::borrow::Cow;
use std::collections::HashSet;

use model::span::Span;

use crate::attributes::clean;
use crate::lookup::Lookup;
use crate::moulds::Moulds;

/// Spans that EMCO opens itself, as it writes them; its exporter makes them lower case.
const ROOTS: [&str; 10] = [
    "ReadRefSchema",
    "appContextRoutine",
    "ResourcesReady",
    "scheduleStatus",
    "DeleteStatusCR",
    "StartClusterWatcher",
    "processAlert",
    "sendStatusNotifications",
    "processServiceDiscovery",
    "get-metrics",
];
/// Calls that nearly every request makes.
const CALLS: [(&str, &str); 7] = [
    ("etcdserverpb.kv/range", "etcdserverpb.KV/Range"),
    ("etcdserverpb.kv/put", "etcdserverpb.KV/Put"),
    ("etcdserverpb.kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("resources.find", "resources.find"),
    ("resources.findandmodify", "resources.findAndModify"),
    ("resources.update", "resources.update"),
    ("resources.aggregate", "resources.aggregate"),
];
/// Libraries that EMCO's spans come from.
const LIBRARIES: [&str; 4] = [
    "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc",
    "go.opentelemetry.io/contrib/instrumentation/go.mongodb.org/mongo-driver/mongo/otelmongo",
    "semver:0.27.0",
    "semver:0.33.0",
];
/// Most words that are kept, and the longest.
const WORDS_MAX: usize = 256;
const WORD_BYTES_MAX: usize = 128;

/// Names of libraries and keys of unknown tags: few, and in every span. They are kept for the life
/// of the process, up to a bound; what is beyond it is copied every time. And what spans of one form
/// have in common.
#[derive(Debug, Default)]
pub struct Words {
    known: HashSet<&'static str>,
    pub(crate) moulds: Moulds,
}

impl Words {
    /// Whether an outline of a span is enough for [`crate::Batch::push_formed`]: its form came before.
    pub fn know(&self, form: u64) -> bool {
        self.moulds.has(form)
    }

    /// The word itself, without secrets and not too long; looked through and copied only if it is a
    /// new one.
    pub(crate) fn keep(&mut self, word: &str, lookup: &dyn Lookup) -> Cow<'static, str> {
        if let Some(library) = LIBRARIES.iter().find(|library| **library == word) {
            return Cow::Borrowed(library);
        }
        if let Some(known) = self.known.get(word) {
            return Cow::Borrowed(known);
        }
        let word = match clean("", word, lookup) {
            Cow::Borrowed(word) if self.known.len() < WORDS_MAX && word.len() <= WORD_BYTES_MAX => {
                word
            }
            other => return Cow::Owned(other.into_owned()),
        };
        let kept: &'static str = Box::leak(word.into());
        self.known.insert(kept);
        Cow::Borrowed(kept)
    }
}

/// The name of a span that is no HTTP request, in its own case as far as its tags tell.
pub(crate) fn restored(span: &Span<'_>) -> Cow<'static, str> {
    let name = span.name.as_ref();
    if let Some((_, call)) = CALLS.iter().find(|(lower, _)| *lower == name) {
        return Cow::Borrowed(call);
    }
    if let Some(root) = ROOTS.iter().find(|root| root.eq_ignore_ascii_case(name)) {
        return Cow::Borrowed(root);
    }
    let pair = |first: &str, between: &str, second: &str| {
        let whole = [first, between, second].concat();
        whole.eq_ignore_ascii_case(name).then_some(whole)
    };
    let from_tags = match (span.tag("rpc.service"), span.tag("db.operation")) {
        (Some(service), _) => span
            .tag("rpc.method")
            .and_then(|method| pair(service, "/", method)),
        (None, Some(operation)) if operation.eq_ignore_ascii_case(name) => {
            Some(operation.to_owned())
        }
        (None, Some(operation)) => span
            .tag("db.mongodb.collection")
            .and_then(|collection| pair(collection, ".", operation)),
        (None, None) => None,
    };
    Cow::Owned(from_tags.unwrap_or_else(|| name.to_owned()))
}

/// The attribute that a path parameter of EMCO's routes becomes: `compositeApp` and
/// `composite-app-name` are both `emco.composite_app`.
pub(crate) fn parameter(name: &str) -> String {
    let name = name.strip_suffix("-name").unwrap_or(name);
    let mut key = String::with_capacity(name.len() + 8);
    key.push_str("emco.");
    let mut after_lower = false;
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            if after_lower {
                key.push('_');
            }
            key.push(character.to_ascii_lowercase());
        } else {
            key.push(if character == '-' { '_' } else { character });
        }
        after_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Known;

    #[test]
    fn parameters_are_named_like_fields_of_lines() {
        for (parameter_name, key) in [
            ("project", "emco.project"),
            ("compositeAppVersion", "emco.composite_app_version"),
            (
                "deployment-intent-group-name",
                "emco.deployment_intent_group",
            ),
            ("genericK8sIntent", "emco.generic_k8s_intent"),
            ("controller-name", "emco.controller"),
            ("id", "emco.id"),
        ] {
            assert_eq!(parameter(parameter_name), key);
        }
    }

    #[test]
    fn words_are_kept_up_to_a_bound() {
        let mut words = Words::default();
        for number in 0..WORDS_MAX {
            assert!(matches!(
                words.keep(&number.to_string(), &Known::default()),
                Cow::Borrowed(_)
            ));
        }
        assert!(matches!(
            words.keep("0", &Known::default()),
            Cow::Borrowed("0")
        ));
        assert!(matches!(
            words.keep("another", &Known::default()),
            Cow::Owned(_)
        ));
        assert!(matches!(
            Words::default().keep(&"x".repeat(WORD_BYTES_MAX + 1), &Known::default()),
            Cow::Owned(_)
        ));
    }
}
