//! What is cast from a mould is what shaping the whole span would have made.

use model::evidence::SpanKind;
use model::ids::{SpanId, TraceId};
use model::span::{Message, Span};
use opentelemetry_sdk::trace::SpanData;

use super::{Known, span};
use crate::batch::Batch;
use crate::names::Words;

const SENT: &str =
    r#"message: {"message.id":1,"message.type":"SENT","message.uncompressed_size":31}"#;

fn query(statement: &'static str) -> Span<'static> {
    let mut query = span(
        "resources.findandmodify",
        SpanKind::Client,
        &[
            ("db.mongodb.collection", "resources"),
            ("db.operation", "findAndModify"),
            ("db.statement", statement),
            ("net.peer.port", "27017"),
            ("net.transport", "ip_tcp"),
            ("otel.library.name", "otelmongo"),
            ("otel.library.version", "semver:0.33.0"),
            ("other", "hunter2 is masked"),
        ],
        &[],
    );
    query.remote = "emco-mongo".into();
    query
}

fn read() -> Span<'static> {
    let tags = [
        ("otel.library.name", "otelgrpc"),
        ("rpc.grpc.status_code", "0"),
        ("rpc.method", "Range"),
        ("rpc.service", "etcdserverpb.KV"),
    ];
    span(
        "etcdserverpb.kv/range",
        SpanKind::Client,
        &tags,
        &[SENT, "x"],
    )
}

/// Another span of the same form.
fn another(span: &Span<'static>, statement: Option<&'static str>) -> Span<'static> {
    let mut another = span.clone();
    another.trace = TraceId([7; 16]);
    another.span = SpanId([9; 8]);
    another.parent = None;
    another.duration = 5;
    another.annotations.truncate(1);
    for (key, value) in &mut another.tags {
        if let (true, Some(statement)) = (key == "db.statement", statement) {
            *value = statement.into();
        }
    }
    another
}

fn outline(span: &Span<'static>) -> Span<'static> {
    let mut outline = span.clone();
    outline.remote = "".into();
    outline.tags.retain(|(key, _)| key == "db.statement");
    for note in &mut outline.annotations {
        if note.text == SENT {
            note.text = "".into();
            note.message = Some(Message {
                id: 1,
                sent: true,
                bytes: 31,
            });
        }
    }
    outline
}

fn pushed(words: &mut Words, known: &Known, span: &Span<'_>, form: Option<u64>) -> SpanData {
    let mut batch = Batch::new();
    match form {
        Some(form) => batch.push_formed(span, form, words, known),
        None => batch.push(span, words, known),
    }
    assert!(batch.is_of("orchestrator.emco"));
    batch.spans.remove(0)
}

#[test]
fn calls_are_cast_like_they_are_shaped() {
    let long: &str = "x".repeat(3_000).leak();
    for person in [None, Some("alice")] {
        let known = Known {
            person,
            ..Known::default()
        };
        let mut words = Words::default();
        for (form, first) in [(1, read()), (2, query(r#"{"a":"hunter2"}"#))] {
            let whole = pushed(&mut words, &known, &first, None);
            assert!(!words.know(form));
            assert_eq!(pushed(&mut words, &known, &first, Some(form)), whole);
            for statement in [r#"{"b":"hunter2"}"#, "", long] {
                let next = another(&first, Some(statement));
                let whole = pushed(&mut words, &known, &next, None);
                assert!(words.know(form));
                let cast = pushed(&mut words, &known, &outline(&next), Some(form));
                assert_eq!(cast, whole);
            }
        }
    }
}

#[test]
fn what_depends_on_more_than_its_form_is_never_cast() {
    let request = span("post /v2/projects", SpanKind::Unset, &[], &[]);
    let served = span("installapp/installapp", SpanKind::Server, &[], &[]);
    let refused = span(
        "installapp/installapp",
        SpanKind::Client,
        &[("http.status_code", "404")],
        &[],
    );
    let mut failed = read();
    failed.failed = true;
    let (mut words, known) = (Words::default(), Known::default());
    for span in [request, served, refused, failed] {
        let whole = pushed(&mut words, &known, &span, None);
        for _ in 0..2 {
            assert_eq!(pushed(&mut words, &known, &span, Some(1)), whole);
            assert!(!words.know(1));
        }
    }
}

#[test]
fn moulds_are_bounded_and_those_in_use_stay() {
    let (mut words, known) = (Words::default(), Known::default());
    for form in 0..100 {
        pushed(&mut words, &known, &read(), Some(form));
        pushed(&mut words, &known, &outline(&read()), Some(0));
    }
    let kept = (0..100).filter(|form| words.know(*form)).count();
    assert_eq!(kept, 16);
}
