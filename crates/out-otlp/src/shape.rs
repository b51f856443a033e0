//! One span in its new shape.

use std::borrow::Cow;
use std::sync::Arc;

use model::evidence::SpanKind;
use model::grpc;
use model::span::Span;
use model::verdict::User;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind as Kind, Status, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::attributes::{attributes, clean, time};
use crate::events::events;
use crate::lookup::Lookup;
use crate::names::{Words, parameter, restored};

/// Attributes beside those of the tags, usually.
const MORE_USUAL: usize = 8;
/// gRPC codes by which a server says that it is its own fault.
const SERVER_FAULTS: [i64; 6] = [2, 4, 12, 13, 14, 15];

/// What a request over HTTP brings.
struct Served {
    name: String,
    status: u16,
}

/// What is told of a span beside its ids, times and events.
pub(crate) struct Common {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) status: Status,
    pub(crate) scope: InstrumentationScope,
}

/// Shapes a span of a trace that `person` made.
pub(crate) fn shape(
    span: &Span<'_>,
    person: Option<&User>,
    words: &mut Words,
    lookup: &dyn Lookup,
) -> SpanData {
    let mut more = Vec::with_capacity(span.tags.len() + MORE_USUAL);
    let served = http(span, lookup, &mut more);
    attributes(span, words, lookup, &mut more);
    push_person(person, &mut more);
    let kind = match span.kind {
        SpanKind::Client => Kind::Client,
        SpanKind::Server => Kind::Server,
        SpanKind::Unset if served.is_some() => Kind::Server,
        SpanKind::Unset => Kind::Internal,
    };
    let status = status(span, &kind, served.as_ref(), lookup, &mut more);
    let common = Common {
        name: served.map_or_else(
            || cleaned(restored(span), lookup),
            |served| Cow::Owned(served.name),
        ),
        kind,
        attributes: more,
        status,
        scope: scope(span, words, lookup),
    };
    data(span, common, events(&span.annotations, words, lookup))
}

/// The span with what is told of it.
#[inline]
pub(crate) fn data(span: &Span<'_>, common: Common, events: SpanEvents) -> SpanData {
    let Common {
        name,
        kind,
        attributes,
        status,
        scope,
    } = common;
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.trace.0),
            SpanId::from_bytes(span.span.0),
            TraceFlags::SAMPLED,
            false,
            opentelemetry::trace::TraceState::NONE,
        ),
        parent_span_id: span
            .parent
            .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
        parent_span_is_remote: span.parent.is_some() && kind == Kind::Server,
        span_kind: kind,
        name,
        start_time: time(span.start),
        end_time: time(span.end()),
        attributes,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope,
    }
}

/// Who made the request, if that is known.
pub(crate) fn push_person(person: Option<&User>, out: &mut Vec<KeyValue>) {
    if let Some(user) = person {
        out.push(KeyValue::new("user.id", Arc::clone(&user.id)));
        out.push(KeyValue::new("emco.user.source", user.source.name()));
    }
}

fn cleaned(name: Cow<'static, str>, lookup: &dyn Lookup) -> Cow<'static, str> {
    match name {
        Cow::Borrowed(known) => Cow::Borrowed(known),
        Cow::Owned(name) => Cow::Owned(clean("", &name, lookup).into_owned()),
    }
}

fn scope(span: &Span<'_>, words: &mut Words, lookup: &dyn Lookup) -> InstrumentationScope {
    let name = span.tag("otel.library.name").unwrap_or_default();
    let builder = InstrumentationScope::builder(words.keep(name, lookup));
    match span.tag("otel.library.version") {
        Some(version) => builder.with_version(words.keep(version, lookup)).build(),
        None => builder.build(),
    }
}

/// What is known of a request over HTTP: EMCO's own spans (`get /v2/projects`, no kind, no tags) and
/// those of proxies in front of it.
fn http(span: &Span<'_>, lookup: &dyn Lookup, out: &mut Vec<KeyValue>) -> Option<Served> {
    match span.kind {
        SpanKind::Unset => own_request(span, lookup, out),
        SpanKind::Server => proxied_request(span, lookup, out),
        SpanKind::Client => None,
    }
}

fn own_request(span: &Span<'_>, lookup: &dyn Lookup, out: &mut Vec<KeyValue>) -> Option<Served> {
    let (method, path) = span.name.split_once(' ')?;
    if !path.starts_with('/') {
        return None;
    }
    let method = method.to_ascii_uppercase();
    let known = lookup.request(span.trace, span.span).unwrap_or_default();
    let exact = known.path.as_deref().unwrap_or(path);
    let mut name = method.clone();
    out.push(KeyValue::new("http.request.method", method.clone()));
    if let Some(template) = routed(&method, exact, lookup, out) {
        name.push(' ');
        name.push_str(template);
    }
    out.push(KeyValue::new(
        "url.path",
        clean("url.path", exact, lookup).into_owned(),
    ));
    if known.status != 0 {
        let status = i64::from(known.status);
        out.push(KeyValue::new("http.response.status_code", status));
    }
    Some(Served {
        name,
        status: known.status,
    })
}

fn proxied_request(
    span: &Span<'_>,
    lookup: &dyn Lookup,
    out: &mut Vec<KeyValue>,
) -> Option<Served> {
    let method = span.tag("http.method")?;
    let url = span.tag("http.url")?;
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    let path = behind.find('/').and_then(|slash| behind.get(slash..))?;
    let path = path.split('?').next().unwrap_or_default();
    let status = span
        .tag("http.status_code")
        .and_then(|code| code.parse().ok());
    let mut name = method.to_owned();
    if let Some(template) = routed(method, path, lookup, out) {
        name.push(' ');
        name.push_str(template);
    }
    out.push(KeyValue::new(
        "url.path",
        clean("url.path", path, lookup).into_owned(),
    ));
    Some(Served {
        name,
        status: status.unwrap_or(0),
    })
}

/// The template of the route that fits, whose parameters become attributes.
fn routed(
    method: &str,
    path: &str,
    lookup: &dyn Lookup,
    out: &mut Vec<KeyValue>,
) -> Option<&'static str> {
    let route = lookup.route(method, path)?;
    out.push(KeyValue::new("http.route", route.template));
    for (name, value) in route.parameters {
        let key = parameter(name);
        let value = clean(&key, value, lookup).into_owned();
        out.push(KeyValue::new(key, value));
    }
    Some(route.template)
}

/// Whether the span failed, as the conventions see it or as it says itself. Why goes to `error.type`.
fn status(
    span: &Span<'_>,
    kind: &Kind,
    served: Option<&Served>,
    lookup: &dyn Lookup,
    out: &mut Vec<KeyValue>,
) -> Status {
    let code = |key| span.tag(key).and_then(|code| code.parse::<i64>().ok());
    // the second is how proxies say it
    let said = code("rpc.grpc.status_code").or_else(|| code("grpc.status_code"));
    let rpc = said.unwrap_or(0);
    let http = served.map_or_else(
        || code("http.status_code").unwrap_or(0),
        |served| i64::from(served.status),
    );
    let failed = match kind {
        Kind::Server => http >= 500 || SERVER_FAULTS.contains(&rpc),
        _ => http >= 400 || rpc != 0,
    };
    if !failed && !span.failed {
        return Status::Unset;
    }
    let code = usize::try_from(rpc).unwrap_or(0);
    let error_type = match (http, grpc::CODES.get(code)) {
        (400.., _) => Value::from(http.to_string()),
        (_, Some(&name)) if rpc > 0 => Value::from(name),
        _ => Value::from("_OTHER"),
    };
    out.push(KeyValue::new("error.type", error_type));
    let said = span.tag("error").filter(|said| *said != "true");
    Status::error(clean("error", said.unwrap_or_default(), lookup).into_owned())
}
