//! A pod (or the template of one) as it came, looked at without being taken apart: what is not asked
//! for is never read, so that fields of any version survive.

use serde_json::{Map, Value};

use super::decision::Reason;

type Object = Map<String, Value>;

/// Prefix of the names of Istio's containers.
const ISTIO: &str = "istio-";

/// A view of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Object,
    pub(super) spec: &'a Object,
}

impl<'a> Pod<'a> {
    /// Looks at `pod`, which has to have `metadata` and `spec`.
    pub(super) fn read(pod: &'a Value) -> Result<Self, Reason> {
        let part = |name: &str| {
            let part = pod.get(name).and_then(Value::as_object);
            part.ok_or_else(|| malformed(name))
        };
        Ok(Self {
            metadata: part("metadata")?,
            spec: part("spec")?,
        })
    }

    /// That what is changed has the form that it has to have.
    pub(super) fn check(self) -> Result<(), Reason> {
        for (parent, name, at) in [
            (self.metadata, "labels", "metadata.labels"),
            (self.metadata, "annotations", "metadata.annotations"),
        ] {
            let all_texts = |map: &Object| map.values().all(Value::is_string);
            match parent.get(name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(map)) if all_texts(map) => {}
                Some(_) => return Err(malformed(at)),
            }
        }
        for (name, at) in [
            ("containers", "spec.containers"),
            ("initContainers", "spec.initContainers"),
            ("volumes", "spec.volumes"),
        ] {
            is_named_list(self.spec.get(name), at)?;
        }
        match self.spec.get("imagePullSecrets") {
            None | Some(Value::Null | Value::Array(_)) => Ok(()),
            Some(_) => Err(malformed("spec.imagePullSecrets")),
        }
    }

    pub(super) fn label(self, name: &str) -> Option<&'a str> {
        self.metadata.get("labels")?.get(name)?.as_str()
    }

    pub(super) fn annotation(self, name: &str) -> Option<&'a str> {
        self.metadata.get("annotations")?.get(name)?.as_str()
    }

    pub(super) fn containers(self) -> &'a [Value] {
        items(self.spec.get("containers"))
    }

    pub(super) fn init_containers(self) -> &'a [Value] {
        items(self.spec.get("initContainers"))
    }

    pub(super) fn volumes(self) -> &'a [Value] {
        items(self.spec.get("volumes"))
    }

    /// Containers of both kinds.
    pub(super) fn all_containers(self) -> impl Iterator<Item = &'a Value> {
        self.init_containers().iter().chain(self.containers())
    }

    /// Where in `containers` the service called `app` is: the container of that name, or the only
    /// one that is not the mesh's.
    pub(super) fn service(self, app: &str) -> Option<usize> {
        let containers = self.containers();
        let named = containers.iter().position(|item| name(item) == app);
        named.or_else(|| {
            let mut own = (0..).zip(containers).filter(|(_, item)| !is_istio(item));
            let (index, _) = own.next()?;
            own.next().is_none().then_some(index)
        })
    }

    /// Whether Istio's proxy is in the pod already.
    pub(super) fn has_istio(self) -> bool {
        self.all_containers().any(is_istio)
    }

    pub(super) fn bool(self, name: &str) -> bool {
        self.spec.get(name).and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn is_windows(self) -> bool {
        let os = self.spec.get("os").and_then(|os| os.get("name"));
        let selector = self.spec.get("nodeSelector");
        let node = selector.and_then(|selector| selector.get("kubernetes.io/os"));
        [os, node]
            .into_iter()
            .flatten()
            .any(|os| os.as_str() == Some("windows"))
    }

    /// Whether it comes from a kubelet's own files.
    pub(super) fn is_static(self) -> bool {
        let source = self.annotation("kubernetes.io/config.source");
        self.annotation("kubernetes.io/config.mirror").is_some()
            || source.is_some_and(|source| source != "api")
    }

    /// Whether its containers are meant to end.
    pub(super) fn ends(self) -> bool {
        let policy = self.spec.get("restartPolicy").and_then(Value::as_str);
        matches!(policy, Some("Never" | "OnFailure"))
    }
}

/// The name of a container, volume or anything else that has one.
pub(super) fn name(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// The elements of a list; none if it is no list.
pub(super) fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array)
        .map_or(&[], |items| items.as_slice())
}

/// Where the item called `wanted` is.
pub(super) fn position(items: &[Value], wanted: &str) -> Option<usize> {
    items.iter().position(|item| name(item) == wanted)
}

/// Whether a container is one of Istio's.
pub(super) fn is_istio(container: &Value) -> bool {
    name(container).starts_with(ISTIO)
}

/// Refuses what is neither missing nor a list of things with names.
pub(super) fn is_named_list(list: Option<&Value>, at: &str) -> Result<(), Reason> {
    let named = |item: &Value| item.get("name").is_some_and(Value::is_string);
    match list {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(items)) if items.iter().all(named) => Ok(()),
        Some(_) => Err(malformed(at)),
    }
}

pub(super) fn malformed(path: impl Into<String>) -> Reason {
    Reason::Malformed { path: path.into() }
}
