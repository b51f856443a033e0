//! Shaping against golden text, rules against figures, the exporter against a receiver with moods.

mod export;
mod moulds;
mod rules;
mod shape;

use std::borrow::Cow;
use std::sync::Arc;

use model::evidence::SpanKind;
use model::ids::{SpanId, TraceId};
use model::span::{Annotation, Span};
use model::time::UnixNanos;
use model::verdict::{User, UserSource};

use crate::lookup::{Lookup, Request, Route};

/// 2026-11-23T04:09:36Z.
pub(super) const START: UnixNanos = UnixNanos(1_795_406_976_000_000_000);

/// Knows one person, one request and a few routes.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) person: Option<&'static str>,
    pub(super) request: Option<Request>,
    pub(super) polls: bool,
}

impl Lookup for Known {
    fn person(&self, _: &Span<'_>) -> Option<User> {
        self.person.map(|id| User {
            id: Arc::from(id),
            source: UserSource::Gateway,
        })
    }

    fn request(&self, _: TraceId, _: SpanId) -> Option<Request> {
        self.request.clone()
    }

    fn route<'a>(&self, _: &str, path: &'a str) -> Option<Route<'a>> {
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["", "v2", projects] if projects.eq_ignore_ascii_case("projects") => Some(Route {
                template: "/v2/projects",
                parameters: Vec::new(),
            }),
            ["", "v2", _, project, "composite-apps", app] => Some(Route {
                template: "/v2/projects/{project}/composite-apps/{compositeApp}",
                parameters: vec![("project", project), ("compositeApp", app)],
            }),
            _ => None,
        }
    }

    fn is_metrics_poll(&self, _: TraceId) -> bool {
        self.polls
    }

    fn redact(&self, key: &str, text: &str) -> Option<String> {
        let masked = text.replace("hunter2", "[REDACTED]");
        (masked != text || key == "password").then_some(masked)
    }
}

/// A span of orchestrator with these tags.
pub(super) fn span<'a>(
    name: &'a str,
    kind: SpanKind,
    tags: &[(&'a str, &'a str)],
    annotations: &[&'a str],
) -> Span<'a> {
    let own = |text: &(&'a str, &'a str)| (Cow::Borrowed(text.0), Cow::Borrowed(text.1));
    Span {
        trace: TraceId::parse(b"48485a3953bb6124").unwrap(),
        span: SpanId([1; 8]),
        parent: Some(SpanId([2; 8])),
        kind,
        name: name.into(),
        service: "orchestrator.emco".into(),
        remote: "".into(),
        start: START,
        duration: 722_000,
        failed: false,
        tags: tags.iter().map(own).collect(),
        annotations: annotations
            .iter()
            .map(|text| Annotation {
                at: START.plus(11_000),
                text: (*text).into(),
                message: None,
            })
            .collect(),
    }
}
