//! Where EMCO's own configuration leads spans, for pods without a copy of it that leads them to us.

use serde_json::Value;

use super::report::Spans;
use crate::inject;

/// The file in which EMCO's services find their settings, and its name in a `ConfigMap`.
const FILE: &str = "config.json";
/// Port to which EMCO sends spans unless told otherwise, and on which the sidecar takes them.
const PORT: &str = "9411";

/// Where a pod's configuration is from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigurationSource {
    /// Name of the `ConfigMap`.
    pub config_map: String,
    /// Its key.
    pub key: String,
}

impl ConfigurationSource {
    /// Of a pod that has a sidecar; nothing if its configuration is from no `ConfigMap`.
    pub fn find(pod: &Value) -> Option<Self> {
        let service = inject::status(pod).ok()??.service;
        let container = named(pod.pointer("/spec/containers"), &service)?;
        let mut mounts = items(container.get("volumeMounts"));
        let mount = mounts.find(|mount| text(mount, "subPath") == FILE)?;
        let volume = named(pod.pointer("/spec/volumes"), text(mount, "name"))?;
        let map = volume.get("configMap")?;
        let mut chosen = items(map.get("items"));
        let key = chosen.find(|item| text(item, "path") == FILE);
        Some(Self {
            config_map: map.get("name")?.as_str()?.to_owned(),
            key: key.map_or(FILE, |item| text(item, "key")).to_owned(),
        })
    }
}

/// Whether spans come to the sidecar by `configuration`; it reads keys as EMCO does, whatever their
/// case.
pub(super) fn leads(configuration: &Value) -> Spans {
    let of = |key: &str| {
        let mut entries = configuration.as_object().into_iter().flatten();
        let entry = entries.rfind(|(name, _)| name.eq_ignore_ascii_case(key));
        entry
            .and_then(|(_, value)| value.as_str())
            .unwrap_or_default()
    };
    match (of("zipkin-ip"), of("zipkin-port")) {
        ("", _) => Spans::None,
        ("127.0.0.1" | "localhost", PORT | "") => Spans::Config,
        _ => Spans::Elsewhere,
    }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn named<'a>(list: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    items(list).find(|item| text(item, "name") == name)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}
