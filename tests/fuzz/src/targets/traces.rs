//! Spans in the shape in which they are exported.

use in_spans::{FormId, Forms, SpanRun, SpanScratch};
use model::ids::{SpanId, TraceId};
use model::span::Span;
use model::verdict::{User, UserSource};
use out_otlp::{Batch, Lookup, NoiseSettings, Request, Route, Rules, Words};

use crate::input::Input;

const SECRET: &str = "hQ7zVx2Kp9";

/// How secrets stand in the strings of a span; `$` is the secret.
const FORMS: &[&str] = &[
    " password: $ ",
    r#" \"token\":\"$\" "#,
    r#" {\\\"api_key\\\":\\\"$\\\"} "#,
    "?access_token=$&x=1",
    " Bearer $ ",
];
/// Stands in the input for a planted secret.
const PLACE: u8 = b'^';

/// Knows every trace and no route.
struct Known;

impl Lookup for Known {
    fn person(&self, _: &Span<'_>) -> Option<User> {
        Some(User {
            id: "ann".into(),
            source: UserSource::Gateway,
        })
    }

    fn request(&self, _: TraceId, _: SpanId) -> Option<Request> {
        Some(Request {
            status: 500,
            path: None,
        })
    }

    fn route<'a>(&self, _: &str, _: &'a str) -> Option<Route<'a>> {
        None
    }

    fn is_metrics_poll(&self, trace: TraceId) -> bool {
        trace.0[0] & 1 == 1
    }

    fn redact(&self, key: &str, text: &str) -> Option<String> {
        decode::redact(key, text)
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let planted = input.one_of(FORMS).replace('$', SECRET);
    let mut payload = vec![in_spans::RECORD_VERSION];
    let run = input.rest().strip_prefix(b"[").unwrap_or(input.rest());
    if has(run) {
        return;
    }
    for byte in run {
        match *byte {
            PLACE => payload.extend_from_slice(planted.as_bytes()),
            byte => payload.push(byte),
        }
    }
    let mut spans = SpanRun::new(&payload, 0).expect("the version is right");
    let (mut rules, mut scratch) = (Rules::new(NoiseSettings::default()), SpanScratch::default());
    let (mut batch, mut words) = (Batch::new(), Words::default());
    let (mut formed, mut moulds) = (Batch::new(), Words::default());
    let (mut again, mut forms) = (spans.clone(), Forms::default());
    let mut pushed = 0;
    while let Ok(Some(span)) = spans.next_span() {
        let same = again.next_formed(&mut forms);
        assert_eq!(same.ok().flatten(), Some(span), "its form changes a span");
        let facts = span.facts(spans.run(), &mut scratch);
        let Some((facts, whole)) = facts.zip(spans.whole(&span)) else {
            continue;
        };
        if let Some((rule, kept)) = rules.judge(&facts, &Known) {
            batch.noise(rule, kept);
            formed.noise(rule, kept);
        }
        batch.push(&whole, &mut words, &Known);
        match again.form().map(FormId::number) {
            Some(form) if moulds.know(form) => {
                let outline = again.outline(&span).expect("it has ids");
                formed.push_formed(&outline, form, &mut moulds, &Known);
            }
            Some(form) => formed.push_formed(&whole, form, &mut moulds, &Known),
            None => formed.push(&whole, &mut moulds, &Known),
        }
        pushed += 1;
    }
    assert_eq!(batch.len(), pushed, "each span is exported once");
    // Names of attributes and libraries are not looked at: they stand in code.
    let exported = format!("{batch:?}");
    assert_eq!(
        format!("{formed:?}"),
        exported,
        "its form changes what a span becomes"
    );
    for attribute in exported.split("{ key: ").skip(1) {
        let value = attribute.split_once(", value: ").map_or("", |pair| pair.1);
        let value = value.split("instrumentation_scope: ").next();
        assert!(!has(value.unwrap_or_default().as_bytes()), "{value:?}");
    }
}

fn has(bytes: &[u8]) -> bool {
    bytes
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes())
}
