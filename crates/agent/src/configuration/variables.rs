//! The environment's settings: every key of the file has a variable, which wins over it.
//!
//! The name is `EMCO_OBSERVER_` and the key's path in capitals, dots as underscores; the sections
//! `logs`, `attribution` and `lanes` are left out: `lanes.forward.address` is
//! `EMCO_OBSERVER_FORWARD_ADDRESS`. A list is written with commas. An empty variable is none.

use std::collections::BTreeMap;

/// Begins every name.
pub(crate) const PREFIX: &str = "EMCO_OBSERVER_";
/// Sections whose names are no part of a variable's.
const LEFT_OUT: [&str; 3] = ["logs", "attribution", "lanes"];
/// Says where the file is, not what is in it.
const FILE: &str = "CONFIG";

/// The variables with our prefix, without it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of `environment` that are settings. What Kubernetes says of a Service that is called
    /// like us is none.
    pub(crate) fn from(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let own = environment.into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?.to_owned();
            let is_setting = !value.is_empty() && name != FILE && !is_service_link(&name);
            is_setting.then_some((name, value))
        });
        Self(own.collect())
    }

    /// The value for the key at `path`.
    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(&suffix(path)).map(String::as_str)
    }

    /// Whether there is a value for a key below `path`.
    pub(crate) fn any_below(&self, path: &str) -> bool {
        let mut prefix = suffix(path);
        if !prefix.is_empty() {
            prefix.push('_');
        }
        self.0.keys().any(|name| name.starts_with(&prefix))
    }

    /// The names, without the prefix.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The variable of the key at `path`.
pub(crate) fn name(path: &str) -> String {
    format!("{PREFIX}{}", suffix(path))
}

fn suffix(path: &str) -> String {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let named = if LEFT_OUT.contains(&first) {
        rest
    } else {
        path
    };
    named.replace('.', "_").to_ascii_uppercase()
}

/// `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT_80_TCP_ADDR` and the like.
fn is_service_link(name: &str) -> bool {
    let is_port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    let ports = name.match_indices("PORT").any(|(at, word)| {
        let before = name.get(..at).unwrap_or_default();
        let behind = name.get(at + word.len()..).unwrap_or_default();
        (before.is_empty() || before.ends_with('_')) && is_port(behind)
    });
    ports || name.ends_with("SERVICE_HOST")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_names_that_were_promised() {
        for (path, variable) in [
            ("service", "EMCO_OBSERVER_SERVICE"),
            ("logs.pod_dir", "EMCO_OBSERVER_POD_DIR"),
            ("attribution.wait", "EMCO_OBSERVER_WAIT"),
            ("spans.listen", "EMCO_OBSERVER_SPANS_LISTEN"),
            ("lanes.forward.address", "EMCO_OBSERVER_FORWARD_ADDRESS"),
            (
                "lanes.elastic.tls.ca_file",
                "EMCO_OBSERVER_ELASTIC_TLS_CA_FILE",
            ),
        ] {
            assert_eq!(name(path), variable);
        }
    }

    #[test]
    fn what_kubernetes_says_of_services_is_no_setting() {
        let environment = [
            ("EMCO_OBSERVER_SERVICE", "clm"),
            ("EMCO_OBSERVER_SERVICE_HOST", "10.0.0.1"),
            ("EMCO_OBSERVER_SERVICE_PORT", "80"),
            ("EMCO_OBSERVER_SERVICE_PORT_HTTP", "80"),
            ("EMCO_OBSERVER_PORT", "tcp://10.0.0.1:80"),
            ("EMCO_OBSERVER_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("EMCO_OBSERVER_HUB_SERVICE_HOST", "10.0.0.1"),
            ("EMCO_OBSERVER_HUB_ADDRESSES", "hub:80"),
            ("EMCO_OBSERVER_WAIT", ""),
            ("EMCO_OBSERVER_CONFIG", "/f"),
            ("PATH", "/bin"),
        ];
        let owned = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::from(owned);
        let names: Vec<_> = variables.names().collect();
        assert_eq!(names, ["HUB_ADDRESSES", "SERVICE"]);
        assert_eq!(variables.get("hub.addresses"), Some("hub:80"));
        assert!(variables.any_below("hub") && variables.any_below("lanes"));
        assert!(!variables.any_below("lanes.forward"));
    }
}
