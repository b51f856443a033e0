//! The routes of a service as metrics name them: template and action, from the call map's entries.
//!
//! A path that no entry serves has no route: raw paths never become names.

use memchr::memchr;

use crate::callmap::{CallMap, Entry};

/// Path of EMCO's own metrics, which every service serves.
const SCRAPE: &str = "/metrics";

/// What the last segment of a template asks for, if it is a verb.
const VERBS: [&str; 11] = [
    "apply",
    "approve",
    "cancel",
    "instantiate",
    "migrate",
    "rollback",
    "start",
    "status",
    "stop",
    "terminate",
    "update",
];

/// Last segments that name one thing, not many.
const ONES: [&str; 2] = ["health", "kubeconfig"];

/// gRPC methods of EMCO that no entry of a call map serves: their servers answer `Unimplemented`, or
/// run outside the services that were analysed.
const RPCS: [&str; 6] = [
    "contextupdate/PostEvent",
    "contextupdate/TerminateAppContext",
    "contextupdate/UpdateAppContext",
    "events.events/EventUpdate",
    "StatusNotify/StatusDeregister",
    "StatusNotify/StatusRegister",
];

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `/v2/projects/{project}`, or `installapp/InstallApp` for a gRPC method.
    pub template: &'static str,
    /// What it does: a verb of EMCO's API, `create`, `read` and the like, or the gRPC method.
    pub action: &'static str,
}

/// The routes of one service.
#[derive(Debug, Default)]
pub struct Routes {
    /// The first one is the root; a path is walked segment by segment.
    nodes: Vec<Node>,
    rpc: Vec<Route>,
}

/// What can follow the segments up to here.
#[derive(Debug, Default)]
struct Node {
    literals: Vec<(&'static str, usize)>,
    parameter: Option<usize>,
    /// The routes that end here, by method; `*` for any.
    routes: Vec<(&'static str, Route)>,
}

impl Routes {
    pub(crate) fn of(map: Option<&CallMap>) -> Self {
        let mut routes = Self::default();
        let (rpc, http): (Vec<&Entry>, Vec<&Entry>) = map
            .map_or(&[][..], CallMap::entries)
            .iter()
            .partition(|entry| entry.grpc);
        for entry in http {
            routes.add_http(entry.method(), entry.template());
        }
        routes.add_http("GET", SCRAPE);
        for name in RPCS.into_iter().chain(rpc.iter().map(|entry| entry.name)) {
            routes.add_rpc(name);
        }
        routes
    }

    /// Routes with a query matcher take any method, but only those that no plain route takes.
    fn add_http(&mut self, method: &'static str, template: &'static str) {
        let mut at = 0;
        for segment in template.split('/') {
            at = self.child(at, segment);
        }
        if let Some(node) = self.nodes.get_mut(at)
            && !node
                .routes
                .iter()
                .any(|(known, _)| *known == method || method == "*")
        {
            let action = action(method, template);
            node.routes.push((method, Route { template, action }));
        }
    }

    fn child(&mut self, parent: usize, segment: &'static str) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(parent) else {
            return parent;
        };
        let literal = node.literals.iter().find(|(known, _)| *known == segment);
        let known = match literal {
            Some((_, known)) => *known,
            None if segment.starts_with('{') => *node.parameter.get_or_insert(new),
            None => {
                node.literals.push((segment, new));
                new
            }
        };
        if known == new {
            self.nodes.push(Node::default());
        }
        known
    }

    fn add_rpc(&mut self, template: &'static str) {
        let known = |route: &Route| route.template == template;
        if let Some((_, action)) = template.split_once('/')
            && !self.rpc.iter().any(known)
        {
            self.rpc.push(Route { template, action });
        }
    }

    /// The route that serves `method` on `path` (query ignored); case is ignored, too.
    pub fn http(&self, method: &str, path: &str) -> Option<Route> {
        let path = path.as_bytes();
        let path = memchr(b'?', path).map_or(Some(path), |end| path.get(..end))?;
        self.walk(0, Some(path), method)
    }

    /// The route behind the remaining segments; a literal goes before a parameter.
    fn walk(&self, at: usize, rest: Option<&[u8]>, method: &str) -> Option<Route> {
        let node = self.nodes.get(at)?;
        let Some(rest) = rest else {
            let serves =
                |(own, _): &&(&str, Route)| *own == "*" || own.eq_ignore_ascii_case(method);
            return node.routes.iter().find(serves).map(|(_, route)| *route);
        };
        let (segment, rest) = match memchr(b'/', rest) {
            Some(slash) => (rest.get(..slash)?, rest.get(slash + 1..)),
            None => (rest, None),
        };
        let mut literals = node.literals.iter();
        let literal = literals.find(|(literal, _)| {
            literal.len() == segment.len() && literal.as_bytes().eq_ignore_ascii_case(segment)
        });
        let found = literal.and_then(|(_, next)| self.walk(*next, rest, method));
        found.or_else(|| {
            let next = node.parameter.filter(|_| !segment.is_empty())?;
            self.walk(next, rest, method)
        })
    }

    /// The gRPC method called `method` of `service`, in any case.
    pub fn rpc(&self, service: &str, method: &str) -> Option<Route> {
        let is = |route: &&Route| {
            route.template.split_once('/').is_some_and(|(own, action)| {
                own.eq_ignore_ascii_case(service) && action.eq_ignore_ascii_case(method)
            })
        };
        self.rpc.iter().find(is).copied()
    }
}

fn action(method: &str, template: &'static str) -> &'static str {
    let last = template.rsplit('/').next().unwrap_or_default();
    let verb = VERBS.iter().find(|verb| **verb == last);
    match (verb, method) {
        (Some(verb), "POST") => verb,
        (Some(_), "GET" | "*") if last == "status" => "status",
        _ if template == SCRAPE => "scrape",
        (_, "POST") => "create",
        (_, "PUT") => "update",
        (_, "DELETE") => "delete",
        (_, "GET" | "*") if last.starts_with('{') || ONES.contains(&last) => "read",
        (_, "GET" | "*") => "list",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIG: &str = "/v2/projects/{project}/composite-apps/{compositeApp}/{compositeAppVersion}\
                       /deployment-intent-groups/{deploymentIntentGroup}";

    fn routes(service: &str) -> Routes {
        Routes::of(CallMap::of(service).as_ref())
    }

    #[test]
    fn routes_are_templates_with_an_action() {
        let routes = routes("orchestrator");
        let dig = "/v2/projects/P1/composite-apps/ca/v1/deployment-intent-groups/status";
        for (method, path, template, action) in [
            (
                "POST",
                format!("{dig}/instantiate?x=1"),
                format!("{DIG}/instantiate"),
                "instantiate",
            ),
            (
                "post",
                format!("{dig}/approve").to_lowercase(),
                format!("{DIG}/approve"),
                "approve",
            ),
            (
                "GET",
                format!("{dig}/status"),
                format!("{DIG}/status"),
                "status",
            ),
            ("GET", dig.to_owned(), DIG.to_owned(), "read"),
            ("PUT", dig.to_owned(), DIG.to_owned(), "update"),
            ("DELETE", dig.to_owned(), DIG.to_owned(), "delete"),
            (
                "GET",
                "/v2/projects".to_owned(),
                "/v2/projects".to_owned(),
                "list",
            ),
            (
                "POST",
                "/v2/projects".to_owned(),
                "/v2/projects".to_owned(),
                "create",
            ),
            (
                "GET",
                "/metrics".to_owned(),
                "/metrics".to_owned(),
                "scrape",
            ),
        ] {
            let found = routes
                .http(method, &path)
                .unwrap_or_else(|| panic!("{method} {path}"));
            assert_eq!((found.template, found.action), (template.as_str(), action));
        }
        for (method, path) in [
            ("PATCH", "/v2/projects"),
            ("GET", "/v2/projects/"),
            ("GET", "/v2/secret-project-name"),
            ("GET", ""),
        ] {
            assert_eq!(routes.http(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn grpc_methods_are_routes_in_their_own_case() {
        let rsync = routes("rsync");
        let found = rsync.rpc("installapp", "installapp").unwrap();
        assert_eq!(
            (found.template, found.action),
            ("installapp/InstallApp", "InstallApp")
        );
        assert_eq!(rsync.rpc("installapp", "Steal"), None);
        let gac = routes("gac").rpc("contextupdate", "PostEvent").unwrap();
        assert_eq!(gac.template, "contextupdate/PostEvent");
        assert_eq!(
            routes("rsync").http("GET", "/metrics").unwrap().action,
            "scrape"
        );
    }

    #[test]
    fn an_unknown_service_has_only_its_metrics() {
        let routes = Routes::of(None);
        assert!(routes.http("GET", "/metrics").is_some());
        assert_eq!(routes.http("GET", "/v2/projects"), None);
    }

    #[test]
    fn every_route_of_every_service_is_found_by_its_own_template() {
        for service in [
            "clm",
            "dcm",
            "ncm",
            "dtc",
            "gac",
            "ovnaction",
            "hpa-plc",
            "tac",
            "policy",
        ] {
            let routes = routes(service);
            let known: Vec<_> = routes.nodes.iter().flat_map(|node| &node.routes).collect();
            assert!(known.len() > 1, "{service}");
            for (method, route) in known {
                let path = route.template.replace(['{', '}'], "");
                let found = routes.http(method, &path).unwrap();
                assert_eq!(
                    found.template.len(),
                    route.template.len(),
                    "{service} {route:?}"
                );
                assert_ne!(route.action, "other", "{service} {method} {route:?}");
            }
        }
    }
}
