use std::fmt::Write as _;

use model::evidence::SpanKind;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

use super::{Known, span};
use crate::lookup::{Lookup as _, Request};
use crate::names::Words;
use crate::shape::shape;

const OTELGRPC: &str =
    "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc";
const OTELMONGO: &str =
    "go.opentelemetry.io/contrib/instrumentation/go.mongodb.org/mongo-driver/mongo/otelmongo";

/// What a receiver would see, but for the resource.
fn golden(data: &SpanData) -> String {
    let mut text = String::new();
    let context = &data.span_context;
    writeln!(text, "{:?} {:?}", data.span_kind, data.name).unwrap();
    writeln!(
        text,
        "trace {} span {}",
        context.trace_id(),
        context.span_id()
    )
    .unwrap();
    let remote = data.parent_span_is_remote;
    writeln!(text, "parent {} remote {remote}", data.parent_span_id).unwrap();
    let took = data.end_time.duration_since(data.start_time).unwrap();
    writeln!(text, "took {took:?} status {:?}", data.status).unwrap();
    let scope = &data.instrumentation_scope;
    writeln!(text, "scope {:?} {:?}", scope.name(), scope.version()).unwrap();
    list(&mut text, "", &data.attributes);
    for event in &data.events.events {
        let at = event.timestamp.duration_since(data.start_time).unwrap();
        writeln!(text, "event {:?} after {at:?}", event.name).unwrap();
        list(&mut text, "  ", &event.attributes);
    }
    text
}

fn list(text: &mut String, indent: &str, attributes: &[KeyValue]) {
    for KeyValue { key, value, .. } in attributes {
        match value {
            Value::String(value) => writeln!(text, "{indent}{key} = {:?}", value.as_str()),
            value => writeln!(text, "{indent}{key} = {value}"),
        }
        .unwrap();
    }
}

fn shaped(span: &model::span::Span<'_>, known: &Known) -> String {
    let person = known.person(span);
    golden(&shape(span, person.as_ref(), &mut Words::default(), known))
}

#[test]
fn a_request_gets_its_route_its_status_and_its_person() {
    let request = span(
        "post /v2/projects/p1/composite-apps/shop",
        SpanKind::Unset,
        &[
            ("otel.library.name", "orchestrator"),
            ("service.name", "orchestrator.emco"),
        ],
        &["retrieve-info"],
    );
    let known = Known {
        person: Some("alice"),
        request: Some(Request {
            status: 500,
            path: Some("/v2/projects/P1/composite-apps/Shop".to_owned()),
        }),
        ..Known::default()
    };
    insta::assert_snapshot!(shaped(&request, &known), @r#"
    Server "POST /v2/projects/{project}/composite-apps/{compositeApp}"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0202020202020202 remote true
    took 722µs status Error { description: "" }
    scope "orchestrator" None
    http.request.method = "POST"
    http.route = "/v2/projects/{project}/composite-apps/{compositeApp}"
    emco.project = "P1"
    emco.composite_app = "Shop"
    url.path = "/v2/projects/P1/composite-apps/Shop"
    http.response.status_code = 500
    user.id = "alice"
    emco.user.source = "gateway"
    error.type = "500"
    event "retrieve-info" after 11µs
    "#);
}

#[test]
fn a_request_that_nobody_else_saw_says_what_its_span_says() {
    let request = span("get /v2/nowhere", SpanKind::Unset, &[], &[]);
    insta::assert_snapshot!(shaped(&request, &Known::default()), @r#"
    Server "GET"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0202020202020202 remote true
    took 722µs status Unset
    scope "" None
    http.request.method = "GET"
    url.path = "/v2/nowhere"
    "#);
}

#[test]
fn a_call_gets_its_name_back_and_its_messages() {
    let call = span(
        "installapp/installapp",
        SpanKind::Client,
        &[
            ("net.peer.ip", "rsync"),
            ("net.peer.port", "9031"),
            ("otel.library.name", OTELGRPC),
            ("otel.library.version", "semver:0.27.0"),
            ("rpc.grpc.status_code", "12"),
            ("rpc.method", "InstallApp"),
            ("rpc.service", "installapp"),
            ("rpc.system", "grpc"),
        ],
        &[
            r#"message: {"message.id":1,"message.type":"SENT","message.uncompressed_size":21}"#,
            r#"odd: {"list":[1,2],"share":0.5,"yes":true,"no":false,"nothing":null,"text":"a \"b\" hunter2"}"#,
            "not: {an object",
        ],
    );
    insta::assert_snapshot!(shaped(&call, &Known::default()), @r#"
    Client "installapp/InstallApp"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0202020202020202 remote false
    took 722µs status Error { description: "" }
    scope "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc" Some("semver:0.27.0")
    server.address = "rsync"
    server.port = 9031
    rpc.grpc.status_code = 12
    rpc.method = "InstallApp"
    rpc.service = "installapp"
    rpc.system = "grpc"
    error.type = "UNIMPLEMENTED"
    event "message" after 11µs
      message.id = 1
      message.type = "SENT"
      message.uncompressed_size = 21
    event "odd" after 11µs
      list = "[1,2]"
      share = 0.5
      yes = true
      no = false
      nothing = "null"
      text = "a \"b\" [REDACTED]"
    event "not: {an object" after 11µs
    "#);
}

#[test]
fn a_server_is_not_at_fault_for_what_its_caller_did() {
    let serve = |code, failed| {
        let mut served = span(
            "installapp/installapp",
            SpanKind::Server,
            &[
                ("rpc.grpc.status_code", code),
                ("net.peer.ip", "10.244.1.12"),
                ("net.peer.port", "56536"),
                ("error", "Error finding AppContext"),
            ],
            &[],
        );
        served.failed = failed;
        let data = shape(&served, None, &mut Words::default(), &Known::default());
        format!("{:?}", data.status)
    };
    assert_eq!(serve("5", false), "Unset");
    let error = r#"Error { description: "Error finding AppContext" }"#;
    assert_eq!(serve("2", false), error);
    assert_eq!(serve("5", true), error);
}

#[test]
fn a_proxy_tells_how_a_call_ended() {
    let called = |code| {
        let served = span(
            "rsync.emco.svc.cluster.local:9031/*",
            SpanKind::Server,
            &[
                ("http.method", "POST"),
                ("http.url", "http://rsync:9031/installapp/InstallApp"),
                ("http.status_code", "200"),
                ("grpc.status_code", code),
            ],
            &[],
        );
        let data = shape(&served, None, &mut Words::default(), &Known::default());
        let kind = data
            .attributes
            .iter()
            .find(|one| one.key.as_str() == "error.type");
        let kind = kind.map(|kind| kind.value.to_string());
        (data.status != opentelemetry::trace::Status::Unset, kind)
    };
    assert_eq!(called("14"), (true, Some("UNAVAILABLE".to_owned())));
    assert_eq!(called("5"), (false, None), "it is the caller's fault");
    assert_eq!(called("0"), (false, None));
}

#[test]
fn a_statement_is_masked_and_shortened() {
    let statement = [
        r#"{"findAndModify":"resources","password":"hunter2","data":""#,
        &"A".repeat(100_000),
        r#""}"#,
    ]
    .concat();
    let mut call = span(
        "resources.findandmodify",
        SpanKind::Client,
        &[
            ("db.mongodb.collection", "resources"),
            ("db.name", "emco"),
            ("db.operation", "findAndModify"),
            ("db.statement", &statement),
            ("db.system", "mongodb"),
            ("net.peer.name", "emco-mongo"),
            ("net.transport", "ip_tcp"),
            ("otel.library.name", OTELMONGO),
        ],
        &[],
    );
    call.remote = "emco-mongo".into();
    let text = shaped(&call, &Known::default());
    assert!(!text.contains("hunter2"));
    let line = text.lines().find(|line| line.starts_with("db.statement"));
    let line = line.unwrap();
    assert!(
        line.contains("[REDACTED]") && line.ends_with("…\""),
        "{line}"
    );
    assert!(line.len() < 2_200, "{}", line.len());
    insta::assert_snapshot!(text.replace(line, "db.statement = …"), @r#"
    Client "resources.findAndModify"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0202020202020202 remote false
    took 722µs status Unset
    scope "go.opentelemetry.io/contrib/instrumentation/go.mongodb.org/mongo-driver/mongo/otelmongo" None
    db.mongodb.collection = "resources"
    db.name = "emco"
    db.operation = "findAndModify"
    db.statement = …
    db.system = "mongodb"
    server.address = "emco-mongo"
    network.transport = "tcp"
    peer.service = "emco-mongo"
    "#);
}

#[test]
fn work_of_its_own_is_internal_and_named_as_in_the_source() {
    let mut root = span(
        "appcontextroutine",
        SpanKind::Unset,
        &[("custom", "hunter2")],
        &[],
    );
    root.parent = None;
    insta::assert_snapshot!(shaped(&root, &Known::default()), @r#"
    Internal "appContextRoutine"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0000000000000000 remote false
    took 722µs status Unset
    scope "" None
    custom = "[REDACTED]"
    "#);
}

#[test]
fn a_panic_is_an_error_with_its_event() {
    let mut request = span(
        "get /v2/projects",
        SpanKind::Unset,
        &[],
        &[
            r#"exception: {"exception.message":"assignment to entry in nil map","exception.type":"runtime.plainError"}"#,
        ],
    );
    request.failed = true;
    insta::assert_snapshot!(shaped(&request, &Known::default()), @r#"
    Server "GET /v2/projects"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0202020202020202 remote true
    took 722µs status Error { description: "" }
    scope "" None
    http.request.method = "GET"
    http.route = "/v2/projects"
    url.path = "/v2/projects"
    error.type = "_OTHER"
    event "exception" after 11µs
      exception.message = "assignment to entry in nil map"
      exception.type = "runtime.plainError"
    "#);
}

#[test]
fn a_proxy_speaks_older_conventions() {
    let proxied = span(
        "orchestrator.emco.svc.cluster.local:9015/*",
        SpanKind::Server,
        &[
            ("component", "proxy"),
            ("http.method", "GET"),
            (
                "http.url",
                "http://orchestrator.emco:9015/v2/projects?password=hunter2",
            ),
            ("http.status_code", "503"),
            ("http.protocol", "HTTP/1.1"),
            ("user_agent", "emcoctl/1"),
            ("request_size", "0"),
            ("response_size", "no number"),
            ("response_flags", "UC"),
        ],
        &[],
    );
    insta::assert_snapshot!(shaped(&proxied, &Known::default()), @r#"
    Server "GET /v2/projects"
    trace 000000000000000048485a3953bb6124 span 0101010101010101
    parent 0202020202020202 remote true
    took 722µs status Error { description: "" }
    scope "" None
    http.route = "/v2/projects"
    url.path = "/v2/projects"
    component = "proxy"
    http.request.method = "GET"
    url.full = "http://orchestrator.emco:9015/v2/projects?password=[REDACTED]"
    http.response.status_code = 503
    network.protocol.version = "1.1"
    user_agent.original = "emcoctl/1"
    http.request.body.size = 0
    http.response.body.size = "no number"
    response_flags = "UC"
    error.type = "503"
    "#);
}
