//! Envoy's JSON access log lines, in the key names that Istio's formats and ours use.

use model::evidence::AccessFacts;

/// Reads one line; `None` if it is no access line.
pub fn access(text: &[u8]) -> Option<AccessFacts<'_>> {
    let _ = text;
    None
}
