//! What spans and access records say about one request.

use model::evidence::{AccessFacts, SpanFacts};
use model::line::NameKey;
use model::time::UnixNanos;

use crate::callmap::{CallMap, name_key};
use crate::origin::{Kind, NO_ENTRY, Origin, RequestFacts};

/// A request as its path tells it.
pub(crate) struct Request {
    entry: u8,
    routed: bool,
    facts: RequestFacts,
    names: Vec<(NameKey, Box<str>)>,
    exact: bool,
}

impl Request {
    pub(crate) fn http(method: &str, path: &str, exact: bool, map: Option<&CallMap>) -> Self {
        let route = map.and_then(|map| map.route(method, path));
        let (entry, names) = route.unwrap_or((NO_ENTRY, Vec::new()));
        let named = |(key, value): (&'static str, &str)| Some((name_key(key)?, value.into()));
        Self {
            entry,
            routed: entry != NO_ENTRY,
            names: names.into_iter().filter_map(named).collect(),
            facts: RequestFacts {
                method: method.to_ascii_uppercase(),
                path: path.to_owned(),
                ..RequestFacts::default()
            },
            exact,
        }
    }

    pub(crate) fn rpc(entry: Option<u8>, name: &str) -> Self {
        let (service, method) = name.split_once('/').unwrap_or(("", name));
        Self {
            entry: entry.unwrap_or(NO_ENTRY),
            routed: entry.is_some(),
            names: Vec::new(),
            facts: RequestFacts {
                grpc: true,
                method: service.to_owned(),
                path: method.to_owned(),
                ..RequestFacts::default()
            },
            exact: true,
        }
    }

    pub(crate) fn give_to(self, origin: &mut Origin, start: UnixNanos, end: UnixNanos) {
        origin.kind = Kind::Request {
            entry: self.entry,
            routed: self.routed,
        };
        let facts = origin.request.get_or_insert_default();
        if facts.path.is_empty() || (self.exact && !facts.path_exact) {
            facts.grpc = self.facts.grpc;
            facts.method = self.facts.method;
            facts.path = self.facts.path;
            facts.path_exact = self.exact;
            origin.names = self.names;
        }
        facts.start = start.0;
        facts.end = end.0.max(facts.end);
    }
}

impl RequestFacts {
    pub(crate) fn same_path(&self, access: &AccessFacts<'_>) -> bool {
        let path = |text: &str| {
            text.split('?')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase()
        };
        if self.grpc {
            let name = path(access.path);
            return name.ends_with(&format!("/{}", self.path.to_ascii_lowercase()));
        }
        self.method.eq_ignore_ascii_case(access.method) && path(&self.path) == path(access.path)
    }
}

/// The HTTP request that a span of the service's router describes.
pub(crate) fn http_request(span: &SpanFacts<'_>, map: Option<&CallMap>) -> Option<Request> {
    let (method, path) = span.name.split_once(' ')?;
    path.starts_with('/')
        .then(|| Request::http(method, path, false, map))
}

/// The gRPC call that a server span describes.
pub(crate) fn rpc_request(span: &SpanFacts<'_>, map: Option<&CallMap>) -> Request {
    let entry = map.and_then(|map| map.rpc(span.name));
    match (span.rpc_service, span.rpc_method) {
        (Some(service), Some(method)) => Request::rpc(entry, &format!("{service}/{method}")),
        _ => Request::rpc(entry, span.name),
    }
}

/// The gRPC method behind a path, if the service has it.
pub(crate) fn rpc_of_path<'a>(
    path: &'a str,
    map: Option<&CallMap>,
) -> Option<(Option<u8>, &'a str)> {
    let name = path.strip_prefix('/')?;
    let entry = map?.rpc(name)?;
    Some((Some(entry), name))
}

/// What a name is called in documents.
pub(crate) fn field_name(key: NameKey) -> Option<&'static str> {
    Some(match key {
        NameKey::Project => "emco.project",
        NameKey::CompositeApp => "emco.composite_app",
        NameKey::CompositeAppVersion => "emco.composite_app_version",
        NameKey::DeploymentIntentGroup => "emco.deployment_intent_group",
        NameKey::LogicalCloud => "emco.logical_cloud",
        NameKey::ClusterProvider => "emco.cluster_provider",
        _ => return None,
    })
}
