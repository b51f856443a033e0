//! OTLP messages as bytes, and the spans in them as the store keeps them. Knows no socket.

use model::time::UnixNanos;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, span, status};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::serve::store::IncomingSpan;

/// How a request is written, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl Form {
    /// The one of a content type.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Its content type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// Reads a request.
    pub(super) fn read(self, body: &[u8]) -> Result<Request, String> {
        let request = match self {
            Self::Protobuf => ExportTraceServiceRequest::decode(body).map_err(|e| e.to_string()),
            Self::Json => serde_json::from_slice(body).map_err(|e| e.to_string()),
        };
        request.map(|request: ExportTraceServiceRequest| Request::new(request.resource_spans))
    }

    /// Writes an answer to a request of which `refused` spans were not taken.
    pub(super) fn answer(self, refused: i64) -> Vec<u8> {
        let partial_success = (refused > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: refused,
            error_message: "a span without a valid trace id or span id".to_owned(),
        });
        let answer = ExportTraceServiceResponse { partial_success };
        match (self, answer.partial_success.is_some()) {
            (Self::Protobuf, _) => answer.encode_to_vec(),
            (Self::Json, true) => json!(answer).to_string().into_bytes(),
            (Self::Json, false) => b"{}".to_vec(),
        }
    }

    /// Writes a refusal: a `google.rpc.Status` with a message only.
    pub(super) fn refusal(self, message: &str) -> Vec<u8> {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Status {
            #[prost(string, tag = "2")]
            message: String,
        }
        let message = message.to_owned();
        match self {
            Self::Protobuf => Status { message }.encode_to_vec(),
            Self::Json => json!({ "message": message }).to_string().into_bytes(),
        }
    }
}

/// The spans of a request.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Those that can be kept.
    pub(super) spans: Vec<IncomingSpan>,
    /// How many have no valid ids.
    pub(super) refused: i64,
}

impl Request {
    fn new(groups: Vec<ResourceSpans>) -> Self {
        let mut request = Self::default();
        for group in groups {
            let resource = attributes(group.resource.map(|r| r.attributes).unwrap_or_default());
            for scoped in group.scope_spans {
                let scope = scoped.scope.map(|scope| scope.name).unwrap_or_default();
                for span in scoped.spans {
                    match incoming(span, &resource, &scope) {
                        Some(span) => request.spans.push(span),
                        None => request.refused += 1,
                    }
                }
            }
        }
        request
    }
}

fn incoming(span: Span, resource: &Map<String, Value>, scope: &str) -> Option<IncomingSpan> {
    let trace = id(&span.trace_id, 16)?;
    let id_ = id(&span.span_id, 8)?;
    let status = span.status.unwrap_or_default();
    let kind = span::SpanKind::try_from(span.kind).unwrap_or_default();
    let own = attributes(span.attributes);
    let text = |map: &Map<String, Value>, key: &str| {
        let value = map.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut document = json!({
        "attributes": own,
        "resource": resource,
        "scope": scope,
        "events": span.events.into_iter().map(event).collect::<Vec<_>>(),
        "links": span.links.into_iter().map(link).collect::<Vec<_>>(),
        "status_message": status.message,
        "trace_state": span.trace_state,
    });
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|_, value| *value != json!("") && *value != json!([]) && *value != json!({}));
    }
    Some(IncomingSpan {
        trace,
        id: id_,
        parent: id(&span.parent_span_id, 8).unwrap_or_default(),
        service: text(resource, "service.name"),
        name: span.name,
        kind: kind_name(kind),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status: match status::StatusCode::try_from(status.code).unwrap_or_default() {
            status::StatusCode::Unset => "unset",
            status::StatusCode::Ok => "ok",
            status::StatusCode::Error => "error",
        },
        user: text(&own, "user.id"),
        json: document.to_string(),
    })
}

/// Lower-case hex; nothing if it has another length or is zero.
fn id(bytes: &[u8], length: usize) -> Option<String> {
    let is_valid = bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    is_valid.then(|| const_hex::encode(bytes))
}

const fn kind_name(kind: span::SpanKind) -> &'static str {
    match kind {
        span::SpanKind::Unspecified => "unspecified",
        span::SpanKind::Internal => "internal",
        span::SpanKind::Server => "server",
        span::SpanKind::Client => "client",
        span::SpanKind::Producer => "producer",
        span::SpanKind::Consumer => "consumer",
    }
}

fn event(event: span::Event) -> Value {
    json!({
        "time": UnixNanos(event.time_unix_nano).to_string(),
        "name": event.name,
        "attributes": attributes(event.attributes),
    })
}

fn link(link: span::Link) -> Value {
    json!({
        "trace": const_hex::encode(link.trace_id),
        "span": const_hex::encode(link.span_id),
        "attributes": attributes(link.attributes),
    })
}

fn attributes(list: Vec<KeyValue>) -> Map<String, Value> {
    list.into_iter()
        .map(|pair| (pair.key, pair.value.map_or(Value::Null, value)))
        .collect()
}

/// Messages nest at most as deep as the decoder lets them, so this ends.
fn value(any: AnyValue) -> Value {
    use any_value::Value as Any;
    match any.value {
        Some(Any::StringValue(text)) => Value::from(text),
        Some(Any::BoolValue(flag)) => Value::from(flag),
        Some(Any::IntValue(number)) => Value::from(number),
        Some(Any::DoubleValue(number)) => Value::from(number),
        Some(Any::ArrayValue(list)) => list.values.into_iter().map(value).collect(),
        Some(Any::KvlistValue(list)) => Value::Object(attributes(list.values)),
        Some(Any::BytesValue(bytes)) => Value::from(const_hex::encode(bytes)),
        // Refers to a table that only profiles have.
        Some(Any::StringValueStrindex(_)) | None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn request() -> Value {
        let text = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
        json!({"resourceSpans": [{
            "resource": {"attributes": [text("service.name", "rsync")]},
            "scopeSpans": [{"scope": {"name": "emco"}, "spans": [
                {
                    "traceId": TRACE, "spanId": "b7ad6b7169203331", "parentSpanId": "00f067aa0ba902b7",
                    "name": "InstallApp", "kind": 2,
                    "startTimeUnixNano": "1795406977000000000", "endTimeUnixNano": "1795406978000000000",
                    "attributes": [text("user.id", "carol"), {"key": "n", "value": {"intValue": "7"}}],
                    "events": [{"timeUnixNano": "1795406977500000000", "name": "retry"}],
                    "links": [{"traceId": TRACE, "spanId": "00f067aa0ba902b7"}],
                    "status": {"code": 2, "message": "refused"},
                },
                {"traceId": TRACE, "spanId": "", "name": "without id"},
                {"traceId": "00000000000000000000000000000000", "spanId": "b7ad6b7169203331"},
            ]}],
        }]})
    }

    #[test]
    fn both_forms_say_the_same() {
        let json = request().to_string();
        let message: ExportTraceServiceRequest = serde_json::from_str(&json).unwrap();
        let forms = [
            Form::Json.read(json.as_bytes()).unwrap(),
            Form::Protobuf.read(&message.encode_to_vec()).unwrap(),
        ];
        for read in forms {
            assert_eq!(read.refused, 2);
            let [span] = read.spans.as_slice() else {
                panic!("one span is whole");
            };
            assert_eq!(span.trace, TRACE);
            assert_eq!(span.id, "b7ad6b7169203331");
            assert_eq!(span.parent, "00f067aa0ba902b7");
            assert_eq!(
                (span.service.as_str(), span.user.as_str()),
                ("rsync", "carol")
            );
            assert_eq!((span.kind, span.status), ("server", "error"));
            assert_eq!(span.end - span.start, 1_000_000_000);
            let document: Value = serde_json::from_str(&span.json).unwrap();
            assert_eq!(document["attributes"]["n"], 7);
            assert_eq!(
                document["events"][0]["time"],
                "2026-11-23T04:09:37.500000000Z"
            );
            assert_eq!(document["links"][0]["span"], "00f067aa0ba902b7");
            assert_eq!(document["status_message"], "refused");
            assert_eq!(document.get("trace_state"), None);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_and_nothing_is_a_request() {
        assert!(Form::Protobuf.read(b"\xff\xff").is_err());
        assert!(Form::Json.read(b"[").is_err());
        assert!(Form::Protobuf.read(b"").unwrap().spans.is_empty());
        assert_eq!(
            Form::of("application/json; charset=utf-8"),
            Some(Form::Json)
        );
        assert_eq!(Form::of("Application/X-Protobuf"), Some(Form::Protobuf));
        assert_eq!(Form::of("text/plain"), None);
    }

    #[test]
    fn answers_say_what_was_refused() {
        assert_eq!(Form::Protobuf.answer(0), b"");
        assert_eq!(Form::Json.answer(0), b"{}");
        let answer = ExportTraceServiceResponse::decode(&*Form::Protobuf.answer(2)).unwrap();
        assert_eq!(answer.partial_success.unwrap().rejected_spans, 2);
        assert_eq!(Form::Protobuf.refusal("no"), b"\x12\x02no");
        assert_eq!(Form::Json.refusal("no"), br#"{"message":"no"}"#);
    }
}
